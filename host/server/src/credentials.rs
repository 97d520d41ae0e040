//! Admin credentials: several, each with a name for the record and the scopes that it opens.
//!
//! Only hashes are kept. A presented token is compared with all of them, whichever it is, so that the time of
//! an answer says nothing of the others. Where they come from, and when they are read again, is below; what a
//! scope opens is said in `routes.rs` alone.

mod current;
mod file;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

pub(crate) use self::current::AdminCredentials;
pub(crate) use self::file::check_name;

/// Name of the credential whose token the server was given or has made itself.
pub(crate) const ADMIN: &str = "admin";

/// A share of the operator's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To look, at anything but a secret.
    Read,
    /// To change the policy, and what is cached.
    Policy,
    /// To read and rotate secrets; to make and remove workspaces and their tokens.
    Secrets,
}

/// Several scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

/// A token's hash, with its name and what it opens.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) name: Arc<str>,
    pub(crate) scopes: Scopes,
    hash: [u8; 32],
    /// Place of its line, for the operator who has to mend it.
    place: Arc<str>,
}

/// All credentials that are in force.
pub(crate) struct Credentials(Vec<Credential>);

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Policy, Self::Secrets];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Policy => "policy",
            Self::Secrets => "secrets",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Scopes {
    pub(crate) const ALL: Self = Self(Scope::Read.bit() | Scope::Policy.bit() | Scope::Secrets.bit());

    /// Reads `all`, or names with commas between them. `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::ALL);
        }
        text.split(',').try_fold(Self(0), |scopes, name| {
            let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == name)?;
            Some(Self(scopes.0 | scope.bit()))
        })
    }

    pub(crate) const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let names: Vec<_> =
            Scope::ALL.into_iter().filter(|&scope| self.contains(scope)).map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl Credential {
    /// Makes the credential of a token.
    pub(crate) fn of_token(name: &str, scopes: Scopes, token: &str, place: &str) -> Self {
        Self::of_hash(name, scopes, Sha256::digest(token).into(), place)
    }

    fn of_hash(name: &str, scopes: Scopes, hash: [u8; 32], place: &str) -> Self {
        Self { name: name.into(), scopes, hash, place: place.into() }
    }
}

impl Credentials {
    /// Puts them together, each name and each token once.
    fn new(credentials: Vec<Credential>) -> anyhow::Result<Self> {
        for (index, later) in credentials.iter().enumerate() {
            for earlier in credentials.iter().take(index) {
                let (place, before) = (&later.place, &earlier.place);
                anyhow::ensure!(
                    later.name != earlier.name,
                    "{place}: the name {} is that of {before}; give each credential a name of its own",
                    later.name
                );
                anyhow::ensure!(
                    later.hash != earlier.hash,
                    "{place}: the token is that of {before}; give each credential a token of its own"
                );
            }
        }
        Ok(Self(credentials))
    }

    /// Returns the credential of a presented token. It takes as long for each, and for none.
    pub(crate) fn admit(&self, presented: &str) -> Option<&Credential> {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let found = self.0.iter().zip(1_u64..).fold(0, |found, (credential, number)| {
            u64::conditional_select(&found, &number, credential.hash.ct_eq(&presented))
        });
        usize::try_from(found).ok()?.checked_sub(1).and_then(|index| self.0.get(index))
    }

    /// Returns the names with their scopes, for the log.
    pub(crate) fn names(&self) -> String {
        let names = self.0.iter().map(|credential| format!("{} ({})", credential.name, credential.scopes));
        names.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, token: &str) -> Credential {
        Credential::of_token(name, Scopes::ALL, token, &format!("the line of {name}"))
    }

    #[test]
    fn each_token_is_that_of_its_own_credential_and_no_other_text_is_any() {
        let all = (0..5).map(|n| credential(&format!("n{n}"), &format!("token-{n}"))).collect();
        let all = Credentials::new(all).unwrap();
        for n in 0..5 {
            assert_eq!(&*all.admit(&format!("token-{n}")).unwrap().name, format!("n{n}"));
        }
        for other in ["", "token-5", "Token-1", "token-1 "] {
            assert!(all.admit(other).is_none(), "{other:?}");
        }
        assert!(Credentials::new(Vec::new()).unwrap().admit("").is_none());
    }

    #[test]
    fn a_name_or_a_token_that_is_there_twice_is_refused_with_both_places() {
        for (name, token, words) in [("one", "other", "the name one"), ("other", "token", "the token")] {
            let twice = Credentials::new(vec![credential("one", "token"), credential(name, token)]);
            let message = twice.err().unwrap().to_string();
            assert!(message.contains(words) && message.contains("the line of one"), "{message}");
        }
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for (text, read) in
            [("all", Some("all")), ("read", Some("read")), ("secrets,read", Some("read,secrets"))]
        {
            assert_eq!(Scopes::parse(text).map(|scopes| scopes.to_string()).as_deref(), read);
        }
        assert_eq!(Scopes::parse("read,policy,secrets"), Some(Scopes::ALL));
        for text in ["", "Read", "read,", "read, policy", "none", "all,read"] {
            assert_eq!(Scopes::parse(text), None, "{text:?}");
        }
    }
}
