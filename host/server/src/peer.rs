//! The other end of a connection.

use std::net::SocketAddr;

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);
