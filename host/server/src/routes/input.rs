//! The input of a request: the workspace in its path, its body, JSON in that, settings in its query.
//!
//! Each has a bound, and each failure names what was expected. A body is read whole before anything is done
//! with it.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use leasehold::WorkspaceId;
use serde::Deserialize;
use serde_json::error::Category;
use tokio::time::timeout;

use crate::app::App;
use crate::respond::ApiError;

/// Maximum size of a JSON body. A heartbeat carries an id and all that its sender adds for others to read.
pub(super) const MAX_JSON_BYTES: usize = 16 * 1024;

/// Time that a body may take to arrive: a slow client must not hold memory for ever.
const BODY: Duration = Duration::from_secs(10);

/// The workspace that the path names.
pub(super) struct Workspace(pub(super) WorkspaceId);

impl FromRequestParts<Arc<App>> for Workspace {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let id: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, app).await;
        match id {
            Ok(Path(id)) => {
                let workspace = WorkspaceId::new(id)?;
                app.admits(&workspace)?;
                Ok(Self(workspace))
            }
            Err(_) => Err(ApiError::bad_request(
                "invalid_workspace",
                "the workspace id is not percent-encoded UTF-8",
            )),
        }
    }
}

/// Reads a body of `max_bytes` at most.
pub(super) async fn body(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    let mut whole = pin!(Limited::new(body, max_bytes).collect());
    // Mostly it has come along with the head, and no timer is needed.
    let read = match poll_fn(|context| Poll::Ready(whole.as_mut().poll(context))).await {
        Poll::Ready(read) => Ok(read),
        Poll::Pending => timeout(BODY, whole).await,
    };
    match read {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is too large; expected {max_bytes} bytes at most"),
        )),
        Ok(Err(_)) => Err(ApiError::bad_request("incomplete_body", "the connection ended within the body")),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("the body did not arrive within {} s", BODY.as_secs()),
        )),
    }
}

/// Reads JSON, whatever its content type.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        // Valid JSON of another shape.
        Category::Data => ApiError::bad_request("invalid_body", error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::bad_request("malformed_json", error.to_string())
        }
    })
}

/// Name of the parameter by which an older policy may come back.
const FORCE: &str = "force";

/// Reads `force=true`.
pub(super) fn force(query: Option<&str>) -> Result<bool, ApiError> {
    let parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = parameters.filter(|(parameter, _)| parameter == FORCE).map(|(_, value)| value);
    match (values.next().as_deref(), values.next()) {
        (None | Some("false"), None) => Ok(false),
        (Some("true"), None) => Ok(true),
        (_, Some(_)) => Err(ApiError::bad_request("repeated_parameter", "\"force\" is given twice")),
        (Some(value), None) => {
            let message = format!("force is {value:?}; expected true or false");
            Err(ApiError::bad_request("invalid_parameter", message))
        }
    }
}

/// Returns the one header of this name, if there is one.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut all = headers.get_all(name).iter();
    match (all.next().map(HeaderValue::to_str), all.next()) {
        (None, None) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(ApiError::bad_request("invalid_header", format!("expected one header {name}, in ASCII"))),
    }
}

/// Header by which the same rotation is known when it is sent again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Maximum length of such a key.
const MAX_KEY_CHARS: usize = 255;

/// Returns the key of a rotation, if there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let key = header(headers, IDEMPOTENCY_KEY)?;
    let is_good = |key: &str| {
        (1..=MAX_KEY_CHARS).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    if key.is_none_or(is_good) {
        return Ok(key);
    }
    let message = format!("Idempotency-Key must have 1 to {MAX_KEY_CHARS} printable ASCII characters");
    Err(ApiError::bad_request("invalid_idempotency_key", message))
}

/// Reads `setting.NAME=VALUE` pairs, and refuses all others but `force`: a misspelt setting must not lead to
/// a swap without it.
pub(super) fn settings(query: Option<&str>) -> Result<Vec<(String, String)>, ApiError> {
    let mut settings: Vec<(String, String)> = Vec::new();
    let parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    for (parameter, value) in parameters.filter(|(parameter, _)| parameter != FORCE) {
        let Some(name) = parameter.strip_prefix("setting.").filter(|name| !name.is_empty()) else {
            let message = format!("the parameter {parameter:?} is not known; expected setting.NAME=VALUE");
            return Err(ApiError::bad_request("unknown_parameter", message));
        };
        if settings.iter().any(|(known, _)| known == name) {
            return Err(ApiError::bad_request("repeated_parameter", format!("{parameter:?} is given twice")));
        }
        if parameter.chars().chain(value.chars()).any(char::is_control) {
            return Err(ApiError::bad_request(
                "invalid_parameter",
                format!("{parameter:?} has control characters"),
            ));
        }
        settings.push((name.to_owned(), value.into_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        format!("{:?}", result.unwrap_err())
    }

    #[test]
    fn settings_are_decoded_and_keep_their_order() {
        let read = settings(Some("setting.ttl=30s&setting.note=a%20b%3D%26+c&setting.empty=")).unwrap();
        let expected = [("ttl", "30s"), ("note", "a b=& c"), ("empty", "")];
        assert!(read.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{read:?}");
        assert!(settings(None).unwrap().is_empty() && settings(Some("")).unwrap().is_empty());
    }

    #[test]
    fn a_parameter_that_is_no_setting_or_comes_twice_is_refused_by_name() {
        for query in ["ttl=30s", "setting.=1", "settings.ttl=1", "setting.ttl=1&dry_run=true"] {
            assert!(refusal(settings(Some(query))).contains("unknown_parameter"), "{query}");
        }
        assert!(refusal(settings(Some("dry_run=true"))).contains("dry_run"));
        let twice = refusal(settings(Some("setting.ttl=1&setting.ttl=2")));
        assert!(twice.contains("repeated_parameter") && twice.contains("setting.ttl"), "{twice}");
    }

    #[test]
    fn force_is_true_or_false_and_given_once() {
        for (query, forced) in
            [(None, false), (Some("setting.ttl=1&force=true"), true), (Some("force=false"), false)]
        {
            assert_eq!(force(query).unwrap(), forced, "{query:?}");
            assert!(settings(query).is_ok(), "{query:?}");
        }
        assert!(refusal(force(Some("force=yes"))).contains("expected true or false"));
        assert!(refusal(force(Some("force=true&force=true"))).contains("repeated_parameter"));
    }

    #[test]
    fn malformed_json_is_told_apart_from_the_wrong_json_and_both_say_where() {
        #[derive(Debug, Deserialize)]
        struct Shape {
            #[expect(dead_code, reason = "only its type matters")]
            id: String,
        }
        for body in ["", "{", "{\"id\":}", "nonsense", "{\"id\":\"a\"} x"] {
            let message = refusal(json::<Shape>(body.as_bytes()));
            assert!(message.contains("malformed_json") && message.contains("line 1"), "{message}");
        }
        for body in ["{}", "{\"id\":5}", "[]", "null"] {
            let message = refusal(json::<Shape>(body.as_bytes()));
            assert!(message.contains("invalid_body") && message.contains("line 1"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_refused_beyond() {
        assert_eq!(body(Body::from("1234"), 4).await.unwrap(), "1234");
        assert!(refusal(body(Body::from("12345"), 4).await).contains("body_too_large"));
    }
}
