//! Tokens: how they are made, checked and read from a request.
//!
//! A presented token is only ever a `&str` into the request's headers. Nothing here logs, formats or keeps a
//! token; only a SHA-256 is kept.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Number of random bytes in a token: 256 bits, 43 characters.
const TOKEN_BYTES: usize = 32;
/// Number of random bytes in a token's public id: 12 characters.
const TOKEN_ID_BYTES: usize = 9;

/// Minimum length of an admin token: 16 characters of a random word are more than can be tried.
const MIN_ADMIN_TOKEN_CHARS: usize = 16;

/// Checks that a text can be a token that a client presents in a header. It is never shown.
pub(crate) fn check_presentable(token: &str) -> anyhow::Result<()> {
    anyhow::ensure!(!token.is_empty(), "the admin token is empty");
    let presentable = token.bytes().all(|byte| byte.is_ascii_graphic());
    anyhow::ensure!(presentable, "the admin token has spaces or characters beyond ASCII");
    Ok(())
}

/// Checks that a token is one that a server may be opened with.
pub(crate) fn check_admin_token(token: &str) -> anyhow::Result<()> {
    check_presentable(token)?;
    anyhow::ensure!(
        token.len() >= MIN_ADMIN_TOKEN_CHARS,
        "the admin token has {} characters; expected {MIN_ADMIN_TOKEN_CHARS} at least, at random",
        token.len()
    );
    Ok(())
}

/// Makes a token: 32 bytes from the operating system as base64url without padding.
pub(crate) fn new_token() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut random = Zeroizing::new([0_u8; TOKEN_BYTES]);
    getrandom::fill(random.as_mut_slice())?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice())))
}

/// The SHA-256 of a workspace's token: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the form in which a token is stored and looked for: lower-case hexadecimal.
    pub(crate) fn hex(&self) -> TokenHashHex {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        TokenHashHex(text)
    }
}

/// A hash as text.
pub(crate) struct TokenHashHex([u8; 64]);

impl TokenHashHex {
    pub(crate) fn as_str(&self) -> &str {
        // Sixteen digits and letters are UTF-8, so that the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Makes the public id of a token: as many random bytes as make it another one than those of its workspace.
pub(crate) fn new_token_id() -> Result<String, getrandom::Error> {
    let mut random = [0_u8; TOKEN_ID_BYTES];
    getrandom::fill(&mut random)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// Returns the token of `Authorization: Bearer TOKEN`. `None` for anything else, and for more than one such
/// header: which of two was meant is not ours to guess.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|&value| (AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&headers(&[value])), Some("abc"), "{value:?}");
        }
    }

    #[test]
    fn anything_else_holds_no_token() {
        for values in
            [&[][..], &["abc"], &["Basic abc"], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer a"]]
        {
            assert_eq!(bearer(&headers(values)), None, "{values:?}");
        }
    }

    #[test]
    fn a_hash_is_lower_case_hexadecimal() {
        let hex = TokenHash::of("abc").hex();
        assert_eq!(hex.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn tokens_have_43_characters_and_differ() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!((one.len(), other.len()), (43, 43));
        assert_ne!(*one, *other);
    }
}
