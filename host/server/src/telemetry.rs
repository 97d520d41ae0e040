//! What the server counts and says about the requests that it answers: answers by route and status, how long
//! they took, failures of one kind, request ids, and the access log.
//!
//! Nothing here decides what a request is answered. A heartbeat that is answered from the caches pays for two
//! looks at the clock and a few counters of its own thread, and for no lock, allocation or line.

mod connections;
mod outage;
mod request_id;
mod responses;

use std::sync::Arc;

pub(crate) use self::connections::{ConnectionCounts, ConnectionNumbers};
pub(crate) use self::outage::{Failure, Outages};
pub(crate) use self::request_id::{REQUEST_ID, RequestIds, given};
pub(crate) use self::responses::{BOUNDS, Responses, Route, RouteCounts};

/// The telemetry of one server.
pub(crate) struct Telemetry {
    pub(crate) outages: Outages,
    pub(crate) responses: Responses,
    pub(crate) request_ids: RequestIds,
    pub(crate) connections: Arc<ConnectionCounts>,
    /// Whether each request is logged.
    pub(crate) has_access_log: bool,
}

impl Telemetry {
    pub(crate) fn new(has_access_log: bool) -> Self {
        let request_ids = RequestIds::new();
        let connections = Arc::default();
        let (outages, responses) = (Outages::new(), Responses::new());
        Self { outages, responses, request_ids, connections, has_access_log }
    }
}
