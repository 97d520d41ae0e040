//! Answers: JSON, JSON that holds a secret, and the one shape of every error.
//!
//! A secret is written into its answer once, into memory that is wiped when the answer is sent; it never
//! passes through a `serde_json::Value`. The text of an error has never seen a secret.

mod error;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use zeroize::Zeroizing;

pub(crate) use error::{ApiError, bare_error};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Makes an answer that every client may see.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (status, [(CONTENT_TYPE, JSON)], text).into_response(),
        // Only a map with keys that are no text fails, and there is none.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Makes an answer of text fields, one of them a secret: no cache between us and the client may keep it. The
/// names need no escaping.
pub(crate) fn secret_json(status: StatusCode, fields: &[(&'static str, &str)]) -> Result<Response, ApiError> {
    let body = object(fields).map_err(|error| ApiError::internal(error.to_string()))?;
    let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((status, headers, Body::from(Bytes::from_owner(body))).into_response())
}

/// Makes a JSON object, in memory that is wiped. It never grows: growing would leave a copy behind.
fn object(fields: &[(&'static str, &str)]) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let bytes = object_max(fields);
    let mut body = Zeroizing::new(Vec::with_capacity(bytes));
    for (index, (name, value)) in fields.iter().enumerate() {
        body.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(b"\":");
        serde_json::to_writer(&mut *body, value)?;
    }
    body.push(b'}');
    debug_assert!(body.len() <= bytes, "a body grew from {bytes} to {} bytes", body.len());
    Ok(body)
}

/// Returns the maximum length of an object: two braces; for each field four quotes, a colon and a comma.
fn object_max(fields: &[(&'static str, &str)]) -> usize {
    2 + fields.iter().map(|(name, value)| name.len() + escaped_max(value) + 6).sum::<usize>()
}

/// Returns the maximum length of a text in JSON: each byte that is escaped becomes six, and most texts have
/// none.
fn escaped_max(text: &str) -> usize {
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    text.len() + 5 * text.bytes().filter(is_escaped).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_through_whole_and_without_growing() {
        for secret in [
            "",
            "plain",
            "q\"uote",
            "back\\slash",
            "\u{1}\u{1f}\n\t",
            "Zürich 🔑",
            "\u{7f}\u{2028}",
            &"\0".repeat(999),
        ] {
            let fields = [("status", "ok"), ("platform_inbound_secret", secret)];
            let capacity = object_max(&fields);
            let body = object(&fields).unwrap();
            assert!(body.len() <= capacity && body.capacity() == capacity, "{secret:?} has grown");
            let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(parsed, serde_json::json!({ "status": "ok", "platform_inbound_secret": secret }));
        }
    }

    #[test]
    fn the_fields_keep_their_order() {
        assert_eq!(object(&[("b", "1"), ("a", "2")]).unwrap().as_slice(), br#"{"b":"1","a":"2"}"#);
    }

    #[test]
    fn no_cache_on_the_way_may_keep_an_answer_that_holds_a_secret() {
        let response = secret_json(StatusCode::OK, &[("auth_token", "x")]).unwrap();
        assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "application/json");
    }
}
