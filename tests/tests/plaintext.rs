//! G8 as a whole: a server that logs all it can and meets every kind of trouble shows no secret and no token,
//! but in the answers that are there to carry one.

mod hostile;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use leasehold_tests::server::{ADMIN_TOKEN, Answer, Launch, Server, no_body};
use leasehold_tests::{Engine, Fixture};

use crate::database::on_both;

on_both! {
    no_secret_and_no_token_is_shown_whatever_happens,
}

/// A secret that a trigger quotes when it refuses a change, as triggers do.
const QUOTED: &str = "canary-quoted-by-a-trigger";

/// The texts that must not be seen, and everything that can be.
struct Watch {
    server: Server,
    rows: Fixture,
    /// The meaning of each text, for the message of a failure.
    hidden: BTreeMap<String, &'static str>,
    /// Answers that carry no secret.
    seen: Vec<String>,
}

impl Watch {
    /// Keeps an answer that must not carry a secret.
    fn see(&mut self, answer: Answer) {
        self.seen.push(format!("{:?}\n{}", answer.headers, answer.text));
    }

    fn admin(&mut self, method: &str, path: &str, body: &[u8], status: u16) -> Result<()> {
        let answer = self.server.admin(method, path, body.to_vec())?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        self.see(answer);
        Ok(())
    }

    fn create(&mut self, id: &str) -> Result<String> {
        let token = self.server.create(id)?;
        self.hidden.insert(token.clone(), "a workspace's token");
        Ok(token)
    }

    fn deliver(&mut self, id: &str, token: &str) -> Result<String> {
        let secret = self.server.delivered(id, token)?;
        self.hidden.insert(secret.clone(), "a delivered secret");
        Ok(secret)
    }

    /// Sends every request that succeeds.
    async fn use_everything(&mut self) -> Result<()> {
        let (one, other) = (self.create("one")?, self.create("other")?);
        self.deliver("one", &one)?;
        for secret in ["canary-written-by-hand", QUOTED] {
            let update =
                format!("UPDATE workspaces SET platform_inbound_secret = '{secret}' WHERE id = 'other'");
            self.rows.execute(&update).await?;
            self.admin("POST", "/admin/cache/reset", b"", 200)?;
            assert_eq!(self.deliver("other", &other)?, secret);
        }
        let rotated = self.server.rotate("one")?;
        assert_eq!(self.server.secret("one")?.0, rotated);
        self.hidden.insert(rotated, "a rotated secret");
        for path in ["tokens", "tokens/rotate"] {
            let made = self.server.admin("POST", &format!("/workspaces/one/{path}"), no_body())?;
            let token = made.text_of(201, "auth_token")?;
            self.deliver("one", &token)?;
            self.hidden.insert(token, "one more token of a workspace");
        }
        self.admin("GET", "/workspaces/one/tokens", b"", 200)?;
        self.admin("PUT", "/admin/policy?setting.ttl=0s", b"", 200)?;
        self.deliver("one", &one)?;
        self.admin("POST", "/admin/policy/rollback", b"", 200)?;
        Ok(())
    }

