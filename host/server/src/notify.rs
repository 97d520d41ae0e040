//! The service manager's side of the server's life: ready, reloading, stopping (systemd's `Type=notify` and
//! `Type=notify-reload`).
//!
//! Without a service manager that asked for it nothing is sent.

use sd_notify::NotifyState;

/// The server answers requests.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// The server reads its configuration again; [`ready`] ends that.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager is not notified"),
    }
}

/// The server is stopping.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager is not notified");
    }
}
