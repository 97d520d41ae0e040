//! Keys and signatures from an operator's view: made and used on the command line, required by a server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile;
use leasehold_tests::server::{ADMIN_TOKEN, Answer, Launch, Server, no_body};
use serde_json::json;

/// Runs `leasehold` with these arguments in the folder of another one, and returns its one line.
fn line(launch: &Launch, arguments: &[&str]) -> Result<String> {
    let ended = launch.beside(arguments.iter().copied()).run_to_completion()?;
    anyhow::ensure!(ended.code == Some(0), "{arguments:?}: {}", ended.log);
    Ok(ended.stdout.trim_end().to_owned())
}

/// Runs `leasehold` as above, and returns the complaint with which it fails.
fn complaint(launch: &Launch, arguments: &[&str]) -> Result<String> {
    let ended = launch.beside(arguments.iter().copied()).run_to_completion()?;
    anyhow::ensure!(ended.code == Some(1) && ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    Ok(ended.log)
}

fn mode(file: &Path) -> Result<u32> {
    Ok(fs::metadata(file)?.permissions().mode() & 0o777)
}

fn put(server: &Server, query: &str, signature: Option<&str>, component: Vec<u8>) -> Result<Answer> {
    let headers: Vec<(&str, &str)> =
        signature.map(|text| ("leasehold-signature", text)).into_iter().collect();
    server.send_with(&headers, "PUT", &format!("/admin/policy{query}"), Some(ADMIN_TOKEN), component)
}

#[test]
fn a_key_is_its_owners_alone_and_never_replaced() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let public = line(&launch, &["policy", "keygen", "key"])?;
    assert_eq!(public.len(), 44, "{public}");
    let file = launch.folder().join("key");
    let secret = fs::read_to_string(&file)?;
    assert_eq!((mode(&file)?, secret.trim_end().len()), (0o600, 44));
    assert_ne!(secret.trim_end(), public);
    let refused = complaint(&launch, &["policy", "keygen", "key"])?;
    assert!(refused.contains("is there already"), "{refused}");
    assert_eq!(fs::read_to_string(&file)?, secret);
    fs::write(launch.folder().join("p.wasm"), hostile::honest(&Marker::new()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    let refused = complaint(&launch, &["policy", "sign", "p.wasm", "--key", "key", "--revision", "1"])?;
    assert!(refused.contains("0640") && refused.contains("expected 0600"), "{refused}");
    assert!(!refused.contains(secret.trim_end()), "{refused}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    fs::write(&file, "hunter2\n")?;
    let refused = complaint(&launch, &["policy", "sign", "p.wasm", "--key", "key", "--revision", "1"])?;
    assert!(refused.contains("32 bytes in base64") && !refused.contains("hunter2"), "{refused}");
    let refused = complaint(&launch, &["policy", "sign", "none.wasm", "--key", "none", "--revision", "1"])?;
    assert!(refused.contains("none") && refused.contains("No such file"), "{refused}");
    Ok(())
}

#[test]
fn a_server_with_a_key_takes_what_was_signed_with_it_and_nothing_older() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let public = line(&launch, &["policy", "keygen", "key"])?;
    let component = hostile::honest(&Marker::new());
    fs::write(launch.folder().join("p.wasm"), &component)?;
    let sign = |revision: &str| -> Result<String> {
        let said = line(&launch, &["policy", "sign", "p.wasm", "--key", "key", "--revision", revision])?;
        anyhow::ensure!(said.contains(&format!("p.wasm.sig: revision {revision} of ")), "{said}");
        Ok(fs::read_to_string(launch.folder().join("p.wasm.sig"))?.trim_end().to_owned())
    };
    let [first, second] = [sign("1")?, sign("2")?];
    let server = launch.clone().arguments(["--trusted-key", &public]).server()?;
    let refused = put(&server, "", None, component.clone())?.refusal(422, "policy_refused")?;
    assert_eq!(refused["stage"], "signature", "{refused}");
    let refused = put(&server, "", Some("nonsense"), component.clone())?.refusal(422, "policy_refused")?;
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("cannot be read")), "{refused}");
    put(&server, "", Some(&second), component.clone())?.json(200)?;
    let refused = put(&server, "", Some(&first), component.clone())?.refusal(422, "policy_refused")?;
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("2 was active")), "{refused}");
    put(&server, "?force=perhaps", Some(&first), component.clone())?.refusal(400, "invalid_parameter")?;
    put(&server, "?force=true", Some(&first), component)?.json(200)?;
    let shown = server.admin("GET", "/admin/policy", no_body())?.json(200)?;
    let latest = &shown["recent"][0];
    assert_eq!((&latest["forced"], &latest["signed"]["revision"]), (&json!(true), &json!(1)), "{shown}");
    assert_eq!(shown["highest_revision"], 2, "{shown}");
    let bundled = put(&server, "", None, leasehold_policies::TTL.to_vec())?.json(200)?;
    assert_eq!(bundled["name"], "ttl", "what came with the binary needs no signature");
    server.stop()?;
    Ok(())
}

#[test]
fn the_signature_beside_a_policy_file_is_read_at_the_start() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    let public = line(&launch, &["policy", "keygen", "key"])?;
    fs::write(launch.folder().join("p.wasm"), hostile::honest(&Marker::new()))?;
    let serve = launch.clone().arguments(["--trusted-key", &public, "--policy", "p.wasm"]);
    // Its one setting accepts any value.
    let ended = serve.run_to_completion()?;
    assert!(ended.log.contains("it is not signed"), "{}", ended.log);
    line(&launch, &["policy", "sign", "p.wasm", "--key", "key", "--revision", "3"])?;
    let server = serve.server()?;
    let shown = server.admin("GET", "/admin/policy", no_body())?.json(200)?;
    assert_eq!((&shown["name"], &shown["highest_revision"]), (&json!("wat"), &json!(3)), "{shown}");
    server.stop()?;
    let ended = serve.arguments(["--revision-floor", "4"]).run_to_completion()?;
    assert!(ended.log.contains("its revision is 3, and 4 was active"), "{}", ended.log);
    Ok(())
}

#[test]
fn keys_and_digests_that_are_none_are_refused_by_name_and_a_pin_holds() -> Result<()> {
    let launch = Launch::new("sqlite://test.db?mode=rwc")?;
    for (flag, value, words) in
        [("--trusted-key", "hunter2", "44 characters"), ("--pin-digest", "12ab", "64 hexadecimal digits")]
    {
        let ended = launch.clone().arguments([flag, value]).run_to_completion()?;
        assert_eq!(ended.code, Some(1));
        assert!(ended.log.contains(flag) && ended.log.contains(words), "{}", ended.log);
    }
    let server = launch.arguments(["--pin-digest", &"0".repeat(64)]).server()?;
    let refused = put(&server, "", None, hostile::honest(&Marker::new()))?.refusal(422, "policy_refused")?;
    let message = refused["message"].as_str().context("no message")?;
    assert!(refused["stage"] == "digest" && message.contains("none of the 1"), "{refused}");
    server.stop()?;
    Ok(())
}
