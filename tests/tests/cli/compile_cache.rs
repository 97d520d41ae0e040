//! Compiled code between two starts: used again where it is whole, compiled again where it is not, and never
//! taken from where other users might write.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use leasehold_tests::hostile::COMPONENT as HOSTILE;
use leasehold_tests::server::Launch;

/// Returns a server that keeps its code in the folder `code`.
fn launch() -> Result<Launch> {
    Ok(Launch::new("sqlite://test.db?mode=rwc")?.arguments(["--compile-cache", "code"]))
}

/// Starts the server, swaps a policy in, has it serve, and ends the server.
fn run(launch: &Launch) -> Result<String> {
    let server = launch.server()?;
    server.admin("PUT", "/admin/policy", HOSTILE.to_vec())?.json(200)?;
    if server.secret("w").is_err() {
        server.create("w")?;
        server.rotate("w")?;
    }
    server.secret("w")?;
    Ok(server.stop()?.log)
}

/// Returns the files with code, each with its file on the disk: a file that is written anew is another one.
fn code(launch: &Launch) -> Result<Vec<(PathBuf, u64)>> {
    let modules = launch.folder().join("code/wasmtime/modules");
    let version = fs::read_dir(modules)?.next().context("no version")??.path();
    let mut files = Vec::new();
    for entry in fs::read_dir(version)? {
        let path = entry?.path();
        if path.extension().is_none() {
            files.push((path.clone(), fs::metadata(&path)?.ino()));
        }
    }
    files.sort();
    Ok(files)
}

#[test]
fn code_is_compiled_once_and_used_after_a_restart() -> Result<()> {
    let launch = launch()?;
    run(&launch)?;
    let first = code(&launch)?;
    assert_eq!(first.len(), 3, "the secrets' policy, the tokens' and the other one: {first:?}");
    assert_eq!(fs::metadata(launch.folder().join("code"))?.permissions().mode() & 0o777, 0o700);
    let log = run(&launch)?;
    assert_eq!(code(&launch)?, first, "nothing was compiled");
    assert!(!log.contains("damaged"), "{log}");
    Ok(())
}

/// The compiler's own tidying comes after the first code that is ever written.
#[test]
fn code_of_a_first_start_that_did_nothing_else_is_used_after_a_restart() -> Result<()> {
    let launch = launch()?;
    launch.server()?.stop()?;
    let first = code(&launch)?;
    assert_eq!(first.len(), 2, "the secrets' policy and the tokens': {first:?}");
    let log = launch.server()?.stop()?.log;
    assert!(!log.contains("damaged"), "{log}");
    assert_eq!(code(&launch)?, first, "nothing was compiled");
    Ok(())
}

type Damage = fn(&Path) -> Result<()>;

#[test]
fn code_that_is_not_whole_costs_a_compilation_and_nothing_else() -> Result<()> {
    let launch = launch()?;
    run(&launch)?;
    let damages: [(&str, Damage); 5] = [
        ("empty", |file| Ok(fs::write(file, [])?)),
        ("cut", |file| Ok(fs::write(file, &fs::read(file)?[..1000])?)),
        ("garbage", |file| Ok(fs::write(file, b"garbage")?)),
        ("one bit", |file| {
            let mut bytes = fs::read(file)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Ok(fs::write(file, bytes)?)
        }),
        ("another's code", |file| {
            let other = fs::read_dir(file.parent().context("no folder")?)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .find(|other| other.extension().is_none() && other != file);
            Ok(fs::write(file, fs::read(other.context("no other")?)?)?)
        }),
    ];
    for (name, damage) in damages {
        let before = code(&launch)?;
        for (file, _) in &before {
            damage(file)?;
        }
        let log = run(&launch).with_context(|| name)?;
        assert!(log.contains("compiled code was damaged"), "{name}: {log}");
        let after = code(&launch)?;
        assert_eq!(after.len(), before.len(), "{name}");
        for (file, size) in
            after.iter().map(|(file, _)| (file, fs::metadata(file).map_or(0, |file| file.len())))
        {
            assert!(size > 5_000, "{name}: {} has {size} bytes", file.display());
        }
        run(&launch)?;
        assert_eq!(code(&launch)?, after, "{name}: what was compiled again is used again");
    }
    Ok(())
}

#[test]
fn a_directory_that_others_might_write_to_is_refused() -> Result<()> {
    let launch = launch()?;
    let directory = launch.folder().join("code");
    let refused = |words: &str| -> Result<()> {
        let ended = launch.run_to_completion()?;
        anyhow::ensure!(ended.code == Some(1) && ended.log.contains(words), "no {words:?} in {}", ended.log);
        anyhow::ensure!(ended.log.contains("\"code\" cannot be used"), "{}", ended.log);
        Ok(())
    };
    for mode in [0o720, 0o702, 0o777] {
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode))?;
        refused("expected 0700: run chmod 700")?;
        fs::remove_dir(&directory)?;
    }
    fs::create_dir(launch.folder().join("elsewhere"))?;
    symlink("elsewhere", &directory)?;
    refused("it is a symbolic link")?;
    fs::remove_file(&directory)?;
    fs::write(&directory, "")?;
    refused("File exists")?;
    Ok(())
}
