//! `leasehold policy new`, with the real binary and the real compiler: the project that it writes is tested,
//! built and served as its README says, in a folder that has nothing to do with Leasehold's sources.
//!
//! The compiler may not use the network: the project gets the versions that the workspace is locked to.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use leasehold::{ManualClock, Policy, SecretCache, Status, WorkspaceId};
use leasehold_tests::scripted::Scripted;
use leasehold_tests::server::Launch;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Variables that would reach the compiler from the user that runs the tests, and from the outer Cargo, and
/// are not meant for it.
const INHERITED: [&str; 9] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_ENCODED_",
    "CARGO_PROFILE_",
    "CARGO_BUILD_",
    "CARGO_TARGET_",
    "OUT_DIR",
    "RUSTC",
    "RUSTFLAGS",
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs `cargo` with these words, offline.
#[expect(clippy::disallowed_methods, reason = "cargo tells a test through the environment which cargo it is")]
fn cargo(project: &Path, words: &str) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if INHERITED.iter().any(|inherited| name.as_encoded_bytes().starts_with(inherited.as_bytes())) {
            cargo.env_remove(name);
        }
    }
    cargo.args(words.split_whitespace()).arg("--offline").current_dir(project);
    let ended = cargo.env("CARGO_TARGET_DIR", project.join("target")).output().context("running cargo")?;
    let said =
        [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(ended.status.success(), "cargo {words}: {said}");
    ensure!(!said.contains("warning"), "cargo {words}: {said}");
    Ok(())
}

/// Returns the commands in the project's README that begin with these words, less those words.
fn documented<'a>(readme: &'a str, program: &str) -> Vec<&'a str> {
    readme.lines().filter_map(|line| line.strip_prefix("    ")?.strip_prefix(program)).collect()
}

#[tokio::test]
async fn a_new_policy_is_tested_built_and_served_as_its_readme_says() -> Result<()> {
    let sdk = sources().join("guest/sdk");
    let launch =
        Launch::alone(["policy", "new", "some/where/my-policy", "--sdk", sdk.to_str().context("text")?])?;
    // The project is inside a workspace that knows nothing of it.
    fs::write(launch.folder().join("Cargo.toml"), "[workspace]\nmembers = []\n")?;
    let ended = launch.run_to_completion()?;
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("cd some/where/my-policy && cargo test"), "{}", ended.stdout);

    let project = launch.folder().join("some/where/my-policy");
    fs::copy(sources().join("Cargo.lock"), project.join("Cargo.lock"))?;
    let readme = fs::read_to_string(project.join("README.md"))?;
    let commands = documented(&readme, "cargo ");
    assert_eq!(commands, ["test", "build --release --target wasm32-wasip2"]);
    for command in commands {
        cargo(&project, command)?;
    }
    let shown = documented(&readme, "leasehold policy card ");
    let component = fs::read(project.join(shown.first().context("the README shows no component")?))?;
    imports_the_contract_alone(&component)?;

    let database = Scripted::new();
    database.store("w", Some("stored"));
    let clock = Arc::new(ManualClock::new());
    let policy = Policy::from_bytes(component).setting("ttl", "30s");
    let builder = SecretCache::builder().database(database.clone()).clock(Arc::clone(&clock)).policy(policy);
    let cache = builder.build().await?;
    assert_eq!((cache.policy().name.as_str(), cache.policy().version.as_str()), ("my-policy", "0.1.0"));
    let id = WorkspaceId::new("w")?;
    for (span_s, selects, status) in [(0, 1, Status::Miss), (29, 1, Status::Hit), (1, 2, Status::Miss)] {
        clock.advance(Duration::from_secs(span_s));
        let lookup = cache.read(&id).await?;
        assert_eq!((lookup.secret.expose_str(), lookup.status), (Some("stored"), status));
        assert_eq!(database.selects(), selects);
    }
    let issued = cache.issue(&id).await?;
    assert!(cache.verify(&id, issued.expose()).await?);
    assert_eq!((database.selects(), cache.stats().policy_faults), (2, 0));
    Ok(())
}

fn imports_the_contract_alone(component: &[u8]) -> Result<()> {
    let engine = Engine::default();
    let compiled = Component::new(&engine, component).map_err(|error| anyhow!("{error:#}"))?;
    let component_type = compiled.component_type();
    let mut imports = 0;
    for (name, _) in component_type.imports(&engine) {
        ensure!(name.starts_with("leasehold:policy/") && name.ends_with("@0.1.0"), "it imports {name}");
        imports += 1;
    }
    ensure!(imports > 0, "a policy that imports nothing reads nothing");
    ensure!(component.len() < 40_000, "{} bytes", component.len());
    Ok(())
}

#[test]
fn a_project_that_cannot_be_written_is_refused_in_one_line_and_nothing_changes() -> Result<()> {
    let sdk = sources().join("guest/sdk");
    let sdk = sdk.to_str().context("text")?;
    for (folder, sdk, words) in [
        ("full", sdk, &["full", "not empty"][..]),
        ("Full", sdk, &["\"Full\"", "\"full\" would do"]),
        ("file/p", sdk, &["file/p", "Not a directory"]),
        ("p", "/nowhere", &["--sdk /nowhere", "guest/sdk"]),
    ] {
        let launch = Launch::alone(["policy", "new", folder, "--sdk", sdk])?;
        fs::create_dir(launch.folder().join("full"))?;
        fs::write(launch.folder().join("full/Cargo.toml"), "mine")?;
        fs::write(launch.folder().join("file"), "mine")?;
        let ended = launch.run_to_completion()?;
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.log.lines().count()),
            (Some(1), "", 1),
            "{}",
            ended.log
        );
        for word in words {
            assert!(
                ended.log.starts_with("error: ") && ended.log.contains(word),
                "no {word:?} in {}",
                ended.log
            );
        }
        assert_eq!(fs::read_to_string(launch.folder().join("full/Cargo.toml"))?, "mine");
        assert_eq!(fs::read_dir(launch.folder())?.count(), 2, "{folder}");
        assert_eq!(fs::read_dir(launch.folder().join("full"))?.count(), 1, "{folder}");
    }
    Ok(())
}
