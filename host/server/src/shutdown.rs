//! SIGTERM and Ctrl-C as two futures: the first signal, and the second. SIGHUP as often as it comes.
//!
//! It ends nothing itself. The meaning of a signal is the server's to decide.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Returns the first of SIGTERM and Ctrl-C, and the one after it. Both count from this call on.
///
/// # Errors
///
/// The errors of the operating system, where it lets no process listen for signals.
pub fn signals() -> io::Result<(impl Future<Output = ()> + Send, impl Future<Output = ()> + Send)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, stop) = oneshot::channel();
    let (second, abort) = oneshot::channel();
    tokio::spawn(async move {
        for waiting in [first, second] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "received a signal");
            // A receiver that is gone means that the server has ended already.
            let _ = waiting.send(());
        }
    });
    Ok((received(stop), received(abort)))
}

/// Returns the stream of SIGHUPs, which end the process no more.
///
/// # Errors
///
/// The errors of the operating system, where it lets no process listen for signals.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

async fn received(signal: oneshot::Receiver<()>) {
    if signal.await.is_err() {
        // The task above ends only after it has sent both, or with the runtime; then nothing is left to stop.
        std::future::pending::<()>().await;
    }
}
