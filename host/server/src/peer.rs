//! The other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::Extensions;

/// Origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Ip(SocketAddr),
    /// A program on this machine, by a Unix socket.
    Unix,
}

impl Peer {
    /// Returns the origin of a request, for the record.
    pub(crate) fn of(extensions: &Extensions) -> String {
        extensions.get::<Self>().map_or_else(|| "unknown".to_owned(), Self::to_string)
    }

    /// Returns what counts as one peer: an address, or a /64 of IPv6, which is what one customer has.
    pub(crate) fn network(self) -> Option<IpAddr> {
        match self {
            Self::Unix => None,
            Self::Ip(address) => Some(match address.ip().to_canonical() {
                IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
                ip @ IpAddr::V4(_) => ip,
            }),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix => f.write_str("a Unix socket"),
        }
    }
}
