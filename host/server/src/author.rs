//! The author of a request to the operator's routes: whose credential it has, who says to have sent it, and
//! from where it comes.
//!
//! It goes into the record of changes. The credential is proved; the operator's name is the client's own
//! word.

use std::fmt;
use std::sync::Arc;

use axum::http::Request;

use crate::peer::Peer;
use crate::respond::ApiError;

/// Header with the operator's name, in the client's own words; for the record, and proof of nothing.
const OPERATOR: &str = "leasehold-operator";
/// Maximum length of the operator's name, in bytes.
const MAX_OPERATOR_BYTES: usize = 64;

/// The author of a request.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) credential: Arc<str>,
    pub(crate) operator: Option<String>,
    pub(crate) peer: String,
}

impl Author {
    /// Reads the author of a request that has this credential.
    pub(crate) fn of<B>(credential: &Arc<str>, request: &Request<B>) -> Result<Self, ApiError> {
        let operator = request.headers().get(OPERATOR).map(|given| {
            let name = given.to_str().ok().filter(|name| is_name(name));
            name.map(str::to_owned).ok_or_else(|| {
                let expected = format!("1 to {MAX_OPERATOR_BYTES} printable ASCII characters");
                ApiError::bad_request("invalid_operator", format!("{OPERATOR} must have {expected}"))
            })
        });
        let peer = Peer::of(request.extensions());
        Ok(Self { credential: Arc::clone(credential), operator: operator.transpose()?, peer })
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_OPERATOR_BYTES).contains(&name.len()) && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operator) = &self.operator {
            write!(f, "{operator}, ")?;
        }
        write!(f, "HTTP from {}, credential {}", self.peer, self.credential)
    }
}
