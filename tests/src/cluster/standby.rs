//! A hot standby of a cluster: a copy that follows it and may be read, until it is promoted.
//!
//! It is a [`Cluster`] like any other, with the same user and password, on a port of its own. It follows by
//! itself; [`Cluster::caught_up_with`] waits for its progress. Replication is asynchronous: what was
//! committed and not yet sent is lost with the primary.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Cluster, MAX_WAIT};

impl Cluster {
    /// Copies this running cluster, and starts the copy as a hot standby that follows it.
    pub fn standby(&self) -> Result<Self> {
        let copy = Self::in_new_folder(self.bin.clone(), self.password.clone(), self.settings.clone())?;
        let mut command = copy.command("pg_basebackup");
        command.args(["--host=127.0.0.1", "--username=leasehold", "--no-password", "--port"]);
        command.arg(self.port.to_string()).arg("--pgdata").arg(copy.data()).env("PGPASSWORD", &self.password);
        // The copy has the file that makes it a standby, and the address of its primary.
        command.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        run(command)?;
        copy.started()
    }

    /// Makes a standby a primary, and returns when it is one. Its sessions stay.
    pub fn promote(&self) -> Result<()> {
        let mut command = self.command("pg_ctl");
        command.args(["promote", "--wait", "--silent", "--timeout", &MAX_WAIT.as_secs().to_string()]);
        command.arg("--pgdata").arg(self.data());
        run(command)
    }

    /// Waits until this standby has applied everything that `primary` has written by now.
    pub async fn caught_up_with(&self, primary: &Self) -> Result<()> {
        let mut connection = primary.options().connect().await?;
        let written: String =
            sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&mut connection).await?;
        connection.close().await?;
        let mut connection = self.options().connect().await?;
        let caught_up = async {
            let sql = "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn";
            while !sqlx::query_scalar::<_, bool>(sql).bind(&written).fetch_one(&mut connection).await? {}
            anyhow::Ok(())
        };
        tokio::time::timeout(MAX_WAIT, caught_up).await.context("the standby does not catch up")??;
        connection.close().await?;
        Ok(())
    }
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {:?}", command.get_program()))?;
    let program = command.get_program();
    ensure!(output.status.success(), "{program:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
