//! Artifacts that are no policy, are too costly to compile, or are damaged: each is refused at its stage, in
//! words, and the old policy serves on.
//!
//! All of them go through the real swap of a real cache. `benches/compile` measures the time and the memory
//! of the costliest artifacts that are let through.

use std::time::Duration;

use leasehold::{BuildError, Policy, SecretCache, Stage, Status, WorkspaceId};
use leasehold_tests::Tier;
use leasehold_tests::artifacts::Costly;
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile::{self, COMPONENT as HOSTILE};
use leasehold_tests::scripted::Scripted;
use wasmtime::Engine;

use super::{TestBed, W};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own WAT")
}

fn ttl() -> Policy {
    Policy::from_bytes(leasehold_policies::TTL)
}

fn costly(name: &str, size: u32) -> Vec<u8> {
    Costly::named(name).unwrap_or_else(|| panic!("no way named {name:?}")).component(size)
}

/// Makes the active policy answer, and not a lease.
async fn assert_serves(bench: &TestBed, after: &str) {
    bench.cache.remove(&bench.id);
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)), "after {after}");
}

#[tokio::test]
async fn a_bad_artifact_is_refused_at_its_stage_in_words_and_the_old_policy_serves_on() {
    let bench = TestBed::new(ttl()).await;
    let honest = hostile::honest(&Marker::new());
    let native = Engine::default().precompile_component(&honest).expect("it compiles");
    let cases = [
        ("nothing", Vec::new(), Stage::Size, "it is empty"),
        ("5 MiB", vec![0; 5 << 20], Stage::Size, "5242880 bytes; expected 4194304 at most"),
        ("text", b"ttl=30s\n".to_vec(), Stage::Inspect, "does not begin like a WebAssembly component"),
        ("a module", wat("(module)"), Stage::Inspect, "core WebAssembly module"),
        ("native code", native, Stage::Inspect, "native or precompiled code"),
        ("half", honest[..honest.len() / 2].to_vec(), Stage::Inspect, "not a valid component"),
        ("functions", costly("functions", 1_000_000), Stage::Inspect, "5000 at most"),
        (
            "nested components",
            costly("components within components", 2_000),
            Stage::Inspect,
            "within each other",
        ),
        (
            "nested types",
            costly("types within types", 1_300_000),
            Stage::Inspect,
            "bytes of component sections",
        ),
        ("deep types", costly("types within types", 20_000), Stage::Inspect, "types within types"),
        (
            "a million instances",
            costly("instances that double in a row", 20),
            Stage::Inspect,
            "component sections",
        ),
        ("2 MiB of one function", costly("one function", 2 << 20), Stage::Inspect, "in one function"),
        ("callers of each other", costly("adapters", 1), Stage::Inspect, "composed of components"),
        (
            "a component to import",
            wat("(component (import \"c\" (component)))"),
            Stage::Inspect,
            "imports or exports a component",
        ),
        ("an unknown function", invalid(), Stage::Compile, "not a valid component"),
        (
            "another world",
            wat("(component (import \"acme:shop/cart@1.0.0\" (instance)) (instance $i) (export \
                 \"acme:shop/desk@1.0.0\" (instance $i)))"),
            Stage::World,
            "it imports acme:shop/cart@1.0.0",
        ),
        ("no exports", wat("(component)"), Stage::World, "leasehold:policy/control, leasehold:policy/policy"),
        (
            "one import more",
            wat("(component (import \"wasi:filesystem/types@0.2.6\" (instance)))"),
            Stage::World,
            "wasi:filesystem/types@0.2.6",
        ),
    ];
    for (name, bytes, stage, words) in cases {
        let error = bench.cache.swap(Policy::from_bytes(bytes)).await.expect_err(name);
        assert_eq!(error.stage, stage, "{name}: {error}");
        assert!(error.reason.contains(words), "{name}: {error}");
        assert_serves(&bench, name).await;
    }
    let error = bench.cache.swap(super::hostile("spins-in-configure")).await.expect_err("it spins");
    assert_eq!(error.stage, Stage::Configure, "{error}");
    assert_serves(&bench, "a configure that loops").await;
    assert_eq!(bench.cache.policy().generation, 1);
}

