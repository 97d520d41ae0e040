//! Policies that are refused: at which stage, in which words, with the old one serving on.

use leasehold::{Policy, Stage, Status};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::{TestBed, hostile};

/// The contract's interfaces: all that a shipped component may import.
const CONTRACT: [&str; 5] = [
    "leasehold:policy/clock@0.1.0",
    "leasehold:policy/database@0.1.0",
    "leasehold:policy/entry@0.1.0",
    "leasehold:policy/log@0.1.0",
    "leasehold:policy/types@0.1.0",
];

#[test]
fn every_shipped_component_imports_the_contract_alone_and_is_below_40_kb() {
    let engine = Engine::default();
    for (name, bytes) in leasehold_policies::ALL {
        let component = Component::new(&engine, bytes).expect("it compiles");
        let component_type = component.component_type();
        let mut imports: Vec<String> =
            component_type.imports(&engine).map(|(name, _)| name.to_string()).collect();
        imports.sort();
        assert!(
            imports.iter().all(|import| CONTRACT.contains(&import.as_str())),
            "{name} imports {imports:?}"
        );
        // A policy that needs no clock imports none.
        assert!(*name == "passthrough" || imports == CONTRACT, "{name} imports {imports:?}");
        assert!(bytes.len() < 40_000, "{name} has {} bytes", bytes.len());
    }
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own WAT")
}

#[tokio::test]
async fn a_bad_component_is_refused_in_words_and_the_old_policy_serves_on() {
    let bench = TestBed::new(Policy::from_bytes(leasehold_policies::TTL)).await;
    bench.read().await.expect("the row is there");
    let ttl = leasehold_policies::TTL;
    for (bytes, stage, words) in [
        (Vec::new(), Stage::Size, "empty"),
        (vec![0; (4 << 20) + 1], Stage::Size, "4194305 bytes"),
        (b"#!/bin/sh\n".to_vec(), Stage::Inspect, "does not begin like a WebAssembly component"),
        (b"(component)".to_vec(), Stage::Inspect, "binary format"),
        (b"\x7fELF\x02\x01\x01".to_vec(), Stage::Inspect, "precompiled"),
        (wat("(module)"), Stage::Inspect, "core WebAssembly module"),
        (ttl[..ttl.len() / 2].to_vec(), Stage::Inspect, "not a valid component"),
        (wat("(component)"), Stage::World, "leasehold:policy/control, leasehold:policy/policy"),
        (
            wat(concat!(
                r#"(component (import "wasi:filesystem/types@0.2.6" (instance)) "#,
                r#"(import "acme:net/dns" (instance)))"#,
            )),
            Stage::World,
            "it imports wasi:filesystem/types@0.2.6, acme:net/dns,",
        ),
        (
            wat(r#"(component (import "leasehold:policy/clock@0.1.0" (instance (export "sleep" (func)))))"#),
            Stage::World,
            "does not export",
        ),
        (
            wat(r#"(component (import "leasehold:policy/network@0.1.0" (instance)))"#),
            Stage::World,
            "leasehold:policy/network@0.1.0",
        ),
    ] {
        let error = bench.cache.swap(Policy::from_bytes(bytes)).await.expect_err(words);
        assert_eq!(error.stage, stage, "{error}");
        assert!(error.reason.contains(words), "{error}");
        assert_eq!(bench.read().await, Ok(("stored".into(), Status::Hit)));
    }
    assert_eq!((bench.cache.policy().generation, bench.cache.stats().swaps), (1, 0));
    assert!(bench.cache.policy().recent[0].outcome.is_err(), "the refusal is on record");
}

#[tokio::test]
async fn settings_are_refused_by_name_and_value() {
    let bench = TestBed::new(Policy::from_bytes(leasehold_policies::TTL)).await;
    let ttl = || Policy::from_bytes(leasehold_policies::TTL);
    for (policy, words) in [
        (ttl().setting("tll", "5m"), "unknown setting \"tll\"; the settings of this policy: ttl, jitter"),
        (ttl().setting("ttl", "soon"), "setting ttl: expected a duration such as"),
        (ttl().setting("jitter", "6m"), "setting jitter: expected at most ttl"),
        (hostile("refuses-settings"), "setting does: never good enough"),
        (hostile("traps-in-configure"), "configure failed"),
        (hostile("spins-in-configure"), "limit of processor time"),
    ] {
        let error = bench.cache.swap(policy).await.expect_err(words);
        assert_eq!(error.stage, Stage::Configure, "{error}");
        assert!(error.reason.contains(words), "{error}");
    }
    assert_eq!(bench.cache.policy().generation, 1);
    assert_eq!(bench.read().await, Ok(("stored".into(), Status::Miss)));
}

#[tokio::test]
async fn a_rollback_goes_back_one_different_policy_at_a_time_and_says_when_there_is_none() {
    let bench = TestBed::new(Policy::from_bytes(leasehold_policies::TTL)).await;
    assert_eq!(bench.cache.rollback().await.expect_err("there is none").stage, Stage::Rollback);
    for ttl in ["1m", "2m", "2m"] {
        bench.cache.swap(bench.cache.active().setting("ttl", ttl)).await.expect("the settings are good");
    }
    for (generation, ttl) in [(5, "1m"), (6, "5m")] {
        let report = bench.cache.rollback().await.expect("there is one");
        assert_eq!((report.generation, report.settings[0].1.as_str()), (generation, ttl));
    }
    assert_eq!(bench.cache.rollback().await.expect_err("there is none").stage, Stage::Rollback);
}
