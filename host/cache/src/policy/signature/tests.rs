//! Tables of keys and signatures: what is read, what holds, and what is refused in which words. The gate's
//! use of them is tested through the whole.

use std::sync::LazyLock;

use super::*;

/// Digest of the component that is signed, and of another one.
const DIGESTS: [&str; 2] = [
    "00000000000000000000000000000000000000000000000000000000000000ab",
    "00000000000000000000000000000000000000000000000000000000000000ac",
];
/// The order of the curve's group, the least significant byte first.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; KEY_BYTES])
}

fn id(seed: u8) -> String {
    key(seed).public_key().id()
}

/// Words of a good signature under revision 7.
static GOOD: LazyLock<[String; 4]> = LazyLock::new(|| {
    let text = key(1).sign(DIGESTS[0], 7);
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    words.try_into().unwrap()
});

/// Returns a good signature with another word in this place.
fn with(place: usize, word: &str) -> String {
    let mut words = GOOD.clone();
    word.clone_into(&mut words[place]);
    words.join(" ")
}

/// Returns what becomes of a signature's text: its revision, or the reason.
fn checked(text: &str, digest: &str, trusted: &[PublicKey]) -> Result<u64, String> {
    let signed = text.parse::<Signature>()?.check(digest, trusted)?;
    assert_eq!(signed.key, id(1), "{text:?}");
    Ok(signed.revision)
}

#[test]
fn a_signature_is_read_with_any_white_space_and_in_its_own_form_only() {
    let [format, revision, key, bytes] = GOOD.clone();
    let text = GOOD.join(" ");
    let without = |end: usize| with(3, &bytes[..bytes.len() - end]);
    // The last character before the padding has four bits that say nothing.
    let other_bits = with(3, &format!("{}==", next(&bytes[..86])));
    const WORDS: Result<u64, &str> = Err("four words");
    const FIRST: Result<u64, &str> = Err("first word is another");
    const REVISION: Result<u64, &str> = Err("revision is no number");
    const KEY: Result<u64, &str> = Err("16 hexadecimal digits");
    const BYTES: Result<u64, &str> = Err("not 64 bytes in base64");
    const CHANGED: Result<u64, &str> = Err("does not hold");
    for (name, text, expected) in [
        ("as it was made", text.clone(), Ok(7)),
        ("a line's end", format!("{text}\r\n"), Ok(7)),
        ("tabs and lines", format!("\n{format}\t{revision}\n\n{key} {bytes} "), Ok(7)),
        ("a space that is not ASCII", text.replace(' ', "\u{2003}"), Ok(7)),
        ("the key in capitals", with(2, &key.to_uppercase()), Ok(7)),
        ("a sign before the revision", with(1, "+7"), Ok(7)),
        ("zeros before the revision", with(1, "007"), Ok(7)),
        ("nothing", String::new(), WORDS),
        ("white space", " \n".into(), WORDS),
        ("three words", format!("{format} {revision} {key}"), WORDS),
        ("five words", format!("{text} x"), WORDS),
        ("twice", format!("{text}\n{text}"), WORDS),
        ("base64 in two lines", with(3, &format!("{} {}", &bytes[..44], &bytes[44..])), WORDS),
        ("another version", with(0, "leasehold-signature-v2"), FIRST),
        ("a longer version", with(0, "leasehold-signature-v10"), FIRST),
        ("the format in capitals", with(0, &format.to_uppercase()), FIRST),
        ("a byte order mark", format!("\u{feff}{text}"), FIRST),
        ("a word", with(1, "seven"), REVISION),
        ("below zero", with(1, "-7"), REVISION),
        ("a part", with(1, "7.0"), REVISION),
        ("hexadecimal", with(1, "0x7"), REVISION),
        ("too large", with(1, "18446744073709551616"), REVISION),
        ("a short key", with(2, &key[1..]), KEY),
        ("a long key", with(2, &format!("{key}0")), KEY),
        ("no digit", with(2, &format!("{}g", &key[1..])), KEY),
        ("digits that are not ASCII", with(2, &"٣".repeat(8)), KEY),
        ("the key itself", with(2, &self::key(1).public_key().to_string()), KEY),
        ("no padding", without(2), BYTES),
        ("a byte less", without(4), BYTES),
        ("a byte more", with(3, &STANDARD.encode([0; 65])), BYTES),
        ("no base64", with(3, &"*".repeat(88)), BYTES),
        ("base64 for URLs", with(3, &format!("-_{}", &bytes[2..])), BYTES),
        ("other bits at the end", other_bits, BYTES),
        ("zeros", with(3, &STANDARD.encode([0; 64])), CHANGED),
    ] {
        let told = checked(&text, DIGESTS[0], &[self::key(1).public_key()]);
        holds(name, &told, expected);
    }
}

/// Returns the text with the next character at its end, in the order of base64, where that is a letter.
fn next(text: &str) -> String {
    let (head, last) = text.split_at(text.len() - 1);
    format!("{head}{}", char::from(last.as_bytes()[0] + 1))
}

fn holds(name: &str, told: &Result<u64, String>, expected: Result<u64, &str>) {
    match (told, expected) {
        (Ok(revision), Ok(expected)) => assert_eq!(*revision, expected, "{name}"),
        (Err(reason), Err(words)) => assert!(reason.contains(words), "{name}: no {words:?} in {reason}"),
        _ => panic!("{name}: {told:?}, and not {expected:?}"),
    }
}

/// Returns a good signature with the group's order added to its scalar, which proves as much and is refused:
/// there is one signature of each statement by each key.
fn malleable() -> String {
    let mut bytes = STANDARD.decode(&GOOD[3]).unwrap();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    with(3, &STANDARD.encode(bytes))
}

