//! `leasehold policy card` and `leasehold policy check`: their output, and their exit codes.
//!
//! 0 says that all is as expected, 1 that it is not or that the policy is refused, 2 that the question makes
//! no sense.

use std::fs;

use anyhow::Result;
use leasehold_tests::hostile::COMPONENT as HOSTILE;
use leasehold_tests::server::{Ended, Launch};
use serde_json::{Value, json};

fn policy(arguments: &[&str]) -> Result<Ended> {
    let launch = Launch::alone(["policy"])?.arguments(arguments.iter().copied());
    fs::write(launch.folder().join("ttl.wasm"), leasehold_policies::TTL)?;
    fs::write(launch.folder().join("hostile.wasm"), HOSTILE)?;
    fs::write(launch.folder().join("text.wasm"), "ttl=30s\n")?;
    launch.run_to_completion()
}

#[test]
fn the_card_of_a_policy_is_printed_for_people() -> Result<()> {
    for named in ["ttl", "ttl.wasm"] {
        let ended = policy(&["card", named, "--setting", "ttl=90s", "--setting", "jitter=0s"])?;
        assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""), "{}", ended.stdout);
        for line in [
            "setting ttl               90s\n",
            "fresh                     1m30s after a read, without asking the policy\n",
            "absence                   uncached: a secret that appears is found at once\n",
            "statements-per-heartbeat  0.500: 120 for 240, one a minute for an hour\n",
        ] {
            assert!(ended.stdout.contains(line), "no {line:?} in:\n{}", ended.stdout);
        }
    }
    Ok(())
}

#[test]
fn the_card_of_a_policy_is_printed_as_json() -> Result<()> {
    let ended = policy(&["card", "--json", "ttl.wasm", "--setting", "jitter=0s"])?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let card: Value = serde_json::from_str(&ended.stdout)?;
    for (name, expected) in [
        ("name", json!("ttl")),
        ("settings", json!({ "ttl": "5m", "jitter": "0s" })),
        ("fresh_s", json!({ "min": 300.0, "max": 300.0 })),
        ("absence", json!("uncached")),
        ("absent_s", json!(0.0)),
        ("stale_s", json!(300.0)),
        ("on_error", json!("error")),
        ("write", json!("database-then-cache")),
        ("statements_per_heartbeat", json!(0.2)),
    ] {
        assert_eq!(card[name], expected, "{name} in {card}");
    }
    assert!(card["memory_bytes"].is_u64() && card["call_us"].is_f64(), "{card}");
    Ok(())
}

#[test]
fn a_check_says_of_each_expectation_what_was_found_and_ends_with_1_if_one_fails() -> Result<()> {
    let expected = ["--expect", "fresh<=10m", "--expect", "absence=uncached"];
    let ended = policy(&[&["check", "ttl", "--setting", "jitter=0s"][..], &expected].concat())?;
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, "holds  fresh<=10m  found 5m\nholds  absence=uncached  found uncached\n");
    let ended = policy(&[
        "check",
        "ttl.wasm",
        "--setting",
        "jitter=5m",
        "--expect",
        "fresh>=1m",
        "--expect",
        "stale<=5m",
    ])?;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].starts_with("fails  fresh>=1m  found ") && lines[0].contains(" to "),
        "{}",
        ended.stdout
    );
    assert_eq!(lines[1..].len(), 1);
    assert!(lines[1].starts_with("holds  stale<=5m  found "), "{}", ended.stdout);
    Ok(())
}

#[test]
fn a_policy_that_is_refused_ends_with_1_and_the_step() -> Result<()> {
    for arguments in [&["card"][..], &["check", "--expect", "fresh<=10m"]] {
        for (candidate, words) in [
            (
                &["hostile.wasm", "--setting", "does=never-issues"][..],
                "stage rehearsal: an issue of a workspace that was read",
            ),
            (
                &["hostile.wasm", "--setting", "does=leaks-what-is-too-old"],
                "another policy has kept a secret, 1s old, under a long lease: the call failed: it kept \
                 handles",
            ),
            (
                &["hostile.wasm", "--setting", "does=refreshes-without-reading"],
                "stage rehearsal: a refresh in the background: it read nothing",
            ),
            (&["text.wasm"], "does not begin like a WebAssembly component"),
            (&["ttl", "--setting", "ttl=soon"], "expected a duration such as"),
            (&["missing.wasm"], "No such file"),
        ] {
            let ended = policy(&[arguments, candidate].concat())?;
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.log);
            assert!(ended.log.starts_with("error: ") && ended.log.contains(words), "{}", ended.log);
            assert!(ended.log.contains(candidate[0]) || candidate[0] == "ttl", "{}", ended.log);
        }
    }
    Ok(())
}

#[test]
fn an_expectation_that_makes_no_sense_is_a_usage_error() -> Result<()> {
    for (expectation, words) in [
        ("freshness<=10m", "there is no figure \"freshness\"; the figures are fresh, issue-fresh, jitter"),
        ("fresh", "the operator one of <= >= < > ="),
        ("fresh<=ten", "\"ten\" is not a duration"),
        ("absence=never", "\"never\" is not one of uncached, cached"),
    ] {
        let ended = policy(&["check", "ttl", "--expect", expectation])?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.log);
        assert!(ended.log.contains(expectation) && ended.log.contains(words), "{}", ended.log);
    }
    let ended = policy(&["check", "ttl"])?;
    assert_eq!(ended.code, Some(2), "nothing was expected");
    assert!(ended.log.contains("--expect"), "{}", ended.log);
    Ok(())
}

#[test]
fn the_table_in_the_readme_is_what_the_command_prints() -> Result<()> {
    let ended = policy(&["cards"])?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&ended.stdout), "README.md has another table than this:\n{}", ended.stdout);
    Ok(())
}