/// Returns a component whose one module calls a function that it does not have.
fn invalid() -> Vec<u8> {
    let module = wat("(module (func (export \"f\") call 0))");
    let called = module.windows(2).position(|pair| pair == [0x10, 0]).expect("the call");
    let mut component = wat("(component (core module (func (export \"f\") call 0)))");
    let at = component.windows(module.len()).position(|window| window == module).expect("the module");
    component[at + called + 1] = 9;
    component
}

#[tokio::test]
async fn a_component_cut_anywhere_is_refused_and_the_old_policy_serves_on() {
    let bench = TestBed::new(ttl()).await;
    let whole = leasehold_policies::TTL;
    for cut in (0..100).map(|n| n * (whole.len() - 1) / 100) {
        let error = bench.cache.swap(Policy::from_bytes(&whole[..cut])).await.expect_err("it is cut");
        assert!(matches!(error.stage, Stage::Size | Stage::Inspect | Stage::World), "at {cut}: {error}");
        assert_serves(&bench, &format!("a cut at {cut}")).await;
    }
    assert_eq!(bench.cache.policy().generation, 1);
}

/// An artifact that passes everything although a byte of it is another one may serve: then the host's own
/// guarantees hold, and a rollback brings the old policy back.
#[tokio::test]
async fn a_component_with_any_byte_flipped_is_refused_or_serves_the_right_secret() {
    let bench = TestBed::new(ttl()).await;
    let whole = hostile::honest(&Marker::new());
    let step = usize::try_from(Tier::current().pick(37, 1)).expect("a small number");
    let (mut refused, mut accepted) = (0, 0);
    for at in (0..whole.len()).step_by(step) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        let after = format!("byte {at} of {}", whole.len());
        let before = bench.cache.policy().generation;
        match bench.cache.swap(Policy::from_bytes(flipped)).await {
            Ok(_) => {
                accepted += 1;
                bench.cache.remove(&bench.id);
                let (secret, _) = bench.read().await.expect("the host sees to it");
                assert_eq!(secret, "stored", "after {after}");
                // The breaker may have been quicker.
                if bench.cache.policy().name != "ttl" {
                    bench.cache.rollback().await.expect("to the old policy");
                }
            }
            Err(error) => {
                refused += 1;
                assert!(error.reason.len() > 10, "{after}: {error}");
                assert_eq!(bench.cache.policy().generation, before, "{after}");
            }
        }
        assert_eq!(bench.cache.policy().name, "ttl", "{after}");
        assert_serves(&bench, &after).await;
    }
    println!("{refused} refused, {accepted} accepted");
    assert!(refused > accepted && refused > 20, "{refused} refused, {accepted} accepted");
}

#[test]
fn every_way_of_being_costly_is_refused_from_some_size_on() {
    for way in Costly::all() {
        let refused = (0..25).find_map(|power| {
            let component = way.component(1 << power);
            Policy::from_bytes(component).inspect().err()
        });
        let error = refused.unwrap_or_else(|| panic!("{} is let through in any size", way.name));
        assert!(matches!(error.stage, Stage::Inspect | Stage::Size), "{}: {error}", way.name);
        assert!(error.reason.contains("at most") || error.reason.contains("link"), "{}: {error}", way.name);
    }
}

