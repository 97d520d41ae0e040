//! The right to bring a policy: pinned digests and signatures, each refused in words, with the old policy
//! serving on.

use leasehold::{BuildError, Builder, Cause, Policy, SecretCache, SigningKey, Stage};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile;
use leasehold_tests::scripted::Scripted;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn builder() -> Builder {
    hostile::builder().database(Scripted::new())
}

/// Returns a component that no binary brings along, and the same with another byte in it.
fn components() -> [Policy; 2] {
    // The marker is another one each time.
    [(); 2].map(|()| Policy::from_bytes(hostile::honest(&Marker::new())))
}

async fn refused(cache: &SecretCache, policy: Policy, stage: Stage, words: &[&str]) {
    let before = cache.policy().generation;
    let error = cache.swap(policy).await.expect_err(words[0]);
    assert_eq!(error.stage, stage, "{error}");
    for word in words {
        assert!(error.reason.contains(word), "no {word:?} in {error}");
    }
    assert_eq!(cache.policy().generation, before);
}

#[tokio::test]
async fn a_component_that_is_not_pinned_is_refused_by_its_digest() {
    let [pinned, other] = components();
    let upper = pinned.digest().to_uppercase();
    let cache =
        builder().pinned_digests([upper, "0".repeat(64)]).build().await.expect("the built-in is let in");
    refused(&cache, other.clone(), Stage::Digest, &[other.digest(), "none of the 2"]).await;
    cache.swap(pinned).await.expect("it is pinned");
    cache.swap(Policy::from_bytes(leasehold_policies::TTL)).await.expect("it came with the binary");
    let error = builder().pinned_digests(["12ab"]).build().await.map(drop).expect_err("no digest");
    assert!(matches!(error, BuildError::OutOfRange { name: "pinned_digests", .. }), "{error}");
}

#[tokio::test]
async fn where_a_key_is_trusted_a_component_needs_its_signature() {
    let [policy, other] = components();
    let (ours, theirs) = (key(1), key(2));
    let cache = builder().trusted_keys([ours.public_key()]).build().await.expect("the built-in needs none");
    let id = ours.public_key().id();
    refused(&cache, policy.clone(), Stage::Signature, &["not signed", &id, "leasehold policy sign"]).await;
    let signed = policy.clone().signed(theirs.sign(policy.digest(), 1));
    refused(&cache, signed, Stage::Signature, &[&theirs.public_key().id(), "not trusted here", &id]).await;
    // What else does not hold, or cannot be read, is in the library's tables.
    let good = ours.sign(policy.digest(), 1);
    let of_other = policy.clone().signed(ours.sign(other.digest(), 1));
    refused(&cache, of_other, Stage::Signature, &["does not hold", policy.digest()]).await;
    let longer = policy.clone().signed(format!("{good} x"));
    refused(&cache, longer, Stage::Signature, &["cannot be read", "four words"]).await;
    let report = cache.swap(policy.clone().signed(format!("{good}\n"))).await.expect("it is signed");
    let record = cache.policy().recent[0].clone();
    let signed = record.signed.expect("who signed it is on record");
    assert_eq!((signed.revision, signed.key, record.forced), (1, id, false));
    assert_eq!((report.generation, cache.policy().highest_revision), (2, 1));
    let again = cache.swap(cache.active().setting("setting", "x")).await;
    assert_eq!(again.expect("the active one brings its signature along").generation, 3);
}

#[tokio::test]
async fn an_older_revision_is_refused_unless_it_is_forced_which_is_on_record() {
    let [first, second] = components();
    let ours = key(1);
    let revision = |policy: &Policy, revision| policy.clone().signed(ours.sign(policy.digest(), revision));
    let trusting = || builder().trusted_keys([ours.public_key()]);
    let cache = trusting().policy(revision(&first, 7)).build().await.expect("it is signed");
    assert_eq!(cache.policy().highest_revision, 7, "the first policy counts");
    cache.swap(revision(&second, 8)).await.expect("it is newer");
    refused(&cache, revision(&first, 7), Stage::Signature, &["revision is 7", "8 was active", "force it"])
        .await;
    cache.swap(revision(&second, 8)).await.expect("the same again is not older");
    cache.swap(Policy::from_bytes(leasehold_policies::TTL)).await.expect("it came with the binary");
    cache.swap(revision(&first, 7).forced()).await.expect("it is forced");
    let record = cache.policy().recent[0].clone();
    assert_eq!(
        (record.cause, record.forced, record.signed.map(|signed| signed.revision)),
        (Cause::Swap, true, Some(7))
    );
    assert_eq!(cache.policy().highest_revision, 8, "forcing lowers nothing");
    refused(&cache, first.clone().forced(), Stage::Signature, &["not signed"]).await;
    let restarted = trusting().revision_floor(8).build().await.expect("the built-in");
    refused(&restarted, revision(&first, 7), Stage::Signature, &["8 was active"]).await;
}

#[tokio::test]
async fn a_policy_that_was_not_let_in_raises_no_revision() {
    let ours = key(1);
    let cache = builder().trusted_keys([ours.public_key()]).build().await.expect("the built-in");
    let bad = Policy::from_bytes(wat::parse_str("(component)").expect("the test's own WAT"));
    let bad = bad.clone().signed(ours.sign(bad.digest(), 100));
    refused(&cache, bad, Stage::World, &["does not export"]).await;
    assert_eq!(cache.policy().highest_revision, 0);
}

#[tokio::test]
async fn the_breaker_falls_back_on_the_built_in_policy_whatever_is_asked_of_others() {
    let ours = key(1);
    let failing = Policy::from_bytes(hostile::COMPONENT).setting("does", "traps");
    let pinned = failing.digest().to_owned();
    let failing = failing.clone().signed(ours.sign(failing.digest(), 1));
    let builder = builder().trusted_keys([ours.public_key()]).pinned_digests([pinned]);
    let cache =
        builder.breaker(1, std::time::Duration::from_secs(1)).policy(failing).build().await.expect("signed");
    let id = leasehold::WorkspaceId::new("w").expect("a usable id");
    let _ = cache.read(&id).await;
    assert_eq!(cache.policy().name, "ttl");
}

#[tokio::test]
async fn the_active_policy_gets_other_settings_whatever_its_revision() {
    let [old, new] = components();
    let ours = key(1);
    let cache =
        builder().trusted_keys([ours.public_key()]).build().await.expect("the built-in needs no signature");
    cache.swap(old.clone().signed(ours.sign(old.digest(), 1))).await.expect("it is signed");
    cache.swap(new.clone().signed(ours.sign(new.digest(), 2))).await.expect("it is signed");
    cache.rollback().await.expect("there is one");
    cache.on_behalf_of("").reconfigure(Vec::new()).await.expect("it is active");
    refused(
        &cache,
        old.clone().signed(ours.sign(old.digest(), 1)),
        Stage::Signature,
        &["its revision is 1", "2 was active"],
    )
    .await;
}
