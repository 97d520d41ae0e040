//! The other end of a connection.

use std::net::SocketAddr;

/// Address from which a request comes.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);
