//! SIGHUP: everything that can change while the server runs is read again.
//!
//! The configuration's file, the policy that it names, the certificate, and the password of the database.
//! Each stays as it is where the new one cannot be used, and an option that takes a restart is named.

use std::sync::Arc;

use tokio::signal::unix::Signal;

use crate::app::App;
use crate::connection::{Connections, Timeouts};
use crate::notify;
use crate::options::Serve;
use crate::policy_file::Named;
use crate::tls::Tls;
use crate::values::Values;

/// Options that take effect when they are read again.
const LIVE: [&str; 5] = ["policy", "setting", "keep-alive", "header-timeout", "write-timeout"];

/// What a SIGHUP reads again.
pub(super) struct Reloads {
    pub(super) serve: Serve,
    pub(super) app: Arc<App>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) asked: Named,
    pub(super) connections: Vec<Arc<Connections>>,
}

impl Reloads {
    /// Waits for signals. It never ends.
    pub(super) async fn run(mut self, mut hangups: Signal) {
        let mut values = self.serve.values.clone();
        while hangups.recv().await.is_some() {
            notify::reloading();
            self.configure(&mut values);
            self.app.store.reload();
            self.app.admin.reload();
            if let Some(tls) = &self.tls {
                tls.reload();
            }
            self.asked.apply(&self.app, "SIGHUP").await;
            notify::ready();
        }
    }

    /// Reads the configuration again.
    fn configure(&mut self, values: &mut Values) {
        let Some(reread) = &self.serve.reread else { return };
        let (serve, read) = match reread.read() {
            Ok(read) => read,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the configuration cannot be read again; every option stays as it is");
                return;
            }
        };
        for option in values.changed(&read) {
            if LIVE.contains(&option) {
                tracing::info!(option, "the option has changed");
            } else {
                tracing::warn!(option, "the option has changed in the file, and takes a restart");
            }
        }
        for connections in &self.connections {
            connections.set_timeouts(timeouts(&serve));
        }
        self.asked = Named { policy: serve.policy, settings: serve.settings };
        *values = read;
    }
}

/// Returns the deadlines of connections that the options name.
pub(super) fn timeouts(serve: &Serve) -> Timeouts {
    let options = &serve.connections;
    Timeouts { keep_alive: options.keep_alive, header: options.header_timeout, write: options.write_timeout }
}
