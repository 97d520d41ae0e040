//! The server over HTTP: every request of the design's table, and everything that must be refused.
//!
//! Each test starts the real binary on a database of its own, whose table the server's migrations make. What
//! both databases must do is written once and run on both.

mod audit;
mod connections;
mod credentials;
mod heartbeat;
mod listeners;
mod metrics;
mod outage;
mod policy;
mod refusals;
mod rotation;
mod routes;
mod swap;
mod tokens;
mod wire;
mod workspaces;

use anyhow::Result;
use leasehold_tests::server::{Launch, Server};
use leasehold_tests::{Engine, Fixture};

const W: &str = "8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55";

/// A server and its database. The server ends first.
struct TestBed {
    server: Server,
    rows: Fixture,
}

impl TestBed {
    async fn new(engine: Engine) -> Result<Self> {
        Self::with(engine, &[]).await
    }

    async fn with(engine: Engine, arguments: &[&str]) -> Result<Self> {
        let rows = engine.empty().await?;
        let server = Launch::new(rows.url())?.arguments(arguments.iter().copied()).server()?;
        Ok(Self { server, rows })
    }

    /// Writes a secret as another program would.
    async fn store(&self, id: &str, secret: &str) -> Result<()> {
        let update = format!("UPDATE workspaces SET platform_inbound_secret = '{secret}' WHERE id = '{id}'");
        self.rows.execute(&update).await
    }

    async fn stored(&self, id: &str) -> Result<Option<String>> {
        self.rows.text(&format!("SELECT platform_inbound_secret FROM workspaces WHERE id = '{id}'")).await
    }

    /// Takes the tables away, so that every statement about workspaces and their tokens fails.
    async fn break_table(&self) -> Result<()> {
        self.rows.execute("ALTER TABLE workspaces RENAME TO mislaid").await?;
        self.rows.execute("ALTER TABLE workspace_tokens RENAME TO mislaid_tokens").await
    }

    async fn mend_table(&self) -> Result<()> {
        self.rows.execute("ALTER TABLE mislaid RENAME TO workspaces").await?;
        self.rows.execute("ALTER TABLE mislaid_tokens RENAME TO workspace_tokens").await
    }
}