#[test]
fn each_bound_refuses_in_its_own_words() {
    for (name, size, words) in [
        ("components within components", 9, "9 or more components and modules within each other"),
        ("modules", 65, "core modules"),
        ("components", 64, "65 or more components,"),
        ("instances of a module", 600, "instances"),
        ("component types", 20_000, "bytes of component sections"),
        ("instances that double in a row", 16, "bytes of component sections"),
        ("types within types", 300, "types within types"),
        ("constant expressions", 50_000, "bytes of module sections"),
        ("a custom section", 3_000_000, "bytes of custom sections"),
        ("types", 2_001, "types of functions"),
        ("functions", 5_001, "5001 or more functions"),
        ("imports", 2_001, "imports of modules"),
        ("exports", 2_001, "exports of modules"),
        ("data segments", 2_001, "segments"),
        ("element segments", 2_001, "segments"),
        ("a long memory", 65, "pages of initial memory"),
        ("tables", 17, "17 or more tables"),
        ("a long table", 10_001, "elements in a table"),
        ("ordinary functions", 600_000, "bytes of code (calls"),
        ("short functions of memory.grow", 60_000, "KiB² of code in long functions"),
        ("functions of middling length", 350_000, "KiB² of code in long functions"),
        ("one function", 30_000, "bytes of code in one function"),
        ("loops in a row", 6_000, "bytes of code in one function"),
        ("memory.grow", 6_000, "bytes of code in one function"),
        ("blocks of many values", 2_000, "bytes of code in one function"),
        ("calls", 12_000, "bytes of code in one function"),
        ("nested loops", 1_000, "loops within loops"),
        ("br_table", 60_000, "targets of br_table"),
        ("ifs that set locals", 3_000, "times that a block meets a local"),
        ("adapters", 1, "composed of components that call each other"),
        ("lowered functions", 65, "cross the border of the component"),
        ("lowered functions of an enum", 8_000, "bytes of component types"),
        ("a long passive element segment", 1_001, "1001 or more elements in segments"),
        ("a long element segment", 1_001, "1001 or more elements in segments"),
        ("globals of a module", 1_001, "1001 or more globals"),
    ] {
        assert_refused(&costly(name, size), name, words);
    }
    for (text, words) in [
        (format!("(module (func (local {})))", "i32 ".repeat(1_001)), "1001 or more locals"),
        (format!("(module (func (param {})))", "i32 ".repeat(25)), "25 or more parameters"),
        (format!("(module (func (result {}) unreachable))", "i32 ".repeat(9)), "9 or more results"),
        (format!("(module {})", "(memory 1)".repeat(17)), "17 or more memories"),
        (CALLER_WITHIN.into(), "composed of components that call each other"),
    ] {
        let text = format!("(component {})", text.replacen("(module", "(core module", 1));
        assert_refused(&wat(&text), &text, words);
    }
}

/// The outer component lifts what the one within it lowers.
const CALLER_WITHIN: &str = r#"(module $m (func (export "f") (param i32)))
    (core instance $i (instantiate $m))
    (func $f (param "p" u32) (canon lift (core func $i "f")))
    (component $caller (import "f" (func $f (param "p" u32))) (core func (canon lower (func $f))))
    (instance (instantiate $caller (with "f" (func $f))))"#;

fn assert_refused(component: &[u8], name: &str, words: &str) {
    let error = Policy::from_bytes(component.to_vec()).inspect().expect_err(name);
    assert_eq!(error.stage, Stage::Inspect, "{name}: {error}");
    assert!(error.reason.contains(words), "{name}: no {words:?} in {error}");
}

#[test]
fn the_shipped_components_are_far_from_every_bound() {
    for (name, bytes) in leasehold_policies::ALL {
        Policy::from_bytes(*bytes).inspect().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    Policy::from_bytes(HOSTILE).inspect().expect("it is large, and a policy");
}

#[tokio::test]
async fn a_component_that_is_not_compiled_in_time_is_refused_and_the_compiler_is_there_for_the_next() {
    let policy = ttl();
    let patient = TestBed::new(policy.clone()).await;
    let (database, id) = (Scripted::new(), WorkspaceId::new(W).expect("a usable id"));
    database.store(W, Some("stored"));
    // The policy has been compiled above, so that only what is swapped in meets the limit.
    let builder = SecretCache::builder().database(database).policy(policy);
    let hasty =
        builder.policy_compile_limit(Duration::from_millis(1)).build().await.expect("nothing to compile");
    // It has a word of its own in it: nothing else in the process has it compiled.
    let mut late = HOSTILE.to_vec();
    late.extend([0, 5, 4, b'l', b'a', b't', b'e']);
    let error = hasty.swap(Policy::from_bytes(late)).await.expect_err("a millisecond is too short");
    assert_eq!(error.stage, Stage::Compile, "{error}");
    assert!(error.reason.contains("longer than 1ms"), "{error}");
    assert_eq!(hasty.read(&id).await.map(|lookup| lookup.status), Ok(Status::Miss));
    assert_eq!(hasty.policy().generation, 1);
    let honest = hostile::honest(&Marker::new());
    patient
        .cache
        .swap(Policy::from_bytes(honest))
        .await
        .expect("it waits for the late one, and has the time");
    assert_eq!(patient.cache.policy().generation, 2);
}

#[tokio::test]
async fn a_limit_on_compiling_that_nothing_can_meet_is_refused_at_once() {
    let builder = SecretCache::builder().database(Scripted::new()).policy_compile_limit(Duration::ZERO);
    let error = builder.build().await.map(drop).expect_err("it is no time");
    assert!(matches!(error, BuildError::OutOfRange { name: "policy_compile_limit", .. }), "{error}");
}
