//! The ids by which a request is found again in the logs of several programs.
//!
//! An id that the client brings is taken over if it is short and plain: it goes into the answer and into log
//! lines, so nothing else may. An id proves nothing, and nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header, in requests and in answers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of an id that is taken over, in bytes: a UUID has 36, a trace of other programs 55.
const MAX_BYTES: usize = 64;

/// The ids that the server makes: random digits of this process, and a number.
pub(crate) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        // Without random bytes two processes may make the same ids, which is no reason not to start.
        Self { process: getrandom::u32().unwrap_or(0), next: AtomicU64::new(1) }
    }

    /// Makes an id that this process has not made before.
    pub(crate) fn make(&self) -> HeaderValue {
        // Relaxed: each number is given out once, and nothing else is ordered by it.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}-{number:x}", self.process);
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// Returns the id that the request brings, if it is one that can be taken over.
pub(crate) fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(REQUEST_ID).iter();
    let (Some(id), None) = (all.next(), all.next()) else { return None };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let bytes = id.as_bytes();
    let is_sane = (1..=MAX_BYTES).contains(&bytes.len()) && bytes.iter().all(is_plain);
    is_sane.then(|| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(ids: &[&str]) -> HeaderMap {
        ids.iter().map(|id| (REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn an_id_that_is_short_and_plain_is_taken_over() {
        for id in ["a", "8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55", "A_b.c-9", &"x".repeat(64)] {
            assert_eq!(given(&headers(&[id])).unwrap(), id);
        }
    }

    #[test]
    fn any_other_id_is_not() {
        for ids in [&[][..], &[""], &["a b"], &["a\"b"], &["ü"], &["a", "a"], &["a=b"], &[&*"x".repeat(65)]]
        {
            assert_eq!(given(&headers(ids)), None, "{ids:?}");
        }
    }

    #[test]
    fn ids_that_are_made_differ_and_would_be_taken_over() {
        let ids = RequestIds::new();
        let (one, other) = (ids.make(), ids.make());
        assert_ne!(one, other);
        let made: HeaderMap = [(REQUEST_ID, one.clone())].into_iter().collect();
        assert_eq!(given(&made), Some(one));
    }
}
