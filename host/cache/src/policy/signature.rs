//! Signatures of policies: which keys may sign a component, and under which revision.
//!
//! The signed text is a statement in words: the component's digest, the world that it is for, and a revision
//! that its author counts up. This file knows nothing of what is active; the highest revision is the gate's
//! to remember. A careless reader would trust a revision before its signature: [`Signature`] is a claim,
//! [`Signed`] the word of a trusted key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The first word of a signature, and with it the version of everything here.
const FORMAT: &str = "leasehold-signature-v1";
/// The world that a signed component is for. Another version of the contract needs another signature.
const WORLD: &str = super::runtime::contract::V0_1.package;
/// Length of an ed25519 key, secret or public.
const KEY_BYTES: usize = 32;

/// Public half of an ed25519 key that signs policies. As text it is 44 characters of base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Secret half of an ed25519 key: signs policies. As text it is 44 characters of base64. It is wiped when it
/// is dropped, and printed by nothing.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The text is not base64, or not 32 bytes of it.
    #[error("it is not a key; expected {KEY_BYTES} bytes in base64, which are 44 characters")]
    Malformed,
    /// The text has the right form, but is no point on the curve, or one that proves nothing.
    #[error("it is not a public key of ed25519: perhaps the secret key was given, or another kind of key")]
    NoPoint,
}

/// A signature of a trusted key, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signed {
    /// The revision that its author gave the policy.
    pub revision: u64,
    /// The key: see [`PublicKey::id`].
    pub key: String,
}

impl PublicKey {
    /// Returns a short name for logs and messages: 16 hexadecimal digits of the key's SHA-256.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()).get(..8).unwrap_or_default())
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let key = VerifyingKey::from_bytes(&*key_bytes(text)?).map_err(|_| InvalidKey::NoPoint)?;
        // Under a key of small order a signature of one statement is one of others as well.
        if key.is_weak() { Err(InvalidKey::NoPoint) } else { Ok(Self(key)) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl SigningKey {
    /// Makes the key that these 32 random bytes are.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(bytes))
    }

    /// Returns the public half, for others to trust.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a component by its [`digest`](crate::Policy::digest) under this revision; settings are not
    /// signed. The text is for [`Policy::signed`](crate::Policy::signed).
    pub fn sign(&self, digest: &str, revision: u64) -> String {
        let signature = self.0.sign(statement(digest, revision).as_bytes());
        format!("{FORMAT} {revision} {} {}", self.public_key().id(), STANDARD.encode(signature.to_bytes()))
    }
}

impl FromStr for SigningKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Ok(Self::from_bytes(&*key_bytes(text)?))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public_key().id())
    }
}

fn key_bytes(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, InvalidKey> {
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).map_err(|_| InvalidKey::Malformed)?;
    let bytes: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| InvalidKey::Malformed)?;
    Ok(Zeroizing::new(bytes))
}

/// Returns exactly the text that is signed. The first line keeps it apart from all else that the same key may
/// sign.
fn statement(digest: &str, revision: u64) -> String {
    format!("leasehold policy v1\nsha256 {digest}\nworld {WORLD}\nrevision {revision}\n")
}

/// Contents of a signature's text, before anything of it is believed.
#[derive(Debug)]
pub(super) struct Signature {
    revision: u64,
    key: String,
    bytes: ed25519_dalek::Signature,
}

impl FromStr for Signature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = |what: &str| {
            format!(
                "the signature cannot be read: {what}; expected {FORMAT:?}, a revision, a key's id and base64"
            )
        };
        let mut words = text.split_whitespace();
        let (Some(format), Some(revision), Some(key), Some(signature), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed("it has not four words"));
        };
        if format != FORMAT {
            return Err(malformed("its first word is another one"));
        }
        let revision = revision.parse().map_err(|_| malformed("its revision is no number"))?;
        if key.len() != 16 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed("its key is not named by 16 hexadecimal digits"));
        }
        let bytes = STANDARD.decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
        let bytes: [u8; 64] = bytes.ok_or_else(|| malformed("its last word is not 64 bytes in base64"))?;
        Ok(Self { revision, key: key.to_lowercase(), bytes: ed25519_dalek::Signature::from_bytes(&bytes) })
    }
}

impl Signature {
    /// Checks that one of these keys has signed this component under this revision.
    pub(super) fn check(&self, digest: &str, trusted: &[PublicKey]) -> Result<Signed, String> {
        let Some(key) = trusted.iter().find(|key| key.id() == self.key) else {
            let known = ids(trusted);
            return Err(format!(
                "it is signed by the key {}, which is not trusted here; trusted: {known}",
                self.key
            ));
        };
        let statement = statement(digest, self.revision);
        key.0.verify_strict(statement.as_bytes(), &self.bytes).map_err(|_| {
            format!(
                "its signature does not hold: the key {} has not signed the component with the digest \
                 {digest} as revision {} for {WORLD}; the component, the revision or the signature was \
                 changed",
                self.key, self.revision
            )
        })?;
        Ok(Signed { revision: self.revision, key: self.key.clone() })
    }
}

/// Returns the names of keys, for a message.
pub(super) fn ids(keys: &[PublicKey]) -> String {
    keys.iter().map(PublicKey::id).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
