//! What stands between a connection and the routes, for every request: the rule about `Host`, request ids,
//! counters, the access log, and the one place where failures of requests are noted.
//!
//! It knows no route but by its label, and nothing of what a connection is made of: a socket, TLS, or
//! something else. Whatever is added here is paid for by each heartbeat.

mod body;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Version};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use leasehold::{Clock as _, Instant, SystemClock, WorkspaceId};
use tracing::Instrument as _;

use self::body::Observed;
pub(crate) use self::stream::Stream;
use crate::peer::Peer;
use crate::respond::ApiError;
use crate::telemetry::{Failure, REQUEST_ID, Route, Telemetry, given};

/// The routes of a server, and what stands before them. A clone is another handle of it.
#[derive(Clone)]
pub(crate) struct Front(Arc<FrontParts>);

struct FrontParts {
    routes: TowerToHyperService<Router>,
    telemetry: Arc<Telemetry>,
    clock: SystemClock,
}

/// The workspace that an answer concerns, for the access log; handlers attach it where the path has none.
#[derive(Clone)]
pub(crate) struct Concerns(pub(crate) WorkspaceId);

/// A line of the access log, as far as it is known before the answer.
struct AccessEntry {
    method: Method,
    workspace: Option<String>,
    peer: Peer,
}

impl Front {
    pub(crate) fn new(routes: Router, telemetry: Arc<Telemetry>) -> Self {
        let routes = TowerToHyperService::new(routes);
        Self(Arc::new(FrontParts { routes, telemetry, clock: SystemClock::new() }))
    }

    /// Returns a connection with its manners.
    pub(crate) fn stream<S>(&self, stream: S) -> Stream<S> {
        Stream::new(stream, Arc::clone(&self.0.telemetry))
    }

    /// Returns the service that answers the requests of one connection.
    pub(crate) fn service<S: 'static>(
        &self,
        stream: &Stream<S>,
        peer: Peer,
    ) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
    + Send
    + 'static
    + use<S> {
        let (parts, unread) = (Arc::clone(&self.0), stream.unread());
        service_fn(move |request: Request<Incoming>| {
            let (parts, unread) = (Arc::clone(&parts), unread.clone());
            async move {
                let request = request.map(|body| Observed::new(body, unread));
                Ok(parts.answer(request, peer).await)
            }
        })
    }
}

impl FrontParts {
    async fn answer(&self, mut request: Request<Observed>, peer: Peer) -> Response {
        let begun = self.clock.now();
        let route = Route::of(request.uri().path());
        let entry = self.telemetry.has_access_log.then(|| AccessEntry::of(&request, peer));
        let id = self.request_id(request.headers(), route);
        let mut response = if names_host(&request) {
            request.extensions_mut().insert(peer);
            let answered = self.routes.call(request);
            let answered = match id.as_ref().and_then(|id| id.to_str().ok()) {
                Some(id) => answered.instrument(tracing::info_span!("request", id)).await,
                None => answered.await,
            };
            answered.unwrap_or_else(|never| match never {})
        } else {
            ApiError::bad_request("invalid_host", "expected one Host header, as HTTP/1.1 has it")
                .into_response()
        };
        let took = self.clock.now().saturating_since(begun);
        self.telemetry.responses.count(route, response.status().as_u16(), took);
        if let Some(failure) = response.extensions_mut().remove::<Failure>() {
            self.note(route, &response, &failure);
        }
        if let Some(entry) = entry {
            entry.log(route, &response, begun, self.clock.now(), id.as_ref());
        }
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    /// Returns the id of the request. A heartbeat gets one only if somebody will see it.
    fn request_id(&self, headers: &HeaderMap, route: Route) -> Option<HeaderValue> {
        given(headers).or_else(|| {
            let is_seen = self.telemetry.has_access_log || route != Route::HEARTBEAT;
            is_seen.then(|| self.telemetry.request_ids.make())
        })
    }

    #[cold]
    fn note(&self, route: Route, response: &Response, failure: &Failure) {
        let (route, status) = (route.pattern(), response.status().as_u16());
        let workspace = response.extensions().get::<Concerns>().map(|concerns| concerns.0.as_str());
        let Failure { trouble, cause, .. } = failure;
        tracing::debug!(route, status, workspace, ?trouble, %cause, "a request failed");
        self.telemetry.outages.note(failure);
    }
}

/// Returns whether the request names its host as its version has it (RFC 9112, 3.2).
fn names_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

impl AccessEntry {
    fn of<B>(request: &Request<B>, peer: Peer) -> Self {
        let mut parts = request.uri().path().split('/').skip(1);
        let is_named = parts.next() == Some("workspaces");
        let workspace = parts.next().filter(|part| is_named && !part.is_empty()).map(str::to_owned);
        Self { method: request.method().clone(), workspace, peer }
    }

    /// Logs the line. A workspace is named only where its caller was let in: anything may stand in its place
    /// otherwise, such as a token.
    fn log(
        self,
        route: Route,
        response: &Response,
        begun: Instant,
        ended: Instant,
        id: Option<&HeaderValue>,
    ) {
        let status = response.status().as_u16();
        let concerns = response.extensions().get::<Concerns>().map(|concerns| concerns.0.as_str());
        let workspace =
            concerns.or(self.workspace.as_deref()).filter(|_| ![400, 401, 403, 404].contains(&status));
        tracing::info!(
            target: "leasehold::access",
            method = %self.method,
            route = route.pattern(),
            status,
            duration_us = u64::try_from(ended.saturating_since(begun).as_micros()).unwrap_or(u64::MAX),
            peer = %self.peer,
            request_id = id.and_then(|id| id.to_str().ok()),
            workspace,
            "request"
        );
    }
}
