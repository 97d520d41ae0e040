//! The server behind PgBouncer: it serves without a wrong answer and without a lost row, or refuses to start
//! and says why.
//!
//! A pooler that loses prepared statements runs one statement as another: the token's hash is answered as the
//! secret, a DELETE is run as a SELECT. So every setup of one is tried under load, fresh and after another
//! program has left statements of its own on the server connections. `tests/run --long` gives each 100,000
//! heartbeats and a minute at least; with `-- --nocapture` it prints the table.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use leasehold_tests::Tier;
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::{Launch, Server};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::load::{self, Load};

/// A setup of a pooler.
#[derive(Clone, Copy, Debug)]
struct Setup {
    version: Version,
    mode: Mode,
    /// True if prepared statements go with the client, which only a new pooler can be set not to do.
    keeps: bool,
    /// True if startup parameters that it does not know are ignored, false if they are refused.
    ignores: bool,
    /// True if another program has used it before.
    used: bool,
}

/// The service that an operator gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Served,
    Refused,
}

impl Setup {
    fn start(self, database: &TestDatabase) -> Result<Pooler> {
        let mut settings = Vec::new();
        if self.version == Version::New && !self.keeps {
            settings.push(("max_prepared_statements", "0"));
        }
        if self.ignores {
            settings.push(("ignore_startup_parameters", "options,extra_float_digits"));
        }
        Pooler::start(self.version, self.mode, &database.options(), &settings)
    }

    /// Returns the service that is right.
    fn expected(self) -> Service {
        match self.mode {
            Mode::Session => Service::Served,
            Mode::Transaction if self.keeps => Service::Served,
            Mode::Transaction | Mode::Statement => Service::Refused,
        }
    }
}

/// Returns every setup of this version.
fn setups(version: Version, used: bool) -> Vec<Setup> {
    let mut setups = Vec::new();
    for mode in [Mode::Session, Mode::Transaction, Mode::Statement] {
        for keeps in [true, false] {
            for ignores in [true, false] {
                let is_possible = version == Version::New || !keeps;
                // The other program insists on its startup parameters.
                if is_possible && (ignores || !used) {
                    setups.push(Setup { version, mode, keeps, ignores, used });
                }
            }
        }
    }
    setups
}

/// Returns a database with the server's schema, made by a server that is connected to it directly.
pub(super) async fn with_schema() -> Result<TestDatabase> {
    let database = TestDatabase::create().await?;
    Server::start(database.url())?.stop()?;
    Ok(database)
}

/// Leaves statements behind as a program does that uses the same driver: by the driver's names, with one to
/// eight texts as parameters, reads and deletes, on each of the pooler's server connections in another order.
async fn run_another_program(pooler: &Pooler, mode: Mode) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = PgConnection::connect_with(&pooler.options()).await?;
        if mode != Mode::Statement {
            // While the transaction lasts, the server connection is this client's alone.
            sqlx::raw_sql("BEGIN").execute(&mut client).await?;
        }
        clients.push(client);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        for turn in 0..16 {
            let kind = (number + turn) % 16;
            let (verb, texts) = (["DELETE", "SELECT id"][kind % 2], kind / 2 + 1);
            let more: String = (2..=texts).map(|n| format!(" AND ${n} <> ''")).collect();
            let sql = format!("{verb} FROM workspaces WHERE id = $1{more}");
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for _ in 0..texts {
                query = query.bind("nobody");
            }
            let done = query.execute(&mut *client).await;
            if mode != Mode::Statement {
                done?;
            }
        }
    }
    for mut client in clients {
        if mode != Mode::Statement {
            sqlx::raw_sql("COMMIT").execute(&mut client).await?;
        }
        client.close().await?;
    }
    Ok(())
}

/// Checks the server's words about a pooler that it cannot be run behind: what is wrong, and what to do.
fn is_refusal(words: &str) -> Result<()> {
    for word in ["pooler", "pool_mode=session", "max_prepared_statements"] {
        ensure!(words.contains(word), "no {word:?} in {words}");
    }
    Ok(())
}

async fn serve(setup: Setup, database: &TestDatabase) -> Result<Service> {
    let made = load::make_rows(database.pool()).await?;
    let pooler = setup.start(database)?;
    if setup.used {
        run_another_program(&pooler, setup.mode).await?;
    }
    let server = match Launch::new(&pooler.url())?.arguments(["--setting", "ttl=0s"]).server() {
        Ok(server) => server,
        Err(error) => {
            let words = format!("{error:#}");
            ensure!(words.starts_with("the server ended with code Some(1)"), "it does not start: {words}");
            ensure!(load::rows(database.pool()).await? == made, "a start that was refused changed rows");
            is_refusal(&words)?;
            println!("{setup:?}: {}", words.lines().last().unwrap_or_default());
            return Ok(Service::Refused);
        }
    };
    let (seconds, beats) = (Tier::current().pick(3, 60), Tier::current().pick(0, 100_000));
    let outcome =
        Load::start(&server, database.pool(), &made).run_for(Duration::from_secs(seconds), beats).await?;
    println!("{setup:?}: {outcome}");
    outcome.is_service().with_context(|| format!("its log:\n{}", tail(&server)))?;
    server.stop()?;
    Ok(Service::Served)
}

/// Returns the end of the log, where the reason is.
pub(super) fn tail(server: &Server) -> String {
    let log = server.log().unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
}

async fn all_are_served_right_or_refused(version: Version, used: bool) -> Result<()> {
    let database = with_schema().await?;
    let mut failures = Vec::new();
    for setup in setups(version, used) {
        match serve(setup, &database).await {
            Ok(service) if service == setup.expected() => {}
            Ok(service) => failures.push(format!("{setup:?}: {service:?}")),
            Err(error) => failures.push(format!("{setup:?}: {error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n\n"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_old_pooler_nothing_is_wrong_or_lost() -> Result<()> {
    all_are_served_right_or_refused(Version::Old, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_new_pooler_nothing_is_wrong_or_lost() -> Result<()> {
    all_are_served_right_or_refused(Version::New, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_old_pooler_that_another_program_has_used_nothing_is_wrong_or_lost() -> Result<()> {
    all_are_served_right_or_refused(Version::Old, true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_new_pooler_that_another_program_has_used_nothing_is_wrong_or_lost() -> Result<()> {
    all_are_served_right_or_refused(Version::New, true).await
}
