//! Keys and signatures as text: what is not the genuine one, but for its spelling, opens nothing.

use leasehold::{InvalidKey, PublicKey, SigningKey, Stage};
use leasehold_fuzz::{Seed, Target, assert_printable};

use crate::{bare, cache, runtime};

/// Maximum length of a refusal: a sentence, a digest, the id of a key or two.
const MAX_REASON_BYTES: usize = 400;
const REVISION: u64 = 7;

const WORDS: &[&[u8]] = &[
    b"leasehold-signature-v1",
    b"leasehold-signature-v2",
    b"6",
    b"8",
    b"18",
    b"+7",
    b"007",
    b"18446744073709551616",
    b"=",
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    b"\x1b[2J",
    b"\r\n\t",
    "\u{a0}\u{202e}\u{2003}".as_bytes(),
];

/// The revision as it stands in a signature, and the bytes up to the end of the key's id behind it.
const CLAIMS: &[u8] = b" 7 ";
const CLAIMS_BYTES: usize = 19;

/// Secret keys, of which the first is trusted, and what is signed by them.
fn keys() -> [SigningKey; 2] {
    [SigningKey::from_bytes(&[3; 32]), SigningKey::from_bytes(&[5; 32])]
}

/// The meaning of a signature's text, whatever its spelling.
fn meaning(text: &str) -> Option<(u64, String, &str)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let &["leasehold-signature-v1", revision, key, signature] = words.as_slice() else { return None };
    Some((revision.parse().ok()?, key.to_ascii_lowercase(), signature))
}

#[test]
fn signature_opens_for_the_genuine_one_alone_and_refusals_are_one_line() {
    let ([trusted, stranger], policy, runtime) = (keys(), bare()[0].clone(), runtime());
    let genuine = trusted.sign(policy.digest(), REVISION);
    let cache = runtime.block_on(cache(|builder| builder.trusted_keys([trusted.public_key()])));
    let other = trusted.sign(&"0".repeat(64), REVISION);
    let foreign = stranger.sign(policy.digest(), REVISION);
    let seeds = [genuine.clone(), other, foreign].map(|text| Seed::around(text.into(), CLAIMS, CLAIMS_BYTES));
    let seeds = seeds.to_vec();
    let target = Target { name: "signature", seeds, words: WORDS, gate: 10_000, long: 1_000_000 };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let is_genuine = meaning(&text) == meaning(&genuine);
        // Forced, so that no revision that was let in decides about the next.
        let signed = policy.clone().signed(text.as_str()).forced();
        match runtime.block_on(cache.swap(signed)) {
            Ok(_) => assert!(is_genuine, "accepted: {text:?}"),
            Err(error) => {
                assert!(!is_genuine, "refused: {error}");
                assert_eq!(error.stage, Stage::Signature, "{error}");
                assert_printable(&error.reason, MAX_REASON_BYTES);
            }
        }
    });
}

#[test]
fn keys_are_written_as_they_are_read_and_a_refusal_quotes_none() {
    let [trusted, stranger] = keys();
    let seeds = vec![
        Seed::from(trusted.public_key().to_string()),
        Seed::from(stranger.public_key().to_string()),
        // A secret key is as long as a public one.
        Seed::from("AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="),
    ];
    let target = Target { name: "keys", seeds, words: WORDS, gate: 10_000, long: 1_000_000 };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (public, secret) = (text.parse::<PublicKey>(), text.parse::<SigningKey>());
        match public {
            Ok(key) => {
                assert_eq!(key.to_string(), text.trim(), "it is another key than what was given");
                assert_eq!(key.to_string().parse(), Ok(key));
                assert_eq!((key.id().len(), key.to_string().len()), (16, 44));
                assert!(secret.is_ok(), "32 bytes are a secret key as well");
            }
            Err(error) => {
                assert_printable(&error.to_string(), 120);
                assert_eq!(error == InvalidKey::Malformed, secret.is_err(), "{error}");
            }
        }
        if let Ok(secret) = secret {
            let public = secret.public_key();
            assert_eq!(public.to_string().parse(), Ok(public));
            assert_eq!(format!("{secret:?}"), format!("SigningKey(of {})", public.id()));
        }
    });
}
