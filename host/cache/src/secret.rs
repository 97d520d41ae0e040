//! The only type that holds the bytes of a secret.
//!
//! A secret must never be printed, serialised, compared in variable time, or copied without need. The bytes
//! are allocated once and wiped when the last handle drops; a careless `Vec` or `String` on the way in would
//! leave them behind.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use triomphe::Arc;
use zerocopy::{Immutable, IntoBytes};
use zeroize::{Zeroize as _, Zeroizing};

/// Number of random bytes that a minted secret is made of: 256 bits.
const MINTED_BYTES: usize = 32;

/// The text of a secret, shared by reference count and wiped when the last handle drops.
///
/// `Debug` prints its length only. There is no `Display`, no `PartialEq` and no serialisation.
#[derive(Clone)]
pub struct Secret(Arc<[Byte]>);

/// A byte that is wiped when it is dropped, so that an `Arc` of such bytes is wiped, whichever handle is the
/// last.
#[derive(IntoBytes, Immutable)]
#[repr(transparent)]
struct Byte(u8);

impl Drop for Byte {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// Makes a secret by copying `text`. The caller has to wipe its own copy.
    pub fn new(text: &str) -> Self {
        Self(Arc::from_iter(text.bytes().map(Byte)))
    }

    /// Mints a new secret: 32 bytes from the operating system as base64url without padding, 43 characters.
    ///
    /// Fails only where the operating system has no random bytes to give.
    pub(crate) fn mint() -> Result<Self, getrandom::Error> {
        let mut random = Zeroizing::new([0_u8; MINTED_BYTES]);
        getrandom::fill(random.as_mut_slice())?;
        Ok(Self::new(&Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()))))
    }

    /// The number of handles that share the bytes.
    #[cfg(test)]
    pub(crate) fn handles(&self) -> usize {
        Arc::count(&self.0)
    }

    /// Returns whether the secret is the empty text, which stands for absence: the cache stores and answers
    /// none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes: UTF-8 text. Do not keep a copy, and do not log it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text. `None` never happens for a secret that came from a database of text.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(self.expose()).ok()
    }

    /// Returns whether `presented` is this secret, in a time that depends on the two lengths only. Nothing
    /// matches the empty secret.
    #[must_use]
    pub fn verify(&self, presented: &[u8]) -> bool {
        !self.is_empty() && self.has_text(presented)
    }

    /// Returns whether both are the same text. Two handles of one secret are known to be the same without a
    /// look at the bytes.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.has_text(other.expose())
    }

    fn has_text(&self, text: &[u8]) -> bool {
        self.expose().ct_eq(text).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_secret_has_43_characters_of_base64url_and_is_never_the_same() {
        let secrets: Vec<Secret> = (0..100).map(|_| Secret::mint().unwrap()).collect();
        for (index, secret) in secrets.iter().enumerate() {
            let text = secret.expose_str().unwrap();
            assert_eq!(text.len(), 43);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert!(secrets[..index].iter().all(|other| !other.verify(text.as_bytes())));
        }
    }

    #[test]
    fn debug_prints_the_length_and_nothing_else() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(7 bytes)");
    }

    #[test]
    fn verify_accepts_the_same_bytes_only() {
        let secret = Secret::new("hunter2");
        assert!(secret.verify(b"hunter2"));
        assert!(!secret.verify(b"hunter3") && !secret.verify(b"hunter") && !secret.verify(b""));
        assert!(secret.same_as(&secret.clone()) && secret.same_as(&Secret::new("hunter2")));
        assert!(!secret.same_as(&Secret::new("hunter3")));
    }

    #[test]
    fn the_empty_secret_admits_nobody() {
        let empty = Secret::new("");
        assert!(!empty.verify(b"") && !empty.verify(b"a"));
        assert!(empty.same_as(&Secret::new("")), "it is the same text all the same");
    }
}
