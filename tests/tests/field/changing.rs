//! A pooler that is changed, or put in between, while the server runs: found out without a wrong answer, and
//! overcome once it is over.
//!
//! The look at the start says nothing of what comes later: an operator reloads the pooler with another mode,
//! or an address is moved from the database to a pooler. From then on the server sends nothing to the
//! database, says why, and goes on by itself when it may.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::proxy::Proxy;
use leasehold_tests::server::{Launch, Server};
use serde_json::json;
use sqlx::ConnectOptions as _;
use tokio::time::Instant;

use super::load::{self, Load};
use super::pooler::{tail, with_schema};
use super::ready::{Ready, becomes};

/// Time within which it has to be found out under load, and to be overcome once it is over.
const NOTICED: Duration = Duration::from_secs(10);
const OVER: Duration = Duration::from_secs(10);

/// The setting of each of these poolers, which many operators use, so that the old one can be connected to at
/// all.
const IGNORES: (&str, &str) = ("ignore_startup_parameters", "options,extra_float_digits");

fn pooler(version: Version, mode: Mode, database: &TestDatabase, keeps: bool) -> Result<Pooler> {
    let forgets = (version == Version::New && !keeps).then_some(("max_prepared_statements", "0"));
    let settings: Vec<_> = forgets.into_iter().chain([IGNORES]).collect();
    Pooler::start(version, mode, &database.options(), &settings)
}

/// A server under load, and the pooler in front of it that is about to change.
struct Changing {
    database: TestDatabase,
    server: Server,
    load: Load,
}

impl Changing {
    async fn start(database: TestDatabase, url: &str) -> Result<Self> {
        let made = load::make_rows(database.pool()).await?;
        let server = Launch::new(url)?.arguments(["--setting", "ttl=0s"]).server()?;
        // Its token is cached from here on.
        server.delivered("w1", &load::token("w1"))?;
        let load = Load::start(&server, database.pool(), &made);
        let changing = Self { database, server, load };
        changing.load.deliveries(500).await?;
        Ok(changing)
    }

    /// Checks that the database is not used, and that an operator learns why.
    async fn stops(&self) -> Result<()> {
        becomes(&self.server, Ready::Unavailable, NOTICED).await.with_context(|| tail(&self.server))?;
        // It stays so, under load, until the cause is removed.
        for _ in 0..10 {
            self.load.beats(50).await?;
            let ready = Ready::of(&self.server)?;
            ensure!(ready == Ready::Unavailable, "it is {ready:?} again: {}", tail(&self.server));
        }
        let started = Instant::now();
        for word in ["pooler", "pool_mode=session"] {
            while !self.server.log()?.contains(word) {
                ensure!(started.elapsed() < NOTICED, "no {word:?} in its log: {}", tail(&self.server));
                self.load.beats(50).await?;
            }
        }
        let answer = self.server.heartbeat("w1", &load::token("w1"))?;
        ensure!(
            answer.json(200)? == json!({ "status": "ok", "secret_error": "unavailable" }),
            "a heartbeat meanwhile: {}",
            answer.text
        );
        Ok(())
    }

    async fn goes_on(&self) -> Result<()> {
        becomes(&self.server, Ready::Ok, OVER).await.with_context(|| tail(&self.server))?;
        self.load.deliveries(500).await
    }

    /// Checks that, whatever happened meanwhile, nothing was wrong and nothing is gone.
    async fn finish(self, what: &str, went: Result<()>) -> Result<()> {
        let log = tail(&self.server);
        let outcome = self.load.finish().await?;
        println!("{what}: {outcome}");
        outcome.is_undamaged().with_context(|| format!("{what}: its log:\n{log}"))?;
        went.with_context(|| format!("{what}: {outcome}"))?;
        self.server.stop()?;
        drop(self.database);
        Ok(())
    }
}

async fn a_reload_is_found_out(version: Version) -> Result<()> {
    let database = with_schema().await?;
    let pooler = pooler(version, Mode::Session, &database, false)?;
    let changing = Changing::start(database, &pooler.url()).await?;
    let went = async {
        pooler.switch(Mode::Transaction)?;
        changing.stops().await?;
        pooler.switch(Mode::Session)?;
        changing.goes_on().await
    };
    let went = went.await;
    changing.finish(&format!("{version:?}, from session to transaction"), went).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_pooler_that_is_reloaded_with_another_mode_is_found_out() -> Result<()> {
    a_reload_is_found_out(Version::Old).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pooler_that_is_reloaded_with_another_mode_is_found_out() -> Result<()> {
    a_reload_is_found_out(Version::New).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_keeps_statements_may_change_its_mode() -> Result<()> {
    let database = with_schema().await?;
    let pooler = pooler(Version::New, Mode::Session, &database, true)?;
    let changing = Changing::start(database, &pooler.url()).await?;
    let went = async {
        for mode in [Mode::Transaction, Mode::Session] {
            pooler.switch(mode)?;
            // It may stop to look. It may not stop for good.
            changing.load.beats(500).await?;
            changing.goes_on().await?;
        }
        Ok(())
    };
    let went = went.await;
    changing.finish("a pooler that keeps statements", went).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_moved_to_a_pooler_is_found_out() -> Result<()> {
    for version in [Version::Old, Version::New] {
        let database = with_schema().await?;
        let pooler = pooler(version, Mode::Transaction, &database, false)?;
        let (proxy, moving) = Proxy::start(&database.options()).await?;
        let direct = database.options();
        let changing = Changing::start(database, moving.to_url_lossy().as_str()).await?;
        let went = async {
            proxy.point(&pooler.options()).await?;
            proxy.cut();
            changing.stops().await?;
            proxy.point(&direct).await?;
            proxy.cut();
            changing.goes_on().await
        };
        let went = went.await;
        changing.finish(&format!("{version:?}, put in between"), went).await?;
    }
    Ok(())
}
