//! What the server counts and says about the requests that it answers: answers by route and status, how long
//! they took, failures of one kind, request ids, and the access log.
//!
//! Nothing here decides what a request is answered. A heartbeat that is answered from the caches pays for two
//! looks at the clock and a few counters of its own thread, and for no lock, allocation or line.

mod outage;
mod request_id;
mod responses;

pub(crate) use self::outage::{Failure, Outages};
pub(crate) use self::request_id::{REQUEST_ID, RequestIds, given};
pub(crate) use self::responses::{BOUNDS, Responses, Route, RouteCounts};

/// The telemetry of one server.
pub(crate) struct Telemetry {
    pub(crate) outages: Outages,
    pub(crate) responses: Responses,
    pub(crate) request_ids: RequestIds,
    /// Whether each request is logged.
    pub(crate) has_access_log: bool,
}

impl Telemetry {
    pub(crate) fn new(has_access_log: bool) -> Self {
        let request_ids = RequestIds::new();
        Self { outages: Outages::new(), responses: Responses::new(), request_ids, has_access_log }
    }
}
