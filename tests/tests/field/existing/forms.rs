//! Keys of other types, ids in another spelling, tokens in a table of their own, views.

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{Server, no_body};

use super::{BARE, HASH, OLD, Shop, TOKEN, keeps_its_rows};

const CUSTOMERS: [&str; 6] =
    ["--table", "shop.customers", "--column", "inbound_secret", "--token-column", "token_hash"];

/// Checks that an id in another spelling is refused in words on every route.
fn refuses(server: &Server, id: &str, expected: &str) -> Result<()> {
    let path = format!("/workspaces/{id}/secret");
    for answer in [
        server.heartbeat(id, TOKEN)?,
        server.admin("GET", &path, no_body())?,
        server.admin("POST", &path, no_body())?,
    ] {
        let refused = answer.refusal(400, "invalid_workspace")?;
        ensure!(refused["message"].to_string().contains(expected), "{id}: {refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_uuid_in_another_spelling_is_refused_with_the_one_that_is_expected() -> Result<()> {
    let shop = Shop::granted().await?;
    let server = shop.serve(CUSTOMERS)?.server()?;
    for id in [BARE.to_uppercase(), BARE.replace('-', ""), "acme".to_owned()] {
        refuses(&server, &id, "a UUID in lower case with hyphens")?;
    }
    server.delivered(BARE, TOKEN)?;
    server.stop()?;
    Ok(())
}

#[tokio::test]
async fn a_bigint_key_and_a_text_key_serve_with_tokens_in_a_table_of_their_own() -> Result<()> {
    let shop = Shop::granted().await?;
    let role = &shop.role;
    for (name, key_type, id, wrong) in [
        ("numbers", "bigint", "9007199254740993", Some("09007199254740993")),
        ("names", "text", "Acme", None),
    ] {
        shop.execute(&format!(
            "CREATE TABLE shop.{name} (nr {key_type} PRIMARY KEY, owner text NOT NULL, secret varchar(99));
             CREATE TABLE shop.{name}_tokens (customer {key_type} UNIQUE, hash char(64) NOT NULL);
             INSERT INTO shop.{name} VALUES ('{id}', 'Ann', NULL);
             INSERT INTO shop.{name}_tokens VALUES ('{id}', '{HASH}');
             GRANT SELECT (nr, secret), UPDATE (secret) ON shop.{name} TO {role};
             GRANT SELECT (customer, hash) ON shop.{name}_tokens TO {role}"
        ))
        .await?;
        let (table, tokens) = (format!("shop.{name}"), format!("shop.{name}_tokens"));
        let secrets = ["--table", &table, "--key", "nr", "--column", "secret"];
        let tokens = ["--token-table", &tokens, "--token-key", "customer", "--token-column", "hash"];
        let server = shop.serve(secrets.into_iter().chain(tokens))?.server()?;
        let minted = server.delivered(id, TOKEN)?;
        let rotated = server.rotate(id)?;
        ensure!(rotated != minted && server.delivered(id, TOKEN)? == rotated, "{name}: it was not rotated");
        let stored = shop.text(&format!("SELECT secret::text FROM shop.{name}")).await?;
        ensure!(stored.as_deref() == Some(rotated.as_str()), "{name}: the row holds another one");
        keeps_its_rows(&server, id)?;
        if let Some(wrong) = wrong {
            refuses(&server, wrong, "an integer without leading zeros")?;
            refuses(&server, "acme", "an integer")?;
        }
        server.stop()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_view_is_written_where_it_can_be_and_read_where_it_cannot() -> Result<()> {
    let shop = Shop::granted().await?;
    let role = &shop.role;
    shop.execute(&format!(
        "CREATE VIEW shop.plain AS SELECT id, inbound_secret, token_hash FROM shop.customers WHERE seats > 0;
         CREATE VIEW shop.fixed AS SELECT DISTINCT id, inbound_secret, token_hash FROM shop.customers;
         CREATE VIEW shop.by_trigger AS SELECT DISTINCT id, inbound_secret, token_hash FROM shop.customers;
         CREATE FUNCTION shop.instead() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             UPDATE shop.customers SET inbound_secret = NEW.inbound_secret WHERE id = OLD.id;
             RETURN NEW;
         END $$;
         CREATE TRIGGER instead INSTEAD OF UPDATE ON shop.by_trigger
             FOR EACH ROW EXECUTE FUNCTION shop.instead();
         GRANT SELECT ON shop.plain, shop.fixed, shop.by_trigger TO {role};
         GRANT UPDATE (inbound_secret) ON shop.plain, shop.by_trigger TO {role};
         REVOKE ALL ON shop.customers FROM {role}"
    ))
    .await?;
    let more = ["--column", "inbound_secret", "--token-column", "token_hash"];
    for view in ["shop.plain", "shop.by_trigger"] {
        let server = shop.serve(["--table", view].into_iter().chain(more))?.server()?;
        let rotated = server.rotate(OLD).context(view)?;
        ensure!(rotated.starts_with("shop-"), "{view}: {rotated} is not what the trigger has stored");
        ensure!(server.delivered(OLD, TOKEN)? == rotated, "{view}: what was rotated is delivered");
        ensure!(shop.secret(OLD).await?.as_deref() == Some(rotated.as_str()), "{view}: and stored");
        keeps_its_rows(&server, OLD)?;
        server.stop()?;
    }
    let stored = shop.secret(OLD).await?.context("no secret")?;
    let asked = ["--read-only-column"];
    for (view, asked) in [("shop.fixed", &[][..]), ("shop.plain", &asked)] {
        let arguments = ["--table", view].into_iter().chain(more).chain(asked.iter().copied());
        let server = shop.serve(arguments)?.server()?;
        ensure!(server.delivered(OLD, TOKEN)? == stored, "{view}: it is read");
        let rotated = server.admin("POST", &format!("/workspaces/{OLD}/secret"), no_body())?;
        let refused = rotated.refusal(403, "secrets_are_read_only")?;
        ensure!(refused["message"].to_string().contains(view), "{refused}");
        let bare = server.heartbeat(BARE, TOKEN)?.json(200)?;
        assert_eq!(bare["secret_error"], "unavailable", "{view}: {bare}");
        let is_told = server.log()?.contains("the view cannot be updated");
        assert_eq!(is_told, asked.is_empty(), "{view}: {}", server.log()?);
        server.stop()?;
    }
    assert_eq!(shop.secret(OLD).await?, Some(stored), "it was written");
    Ok(())
}
