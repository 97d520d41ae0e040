//! Listeners: addresses as options name them, and the sockets behind them.
//!
//! A port is taken at once and opened late: until the server is ready a client is refused, and does not wait.
//! A socket that systemd hands over is open all the time, so that clients wait in its queue while one server
//! goes and the next one comes.

mod inherited;
mod unix;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, lookup_host};

pub use self::inherited::Inherited;
use self::inherited::Socket;
use self::unix::SocketFile;
use crate::peer::Peer;

/// Maximum number of connections in the system's queue; the system's own limit may be lower.
const BACKLOG: u32 = 4096;

/// An address that an option names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Tcp(String),
    Unix(PathBuf),
    /// The socket of this number among those that systemd hands over.
    Inherited(usize),
}

/// A socket that is taken and takes no connection yet.
pub(crate) enum Reserved {
    Tcp(TcpSocket),
    Unix(PathBuf, u32),
    Open(Listener),
}

/// A socket that takes connections.
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// One that a service manager keeps open.
    InheritedTcp(TcpListener, SocketAddr),
    /// The file goes with the listener, if it is our own.
    Unix(UnixListener, PathBuf, Option<SocketFile>),
}

/// A connection.
pub(crate) enum AcceptedStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ListenAddress {
    /// Reads the value of an option of this name.
    pub(crate) fn parse(option: &str, text: &str) -> anyhow::Result<Self> {
        let expected = "expected HOST:PORT, unix:FILE, or systemd:N";
        if let Some(path) = text.strip_prefix("unix:") {
            anyhow::ensure!(!path.is_empty(), "{option} {text:?} names no file; {expected}");
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(number) = text.strip_prefix("systemd") {
            let number = match number.strip_prefix(':') {
                Some(number) => number.parse().ok(),
                None => Some(0).filter(|_| number.is_empty()),
            };
            let number = number.with_context(|| format!("{option} {text:?} names no socket; {expected}"))?;
            return Ok(Self::Inherited(number));
        }
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        anyhow::ensure!(port.is_some(), "{option} {text:?} is no address; {expected}");
        Ok(Self::Tcp(text.to_owned()))
    }

    /// Takes the address.
    pub(crate) async fn reserve(
        self,
        option: &str,
        mode: u32,
        inherited: &Inherited,
    ) -> anyhow::Result<Reserved> {
        match self {
            Self::Tcp(asked) => Ok(Reserved::Tcp(bind(option, &asked).await?)),
            Self::Unix(path) => {
                unix::make_room(option, &path)?;
                Ok(Reserved::Unix(path, mode))
            }
            Self::Inherited(number) => Ok(Reserved::Open(match inherited.take(option, number)? {
                Socket::Tcp(listener, address) => Listener::InheritedTcp(listener, address),
                Socket::Unix(listener, path) => Listener::Unix(listener, path, None),
            })),
        }
    }
}

impl Reserved {
    /// Lets connections in.
    pub(crate) fn open(self, option: &str) -> anyhow::Result<Listener> {
        match self {
            Self::Tcp(socket) => {
                let opened = socket.listen(BACKLOG).and_then(|listener| {
                    let address = listener.local_addr()?;
                    Ok(Listener::Tcp(listener, address))
                });
                opened.with_context(|| format!("cannot listen for {option}; is its port taken?"))
            }
            Self::Unix(path, mode) => {
                let (listener, file) = unix::open(option, &path, mode, BACKLOG)?;
                Ok(Listener::Unix(listener, path, Some(file)))
            }
            Self::Open(listener) => Ok(listener),
        }
    }
}

impl Listener {
    /// Waits for the next connection.
    pub(crate) async fn accept(&self) -> std::io::Result<(AcceptedStream, Peer)> {
        match self {
            Self::Tcp(listener, _) | Self::InheritedTcp(listener, _) => {
                let (stream, address) = listener.accept().await?;
                // Answers are small and whole: waiting to fill a packet only delays them. Without the option
                // they are late.
                let _ = stream.set_nodelay(true);
                Ok((AcceptedStream::Tcp(stream), Peer::Ip(address)))
            }
            Self::Unix(listener, _, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((AcceptedStream::Unix(stream), Peer::Unix))
            }
        }
    }

    /// Returns whether the queue goes with this server.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Tcp(..) | Self::Unix(_, _, Some(_)))
    }

    /// Returns the address of a listener on TCP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) | Self::InheritedTcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) | Self::InheritedTcp(_, address) => write!(f, "{address}"),
            Self::Unix(_, path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Takes a port.
async fn bind(option: &str, asked: &str) -> anyhow::Result<TcpSocket> {
    let bound = async {
        let mut last = std::io::Error::other("the name has no address");
        for address in lookup_host(asked).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            match socket.bind(address) {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    bound.await.with_context(|| {
        format!(
            "cannot listen on {option} {asked:?}; expected HOST:PORT of this machine that no other program \
             uses, such as 127.0.0.1:8080, or port 0 for a free one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_a_file_or_a_socket_of_systemd() {
        let parse = |text| ListenAddress::parse("--listen", text);
        assert_eq!(parse("[::1]:80").unwrap(), ListenAddress::Tcp("[::1]:80".into()));
        assert_eq!(parse("unix:/run/x").unwrap(), ListenAddress::Unix("/run/x".into()));
        assert_eq!(parse("systemd").unwrap(), ListenAddress::Inherited(0));
        assert_eq!(parse("systemd:2").unwrap(), ListenAddress::Inherited(2));
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected() {
        for text in ["", "localhost", "localhost:", "h:70000", "unix:", "systemd:", "systemd:x", "systemdx"] {
            let error = ListenAddress::parse("--admin-listen", text).unwrap_err().to_string();
            assert!(error.contains("--admin-listen") && error.contains("HOST:PORT"), "{text:?}: {error}");
        }
    }
}
