//! Sockets that a service manager opened and hands over, as systemd does with a `.socket` unit.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

/// The sockets that were handed over and that nobody has taken yet.
#[derive(Clone, Default)]
pub struct Inherited(Option<Arc<Mutex<ListenFd>>>);

/// A socket that was handed over.
pub(super) enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited").finish_non_exhaustive()
    }
}

impl Inherited {
    /// Takes over the sockets that the environment names (LISTEN_FDS and LISTEN_PID). To be called before
    /// there are other threads, since it clears those variables.
    pub fn from_environment() -> Self {
        Self(Some(Arc::new(Mutex::new(ListenFd::from_env()))))
    }

    /// Takes the socket of this number.
    pub(super) fn take(&self, option: &str, number: usize) -> anyhow::Result<Socket> {
        let none = || {
            format!(
                "{option} systemd:{number}: no socket of this number was handed over; expected a .socket \
                 unit with that many ListenStream, or systemd-socket-activate"
            )
        };
        let sockets = self.0.as_ref().with_context(none)?;
        let mut sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
        // A socket of the other kind is an error, and left where it is.
        if let Ok(Some(listener)) = sockets.take_tcp_listener(number) {
            let opened = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            let listener = opened.with_context(none)?;
            let address = listener.local_addr().with_context(none)?;
            return Ok(Socket::Tcp(listener, address));
        }
        if let Ok(Some(listener)) = sockets.take_unix_listener(number) {
            let address = listener.local_addr();
            let opened = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
            return Ok(Socket::Unix(opened.with_context(none)?, path_of(address)));
        }
        Err(anyhow::anyhow!(none()))
    }
}

fn path_of(address: std::io::Result<UnixAddress>) -> PathBuf {
    address.ok().and_then(|address| address.as_pathname().map(PathBuf::from)).unwrap_or_default()
}