#[test]
fn a_signature_holds_for_its_digest_and_revision_under_a_trusted_key_alone() {
    let [ours, theirs] = [key(1).public_key(), key(2).public_key()];
    let [digest, other] = DIGESTS;
    let sign = |revision| key(1).sign(digest, revision);
    let other_key = key(2).sign(digest, 7);
    let renamed = other_key.replace(&id(2), &id(1));
    let not_trusted = format!("{}, which is not trusted here; trusted: {}", id(2), id(1));
    let changed = format!("the key {} has not signed the component with the digest", id(1));
    let capitals = digest.to_uppercase();
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [PublicKey], Result<u64, &'a str>);
    let rows: &[Row<'_>] = &[
        ("good", &sign(7), digest, &[ours], Ok(7)),
        ("the lowest revision", &sign(0), digest, &[ours], Ok(0)),
        ("the highest revision", &sign(u64::MAX), digest, &[ours], Ok(u64::MAX)),
        ("one of two keys", &sign(7), digest, &[theirs, ours], Ok(7)),
        ("a key that is trusted twice", &sign(7), digest, &[ours, ours], Ok(7)),
        ("no key", &sign(7), digest, &[], Err("not trusted here; trusted: ")),
        ("another key", &other_key, digest, &[ours], Err(&not_trusted)),
        ("another key under our name", &renamed, digest, &[ours, theirs], Err(&changed)),
        ("our key under another name", &with(2, &id(2)), digest, &[ours, theirs], Err("does not hold")),
        ("another component", &sign(7), other, &[ours], Err(&changed)),
        ("the digest in capitals", &sign(7), &capitals, &[ours], Err(&changed)),
        ("a part of the digest", &sign(7), &digest[1..], &[ours], Err(&changed)),
        ("a later revision", &with(1, "8"), digest, &[ours], Err("as revision 8 for leasehold:policy@0.1.0")),
        ("an earlier revision", &with(1, "6"), digest, &[ours], Err(&changed)),
        ("the scalar beyond the group's order", &malleable(), digest, &[ours], Err(&changed)),
    ];
    for (name, text, digest, trusted, expected) in rows {
        // A name that is not ours is told as it was given.
        let told = text.parse::<Signature>().and_then(|signature| signature.check(digest, trusted));
        holds(name, &told.map(|signed| signed.revision), *expected);
    }
}

#[test]
fn what_is_signed_is_kept_apart_from_all_else_that_the_key_may_sign() {
    let statement = statement(DIGESTS[0], 7);
    let digest = DIGESTS[0];
    let lines = format!("leasehold policy v1\nsha256 {digest}\nworld leasehold:policy@0.1.0\nrevision 7\n");
    assert_eq!(statement, lines);
    for text in [&statement[1..], &statement[..statement.len() - 1], &statement.replace("0.1.0", "0.2.0")] {
        let bytes = STANDARD.encode(key(1).0.sign(text.as_bytes()).to_bytes());
        let told = checked(&with(3, &bytes), digest, &[key(1).public_key()]);
        assert!(told.is_err_and(|reason| reason.contains("does not hold")), "{text}");
    }
}

#[test]
fn a_key_is_read_from_44_characters_with_white_space_around_them_and_from_nothing_else() {
    let public = key(3).public_key();
    let text = public.to_string();
    // The neutral element and another point of small order, under which everything is signed; a text of the
    // right form that is no point at all.
    let [neutral, small, no_point] = [1, 0, 2].map(|first: u8| {
        let mut bytes = [0; KEY_BYTES];
        bytes[0] = first;
        STANDARD.encode(bytes)
    });
    let malformed = Err(InvalidKey::Malformed);
    for (name, text, read) in [
        ("as it is shown", text.clone(), Ok(public)),
        ("white space around it", format!("\t {text}\r\n"), Ok(public)),
        ("nothing", String::new(), malformed),
        ("too short", STANDARD.encode([3; 31]), malformed),
        ("too long", STANDARD.encode([3; 33]), malformed),
        ("cut off", text[1..].to_owned(), malformed),
        ("more behind it", format!("{text}AAAA"), malformed),
        ("twice", format!("{text}\n{text}"), malformed),
        ("no padding", text.trim_end_matches('=').to_owned(), malformed),
        ("white space within", format!("{} {}", &text[..20], &text[20..]), malformed),
        ("no base64", "not base64 at all".to_owned(), malformed),
        ("hexadecimal", hex::encode([3; KEY_BYTES]), malformed),
        ("the neutral element", neutral, Err(InvalidKey::NoPoint)),
        ("a point of small order", small, Err(InvalidKey::NoPoint)),
        ("no point", no_point, Err(InvalidKey::NoPoint)),
    ] {
        assert_eq!(text.parse::<PublicKey>(), read, "{name}");
        // Any 32 bytes are a secret key.
        let secret = text.parse::<SigningKey>().map(drop);
        assert_eq!(secret, if read == malformed { malformed.map(drop) } else { Ok(()) }, "{name}");
    }
}

#[test]
fn a_key_is_named_by_its_public_half_and_a_secret_one_is_printed_by_nothing() {
    let (secret, public) = (key(3), key(3).public_key());
    let text = STANDARD.encode([3; KEY_BYTES]);
    assert_eq!(text.parse::<SigningKey>().unwrap().public_key(), public);
    assert_eq!(format!("{secret:?}"), format!("SigningKey(of {})", id(3)));
    assert_eq!(format!("{public:?}"), format!("PublicKey({public})"));
    assert!(id(3).len() == 16 && id(3) != id(4), "{}", id(3));
    assert_eq!(ids(&[public, key(4).public_key()]), format!("{}, {}", id(3), id(4)));
}
