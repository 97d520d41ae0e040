//! The configuration of a server: the environment, the file, `leasehold config`, and what SIGHUP reads again.

use std::fs;

use anyhow::{Context as _, Result};
use leasehold_tests::server::{ADMIN_TOKEN, Launch, no_body};
use leasehold_tests::until;

/// A server that is configured by its file and its environment alone.
fn configured(file: &str) -> Result<Launch> {
    let launch = Launch::alone(["serve"])?.variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN);
    fs::write(launch.folder().join("leasehold.toml"), file)?;
    Ok(launch)
}

#[test]
fn a_server_is_configured_by_its_file_and_its_environment() -> Result<()> {
    let file = [
        "listen = '127.0.0.1:0'",
        "database = 'sqlite://of-the-file.db?mode=rwc'",
        "[setting]",
        "ttl = '7s'",
    ];
    let launch = configured(&file.join("\n"))?;
    let server = launch.clone().variable("LEASEHOLD_STATE_DIR", "of-the-environment").server()?;
    assert_eq!(server.admin("GET", "/admin/policy", no_body())?.json(200)?["settings"]["ttl"], "7s");
    server.stop()?;
    assert!(launch.folder().join("of-the-file.db").exists());
    assert!(launch.folder().join("of-the-environment").exists());
    Ok(())
}

#[test]
fn config_show_says_where_each_value_comes_from_and_hides_passwords() -> Result<()> {
    let launch = configured("database = \"postgres://ann:hunter2@db.example/prod\"\n")?;
    let show = launch.beside(["config", "show", "--capacity", "7"]).variable("LEASEHOLD_PROBATION", "1m");
    let ended = show.run_to_completion()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let line = |name: &str| {
        ended.stdout.lines().find(|line| line.starts_with(name)).with_context(|| format!("{name} is missing"))
    };
    assert!(
        line("database =")?.contains("ann:***@db.example") && line("database =")?.ends_with("leasehold.toml")
    );
    assert!(line("probation =")?.ends_with("# LEASEHOLD_PROBATION"));
    assert!(line("capacity =")?.ends_with("# command line"));
    assert!(line("listen =")?.ends_with("# default"));
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
    Ok(())
}

#[test]
fn config_check_finds_what_a_start_would_and_starts_nothing() -> Result<()> {
    let good = configured("listen = \"127.0.0.1:0\"\n")?.beside(["config", "check"]);
    let ended = good.run_to_completion()?;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "the configuration can be used\n"),
        "{}",
        ended.log
    );
    for (file, variable, expected) in [
        ("lisen = \"x\"", ("A", ""), "\"lisen\" is no option"),
        ("policy = \"no/such.wasm\"", ("A", ""), "no/such.wasm"),
        ("tls-cert = \"no/such.pem\"", ("A", ""), "--tls-key"),
        ("", ("LEASEHOLD_LISTN", "x"), "LEASEHOLD_LISTN is no variable"),
        ("", ("LEASEHOLD_LISTEN", "nowhere"), "--listen \"nowhere\" is no address"),
        ("", ("LEASEHOLD_KEEP_ALIVE", "0s"), "LEASEHOLD_KEEP_ALIVE"),
        ("token-policy = \"mine\"", ("A", ""), "--token-policy"),
        ("admin-tokens = [\"no/such.tokens\"]", ("A", ""), "no/such.tokens"),
        ("database-file = \"no/such.url\"", ("A", ""), "--database-file no/such.url"),
    ] {
        let launch = configured(file)?.beside(["config", "check"]).variable(variable.0, variable.1);
        let ended = launch.run_to_completion()?;
        assert_eq!(ended.code, Some(1), "{file:?} {variable:?}: {}", ended.log);
        assert!(ended.log.contains(expected), "{file:?} {variable:?}: {}", ended.log);
        let made: Vec<_> = fs::read_dir(launch.folder())?.collect::<Result<_, _>>()?;
        assert_eq!(made.len(), 1, "beside its file it made {made:?}");
    }
    Ok(())
}

#[test]
fn sighup_reads_the_file_again_and_says_what_takes_a_restart() -> Result<()> {
    let launch = configured("listen = \"127.0.0.1:0\"\n\n[setting]\nttl = \"7s\"\n")?;
    let server = launch.server()?;
    let file = launch.folder().join("leasehold.toml");
    let ttl =
        || anyhow::Ok(server.admin("GET", "/admin/policy", no_body())?.json(200)?["settings"]["ttl"].clone());
    fs::write(&file, "listen = \"127.0.0.1:0\"\ncapacity = 9\n\n[setting]\nttl = \"8s\"\n")?;
    server.hang_up()?;
    until("it is read again", || Ok(ttl()? == "8s"))?;
    let log = server.log()?;
    assert!(log.contains("takes a restart option=\"capacity\""), "{log}");
    assert!(!log.contains("option=\"listen\""), "{log}");
    fs::write(&file, "listen = \n")?;
    server.hang_up()?;
    until("it is read again", || Ok(server.log()?.contains("cannot be read again")))?;
    assert_eq!(ttl()?, "8s");
    server.stop()?;
    Ok(())
}