    /// Sends every request that is refused, with secrets put where they do not belong.
    async fn be_refused(&mut self) -> Result<()> {
        let canary = "canary-in-a-wrong-place";
        self.hidden.insert(canary.to_owned(), "a token that was presented and is none");
        let stranger = self.server.heartbeat("one", canary)?;
        assert_eq!(stranger.status, 401);
        self.see(stranger);
        let stranger = self.server.client(canary).admin("GET", "/admin/stats", no_body())?;
        assert_eq!(stranger.status, 401);
        self.see(stranger);
        self.admin("PUT", "/admin/policy", b"text", 422)?;
        self.admin("PUT", "/admin/policy?setting.ttl=soon", b"", 422)?;
        self.admin("GET", "/workspaces/unheard-of/secret", b"", 404)?;
        self.admin("POST", "/workspaces/unheard-of/secret", b"", 404)?;
        self.admin("POST", "/workspaces", br#"{"id":"one"}"#, 409)?;
        self.admin("POST", "/workspaces", b"{", 400)?;
        Ok(())
    }

    /// Has the database refuse, quoting the secret, and then breaks it.
    async fn meet_trouble(&mut self) -> Result<()> {
        for statement in refuse_and_quote(self.rows.engine()) {
            self.rows.execute(statement).await?;
        }
        self.admin("POST", "/workspaces/other/secret", b"", 503)?;
        self.admin("DELETE", "/workspaces/other", b"", 503)?;
        let token = self.create("new")?;
        let healed = self.server.heartbeat("new", &token)?;
        assert!(healed.text.contains("secret_error"), "{}", healed.text);
        self.see(healed);
        self.rows.execute("ALTER TABLE workspaces RENAME TO mislaid").await?;
        self.admin("POST", "/admin/cache/reset", b"", 200)?;
        self.admin("GET", "/workspaces/one/secret", b"", 503)?;
        self.admin("POST", "/workspaces/one/secret", b"", 503)?;
        self.admin("POST", "/workspaces", b"", 503)?;
        Ok(())
    }

    /// Reads what every client may see at the end, and what the operator may see.
    fn look_around(&mut self) -> Result<()> {
        for path in ["/admin/policy", "/admin/stats", "/metrics", "/healthz", "/readyz"] {
            self.admin("GET", path, b"", 200)?;
        }
        Ok(())
    }
}

/// Returns triggers that refuse every change of a secret and every deletion, and say which secret was there.
fn refuse_and_quote(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Sqlite => &[
            "CREATE TRIGGER refuse_update BEFORE UPDATE ON workspaces BEGIN \
             SELECT RAISE(ABORT, 'canary-quoted-by-a-trigger must stay'); END",
            "CREATE TRIGGER refuse_delete BEFORE DELETE ON workspaces BEGIN \
             SELECT RAISE(ABORT, 'canary-quoted-by-a-trigger must stay'); END",
        ],
        Engine::Postgres => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% must \
             stay', 'canary-quoted-by-a-trigger' USING DETAIL = coalesce(OLD.platform_inbound_secret, '-'); \
             END $$",
            "CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON workspaces FOR EACH ROW EXECUTE FUNCTION \
             refuse()",
        ],
    }
}

async fn no_secret_and_no_token_is_shown_whatever_happens(engine: Engine) -> Result<()> {
    let rows = engine.empty().await?;
    let server = Launch::new(rows.url())?.variable("LEASEHOLD_LOG", "trace").server()?;
    let mut hidden = BTreeMap::from([(ADMIN_TOKEN.to_owned(), "the admin token")]);
    if engine == Engine::Postgres {
        let user = rows.url().split('@').next().context("no user")?;
        let password = user.rsplit(':').next().context("no password")?;
        hidden.insert(password.to_owned(), "the database's password");
    }
    let mut watch = Watch { server, rows, hidden, seen: Vec::new() };
    watch.use_everything().await?;
    watch.be_refused().await?;
    watch.meet_trouble().await?;
    watch.look_around()?;
    let Watch { server, hidden, mut seen, .. } = watch;
    let ended = server.stop()?;
    // It has logged what the libraries log at their most talkative, and what it did itself.
    for words in
        ["DEBUG sqlx::query", "UPDATE ", "a policy was refused", "rotated a secret", "a request failed"]
    {
        assert!(ended.log.contains(words), "the log has no {words:?}:\n{}", ended.log);
    }
    assert!(hidden.len() >= 9, "secrets and tokens were handed out: {}", hidden.len());
    seen.extend([ended.stdout, ended.log]);
    for (canary, what) in hidden {
        for output in &seen {
            assert!(!output.contains(&canary), "{what} ({canary}) is in:\n{output}");
        }
    }
    Ok(())
}
