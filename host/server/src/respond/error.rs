//! The one shape of every error: `{"error":{"code","message"}}`, and the status that each of the library's
//! errors has.
//!
//! The code is for programs and never changes; the message is for people and may.

use std::borrow::Cow;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use leasehold::{Error, InvalidWorkspace, Stage, SwapError};

use crate::api::{ErrorBodyJson, ErrorJson};
use crate::store::StoreError;
use crate::telemetry::Failure;

/// Seconds after which a client that meets a 503 may come back: one of them at random, so that those that
/// were refused together do not come together again.
const RETRY_AFTER_SECONDS: [HeaderValue; 3] =
    [HeaderValue::from_static("1"), HeaderValue::from_static("2"), HeaderValue::from_static("3")];

/// An answer to a request that was not fulfilled.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    /// Stage at which a policy was refused.
    stage: Option<Stage>,
    /// The trouble behind it, which is noted where all answers pass.
    failure: Option<Failure>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), stage: None, failure: None }
    }

    /// Names the trouble behind the answer. It is for the log, and not for the client.
    pub(crate) fn because(self, failure: Option<Failure>) -> Self {
        Self { failure, ..self }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Makes the same answer for every wrong, missing or unknown credential.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "expected Authorization: Bearer with a token that is valid here",
        )
    }

    /// Makes the answer to a credential that is valid, and not for this.
    pub(crate) fn forbidden(credential: &str, scope: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            format!(
                "the credential {credential} has not the scope {scope}, which this needs; use one that has, \
                 or add it to its line in the file of --admin-tokens and send SIGHUP"
            ),
        )
    }

    pub(crate) fn unknown_workspace() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_workspace",
            "there is no workspace with this id; create it first",
        )
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// Makes the answer of a database that takes no writes.
    pub(crate) fn read_only() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "read_only",
            "the database is read-only: a standby, or set so; nothing was changed, retry once it takes \
             writes",
        )
    }

    /// Makes the answer where the rows are another program's.
    pub(crate) fn workspaces_are_external(table: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "workspaces_are_external",
            format!(
                "workspaces are rows of {table}, which is another program's (--table) and has columns that \
                 are not known here; list, make and remove them there"
            ),
        )
    }

    /// Makes the answer where secrets are only read.
    pub(crate) fn secrets_are_read_only(table: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "secrets_are_read_only",
            format!(
                "the secrets of {table} are only read here: it is a view that cannot be updated, or the \
                 server was started with --read-only-column; change them where they come from"
            ),
        )
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorBodyJson {
            code: self.code.to_owned(),
            message: self.message.into_owned(),
            stage: self.stage.map(|stage| stage.as_str().to_owned()),
        };
        let mut response = super::json(self.status, &ErrorJson { error });
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, retry_after(|| getrandom::u32().unwrap_or(0)));
        }
        if let Some(failure) = self.failure {
            response.extensions_mut().insert(failure);
        }
        response
    }
}

/// Returns the seconds after which to come back, by a number at random.
fn retry_after(draw: impl FnOnce() -> u32) -> HeaderValue {
    let [one, two, three] = RETRY_AFTER_SECONDS;
    match draw() % 3 {
        0 => one,
        1 => two,
        _ => three,
    }
}

/// Returns the body of an error where there is no answer to put it in.
pub(crate) fn bare_error(code: &str, message: &str) -> String {
    let error = ErrorBodyJson { code: code.to_owned(), message: message.to_owned(), stage: None };
    // Only a map with keys that are no text fails, and there is none.
    serde_json::to_string(&ErrorJson { error }).unwrap_or_default()
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let failure = Failure::of_cache(&error);
        Self::of_cache(&error).because(failure)
    }
}

impl ApiError {
    fn of_cache(error: &Error) -> Self {
        let retry_later = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            Error::Absent => Self::new(
                StatusCode::NOT_FOUND,
                "no_inbound_secret",
                "the workspace is unknown or has no secret yet; POST here to issue one",
            ),
            Error::UnknownWorkspace => Self::unknown_workspace(),
            Error::Unavailable(_) => Self::unavailable(error.to_string()),
            Error::ReadOnly => Self::read_only(),
            Error::Refused(_) => Self::new(retry_later, "database_refused", error.to_string()),
            Error::Timeout => Self::new(retry_later, "timeout", error.to_string()),
            Error::OutcomeUnknown(_) => {
                Self::new(retry_later, "outcome_unknown", format!("{error}; read again to learn which"))
            }
            Error::Overloaded => Self::new(retry_later, "overloaded", error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<InvalidWorkspace> for ApiError {
    fn from(error: InvalidWorkspace) -> Self {
        Self::bad_request("invalid_workspace", error.to_string())
    }
}

impl From<SwapError> for ApiError {
    fn from(error: SwapError) -> Self {
        let (status, code) = match error.stage {
            // Nothing is wrong with the policy.
            Stage::Host => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "policy_refused"),
        };
        let refused = Self::new(status, code, error.reason);
        Self { stage: Some(error.stage), ..refused }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let failure = Failure::of_store(&error);
        let answer = match error {
            StoreError::Unavailable(_) | StoreError::FileChanged(_) => Self::unavailable(error.to_string()),
            StoreError::ReadOnly => Self::read_only(),
            StoreError::OutcomeUnknown(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "outcome_unknown",
                format!("{error}; look before trying again"),
            ),
        };
        answer.because(Some(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_cache_has_its_status_and_code() {
        let cases = [
            (Error::Absent, 404, "no_inbound_secret"),
            (Error::UnknownWorkspace, 404, "unknown_workspace"),
            (Error::Unavailable("down".into()), 503, "unavailable"),
            (Error::Timeout, 503, "timeout"),
            (Error::OutcomeUnknown("lost".into()), 503, "outcome_unknown"),
            (Error::Overloaded, 503, "overloaded"),
            (Error::Internal("bug".into()), 500, "internal"),
        ];
        for (error, status, code) in cases {
            let answer = ApiError::from(error);
            assert_eq!((answer.status.as_u16(), answer.code), (status, code));
        }
    }

    #[test]
    fn each_503_says_when_to_come_back_at_random_and_no_other_answer_does() {
        for error in [Error::Overloaded, Error::Timeout, Error::ReadOnly, Error::Unavailable("down".into())] {
            assert!(ApiError::from(error).into_response().headers().contains_key(RETRY_AFTER));
        }
        assert!(!ApiError::from(Error::Absent).into_response().headers().contains_key(RETRY_AFTER));
        let drawn = [0, 1, 2, 3, u32::MAX].map(|number| retry_after(|| number));
        assert_eq!(drawn, ["1", "2", "3", "1", "1"].map(HeaderValue::from_static));
    }

    #[test]
    fn a_stranger_is_told_how_to_sign_in() {
        let stranger = ApiError::unauthorized().into_response();
        assert_eq!(stranger.headers().get(WWW_AUTHENTICATE).unwrap(), "Bearer");
    }
}
