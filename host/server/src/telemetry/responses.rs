//! Answers counted by route and status, and how long they took.
//!
//! A label is a route's pattern, never a path: what clients send must not make series. Each thread counts in
//! a part of its own, as far as there are parts enough, since every heartbeat counts here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The routes of the server, by their patterns. The heartbeat comes first: it is looked for most.
const ROUTES: [&str; 17] = [
    "/registry/heartbeat",
    "/healthz",
    "/readyz",
    "/metrics",
    "/workspaces",
    "/workspaces/{id}",
    "/workspaces/{id}/secret",
    "/workspaces/{id}/tokens",
    "/workspaces/{id}/tokens/rotate",
    "/workspaces/{id}/tokens/{token}",
    "/admin/policy",
    "/admin/policy/rollback",
    "/admin/cache/reset",
    "/admin/cache/forget/{id}",
    "/admin/cache/{id}",
    "/admin/stats",
    OTHER,
];
/// The label of a path that is no route's.
const OTHER: &str = "other";
/// The label of what was no request at all.
const MALFORMED: &str = "malformed";
const ROUTE_COUNT: usize = ROUTES.len() + 1;

/// The statuses that the server answers with. The most frequent one comes first.
const CODES: [u16; 17] =
    [200, 401, 503, 201, 204, 400, 403, 404, 405, 408, 409, 413, 414, 422, 429, 431, 500];
/// The label of any other status.
const OTHER_CODE: &str = "other";

/// Upper bounds of the buckets of durations, in seconds.
pub(crate) const BOUNDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const BOUNDS_NANOS: [u64; BOUNDS.len()] = [
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// Number of parts. Threads beyond it share one.
const SHARDS: usize = 16;

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    // Relaxed: any part will do.
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// A route, as a label of bounded number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(usize);

impl Route {
    pub(crate) const HEARTBEAT: Self = Self(0);
    /// What was no request at all.
    pub(crate) const MALFORMED: Self = Self(ROUTES.len());

    /// Returns the route of a path.
    pub(crate) fn of(path: &str) -> Self {
        let found = ROUTES.iter().position(|pattern| matches_pattern(pattern, path));
        Self(found.unwrap_or(ROUTES.len() - 1))
    }

    pub(crate) fn pattern(self) -> &'static str {
        ROUTES.get(self.0).copied().unwrap_or(MALFORMED)
    }
}

fn matches_pattern(pattern: &str, path: &str) -> bool {
    if pattern == path || !pattern.contains('{') {
        return pattern == path;
    }
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if pattern == part => {}
            (Some(pattern), Some(part)) if pattern.starts_with('{') && !part.is_empty() => {}
            _ => return false,
        }
    }
}

/// The counts of one route in one part.
struct Counts {
    codes: [AtomicU64; CODES.len() + 1],
    /// Answers by duration, the last for those beyond every bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// The counts of one route, over all parts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RouteCounts {
    pub(crate) route: &'static str,
    /// Numbers above zero, by status.
    pub(crate) codes: Vec<(String, u64)>,
    /// Numbers of answers, each up to its bound and above the one before; the last has none.
    pub(crate) buckets: Vec<u64>,
    pub(crate) seconds: f64,
}

/// The counters of a server.
pub(crate) struct Responses(Box<[[Counts; ROUTE_COUNT]]>);

impl Responses {
    pub(crate) fn new() -> Self {
        let counts = |_| Counts {
            codes: std::array::from_fn(|_| AtomicU64::new(0)),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            nanos: AtomicU64::new(0),
        };
        Self((0..SHARDS).map(|_| std::array::from_fn(counts)).collect())
    }

    /// Counts an answer.
    #[inline]
    pub(crate) fn count(&self, route: Route, code: u16, took: Duration) {
        let Some(counts) = SHARD.with(|shard| self.0.get(*shard)?.get(route.0)) else { return };
        let code = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len());
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        // Relaxed: numbers for people, which order nothing.
        if let (Some(code), Some(bucket)) = (counts.codes.get(code), counts.buckets.get(bucket)) {
            code.fetch_add(1, Ordering::Relaxed);
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        counts.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the counts of the routes that have answered anything.
    pub(crate) fn snapshot(&self) -> Vec<RouteCounts> {
        (0..ROUTE_COUNT)
            .map(|route| self.of_route(Route(route)))
            .filter(|counts| !counts.codes.is_empty())
            .collect()
    }

    fn of_route(&self, route: Route) -> RouteCounts {
        let parts = || self.0.iter().filter_map(|part| part.get(route.0));
        let sum = |number: &dyn Fn(&Counts) -> Option<u64>| parts().filter_map(number).sum::<u64>();
        let read = |numbers: &[AtomicU64], place: usize| Some(numbers.get(place)?.load(Ordering::Relaxed));
        let names = CODES.iter().map(u16::to_string).chain([OTHER_CODE.to_owned()]);
        let codes = names.enumerate().map(|(place, name)| (name, sum(&|part| read(&part.codes, place))));
        let buckets = (0..=BOUNDS.len()).map(|place| sum(&|part| read(&part.buckets, place)));
        let nanos = sum(&|part| Some(part.nanos.load(Ordering::Relaxed)));
        RouteCounts {
            route: route.pattern(),
            codes: codes.filter(|(_, number)| *number > 0).collect(),
            buckets: buckets.collect(),
            seconds: Duration::from_nanos(nanos).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_server_has_a_label() {
        let source = include_str!("../routes.rs");
        let patterns = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let patterns: Vec<&str> = patterns.collect();
        assert!(patterns.len() >= 11, "{patterns:?}");
        for pattern in patterns {
            assert_eq!(Route::of(&pattern.replace("{id}", "w-1")).pattern(), pattern);
        }
    }

    #[test]
    fn a_path_that_is_no_route_is_one_label_with_all_others() {
        for path in
            ["", "/", "/workspaces/", "/workspaces//secret", "/healthz/", "/workspaces/a/b", "/x/y", "*"]
        {
            assert_eq!(Route::of(path).pattern(), "other", "{path:?}");
        }
        assert_eq!(Route::of("/registry/heartbeat"), Route::HEARTBEAT);
        assert_eq!(Route::MALFORMED.pattern(), "malformed");
    }

    #[test]
    fn answers_of_all_threads_are_counted_by_route_status_and_duration() {
        let responses = Responses::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    responses.count(Route::HEARTBEAT, 200, Duration::from_micros(20));
                    responses.count(Route::HEARTBEAT, 401, Duration::from_millis(30));
                    responses.count(Route::of("/x"), 299, Duration::from_secs(60));
                });
            }
        });
        let counts = responses.snapshot();
        assert_eq!(counts.len(), 2);
        assert_eq!(counts[0].codes, [("200".to_owned(), 4), ("401".to_owned(), 4)]);
        assert_eq!((counts[0].buckets[0], counts[0].buckets[3]), (4, 4));
        assert!((counts[0].seconds - 0.12008).abs() < 1e-9, "{}", counts[0].seconds);
        assert_eq!((counts[1].route, &*counts[1].codes), ("other", &[("other".to_owned(), 4)][..]));
        assert_eq!(counts[1].buckets.last(), Some(&4));
    }
}
