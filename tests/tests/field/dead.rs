//! Connections of the server's own pool that are dead when they are needed: forgotten by the network, cut by
//! it, or ended by the database. New connections can be opened at once, so that no request fails for the dead
//! ones.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::proxy::Proxy;
use leasehold_tests::server::{Client, Launch, Server};
use sqlx::{ConnectOptions as _, query_scalar};
use tokio::time::{Instant, timeout};

/// Number of idle connections: a quarter of the connections of a server, 16. So many issues may run at once,
/// each over its own.
const IDLE: usize = 4;
/// Time within which all requests are answered.
const WHOLE: Duration = Duration::from_secs(5);

struct Line {
    database: TestDatabase,
    proxy: Proxy,
    server: Server,
    /// The ids and their tokens.
    workspaces: Vec<(String, String)>,
}

impl Line {
    /// Starts a server that asks the database for each heartbeat.
    async fn start() -> Result<Self> {
        let database = TestDatabase::create().await?;
        let (proxy, address) = Proxy::start(&database.options()).await?;
        let launch = Launch::new(address.to_url_lossy().as_str())?;
        let server = launch.arguments(["--setting", "ttl=0s", "--setting", "jitter=0s"]).server()?;
        let mut workspaces = Vec::new();
        for number in 0..2 * IDLE {
            let id = format!("w{number}");
            let token = server.create(&id)?;
            server.delivered(&id, &token)?;
            workspaces.push((id, token));
        }
        Ok(Self { database, proxy, server, workspaces })
    }

    /// Has the pool open as many connections as it may for issues, and waits until they are idle.
    async fn fill_pool(&self) -> Result<()> {
        let sessions = async |state: &str| -> Result<i64> {
            let sql = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                 application_name = 'leasehold' AND {state}"
            );
            Ok(query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(self.database.pool()).await?)
        };
        loop {
            let mut holder = self.database.pool().begin().await?;
            sqlx::raw_sql("SELECT FROM workspaces FOR UPDATE").execute(&mut *holder).await?;
            let rotations: Vec<_> = self.workspaces[..IDLE]
                .iter()
                .map(|(id, _)| {
                    let (client, id) = (Client::clone(&self.server), id.clone());
                    tokio::task::spawn_blocking(move || client.rotate(&id))
                })
                .collect();
            let all_wait = async {
                while sessions("wait_event_type = 'Lock'").await? < IDLE as i64 {}
                anyhow::Ok(())
            };
            // This has to come before the first has waited for too long. On a busy machine the logins take
            // longer.
            let mut is_filled = timeout(Duration::from_millis(500), all_wait).await.is_ok();
            holder.rollback().await?;
            for rotation in rotations {
                is_filled &= rotation.await?.is_ok();
            }
            while sessions("state <> 'idle'").await? > 0 {}
            if is_filled {
                return Ok(());
            }
        }
    }

    /// Checks that every kind of request is answered as if nothing had been.
    async fn is_served(&self) -> Result<()> {
        let started = Instant::now();
        for (number, (id, token)) in self.workspaces.iter().enumerate() {
            let what = || format!("{id} after {:?}", started.elapsed());
            if number % 2 == 0 {
                self.server.delivered(id, token).with_context(what)?;
            } else {
                self.server.rotate(id).with_context(what)?;
            }
            self.server.get("/readyz")?.json(200).with_context(what)?;
        }
        ensure!(started.elapsed() < WHOLE, "{:?}", started.elapsed());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_network_has_forgotten_cost_no_request_its_answer() -> Result<()> {
    let line = Line::start().await?;
    line.fill_pool().await?;
    line.proxy.forget();
    line.is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_cut_cost_no_request_its_answer() -> Result<()> {
    let line = Line::start().await?;
    line.fill_pool().await?;
    line.proxy.cut();
    line.proxy.settled().await?;
    line.is_served().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_has_ended_cost_no_request_its_answer() -> Result<()> {
    let line = Line::start().await?;
    line.fill_pool().await?;
    let end = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE \
               datname = current_database() AND application_name = 'leasehold'";
    let ended: i64 = query_scalar(end).fetch_one(line.database.pool()).await?;
    ensure!(ended >= IDLE as i64, "only {ended} were there");
    line.is_served().await
}
