//! The places where a server listens: TLS, HTTP/2, Unix sockets, sockets of a service manager, operators
//! apart; each with a client that is not ours.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener};

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::server::{ADMIN_TOKEN, Launch, Starting};
use leasehold_tests::tls::{curl, file};
use leasehold_tests::until;

const DATABASE: &str = "sqlite://test.db?mode=rwc";
/// Describes a server that listens at an address.
fn serve(listen: &str) -> Result<Launch> {
    let launch = Launch::alone(["serve", "--listen", listen, "--database", DATABASE])?;
    Ok(launch.variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN))
}

const OK: &str = "200 {\"status\":\"ok\"}";

/// Starts a server, and returns the addresses that it says.
fn listening(launch: &Launch) -> Result<(Starting, Vec<String>)> {
    let mut server = launch.begin()?;
    let lines = if launch_has_admin(launch) { 2 } else { 1 };
    let mut addresses = Vec::new();
    for _ in 0..lines {
        let line = server.next_line()?;
        let line = line.with_context(|| format!("it ended: {}", server.log().unwrap_or_default()))?;
        addresses.push(line.rsplit_once(" on ").context("no address")?.1.to_owned());
    }
    Ok((server, addresses))
}

fn launch_has_admin(launch: &Launch) -> bool {
    format!("{launch:?}").contains("--admin-listen")
}

/// Returns the arguments of a certificate that is beside the server.
fn tls(launch: &Launch, name: &str) -> Result<()> {
    fs::copy(file(&format!("{name}.pem")), launch.folder().join("cert.pem"))?;
    fs::copy(file(&format!("{name}.key.pem")), launch.folder().join("key.pem"))?;
    Ok(())
}

fn with_tls() -> Result<Launch> {
    let launch = Launch::new(DATABASE)?.arguments(["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    tls(&launch, "one")?;
    Ok(launch)
}

/// Returns the URL of a path under the name that the certificates are for.
fn by_name(address: &str, path: &str) -> String {
    format!("{}{path}", address.replace("127.0.0.1", "localhost"))
}

#[test]
fn tls_speaks_both_versions_and_plain_text_gets_nowhere() -> Result<()> {
    let (server, addresses) = listening(&with_tls()?)?;
    let one = file("one.pem");
    let trusted = ["--cacert", one.to_str().context("a path that is no text")?];
    let url = by_name(&addresses[0], "/healthz");
    ensure!(url.starts_with("https://"), "{url}");
    for (version, expected) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let answer = curl(&[trusted[0], trusted[1], version, &url])?;
        assert_eq!(answer, format!("{expected} {OK}"));
    }
    assert!(curl(&[&url]).is_err(), "a client that does not know the certificate was content");
    assert!(curl(&[&url.replace("https", "http")]).is_err(), "it answered in plain text");
    assert_eq!(server.terminated()?.code, Some(0));
    Ok(())
}

#[test]
fn an_operators_command_speaks_tls_with_a_certificate_that_it_is_told_to_trust() -> Result<()> {
    let launch = with_tls()?;
    let (server, addresses) = listening(&launch)?;
    let url = by_name(&addresses[0], "");
    let ask = |ca: &str| {
        let arguments = ["workspace", "create", "w", "--server", &url, "--ca", ca];
        launch.beside(arguments).variable("LEASEHOLD_ADMIN_TOKEN", ADMIN_TOKEN).run_to_completion()
    };
    let ended = ask("cert.pem")?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (ca, expected) in
        [("none.pem", "cannot read --ca none.pem"), ("key.pem", "--ca key.pem has no certificate")]
    {
        let ended = ask(ca)?;
        assert!(ended.code == Some(1) && ended.log.contains(expected), "{ca}: {}", ended.log);
    }
    let other = file("other.pem");
    let ended = ask(other.to_str().context("a path that is no text")?)?;
    assert!(ended.code == Some(1) && ended.log.contains("no answer from"), "{}", ended.log);
    assert_eq!(server.terminated()?.code, Some(0));
    Ok(())
}

#[test]
fn a_certificate_is_read_again_on_sighup_and_a_bad_one_leaves_it() -> Result<()> {
    let launch = with_tls()?;
    let (server, addresses) = listening(&launch)?;
    let url = by_name(&addresses[0], "/healthz");
    let (one, other) = (file("one.pem"), file("other.pem"));
    let [one, other] = [&one, &other].map(|path| path.to_str().unwrap_or_default());
    tls(&launch, "other")?;
    server.hang_up()?;
    until("the new certificate is used", || Ok(curl(&["--cacert", other, &url]).is_ok()))?;
    assert!(curl(&["--cacert", one, &url]).is_err());
    // A renewal that was copied half-way: the certificate without its key.
    fs::copy(file("one.pem"), launch.folder().join("cert.pem"))?;
    server.hang_up()?;
    until("it says so", || Ok(server.log()?.contains("the one in use stays")))?;
    assert!(curl(&["--cacert", other, &url]).is_ok());
    assert_eq!(server.terminated()?.code, Some(0));
    Ok(())
}

#[test]
fn http2_is_spoken_without_tls_by_those_who_know() -> Result<()> {
    let (server, addresses) = listening(&Launch::new(DATABASE)?)?;
    let url = format!("{}/healthz", addresses[0]);
    assert_eq!(curl(&["--http2-prior-knowledge", &url])?, format!("2 {OK}"));
    assert_eq!(curl(&["--http1.1", &url])?, format!("1.1 {OK}"));
    assert_eq!(server.terminated()?.code, Some(0));
    Ok(())
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_its_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("own.sock");
    let listen = format!("unix:{}", path.display());
    let launch = serve(&listen)?.arguments(["--socket-mode", "600"]);
    let text = path.to_str().context("a path that is no text")?;
    let answer = || curl(&["--unix-socket", text, "http://localhost/healthz"]);
    let (server, addresses) = listening(&launch)?;
    assert_eq!(addresses, std::slice::from_ref(&listen));
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(answer()?, format!("1.1 {OK}"));
    // Another server does not take it away.
    let second =
        launch.beside(["serve", "--listen", &listen, "--state-dir", "second"]).run_to_completion()?;
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(second.log.contains("another program listens"), "{}", second.log);
    assert_eq!(answer()?, format!("1.1 {OK}"));
    // One that was killed leaves the file behind, which is no obstacle.
    assert_eq!(server.killed()?.code, None);
    assert!(path.exists());
    let (server, _) = listening(&launch)?;
    assert_eq!(answer()?, format!("1.1 {OK}"));
    assert_eq!(server.terminated()?.code, Some(0));
    assert!(!path.exists(), "the file was left behind");
    Ok(())
}

#[test]
fn a_socket_of_somebody_else_is_not_removed_at_the_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("own.sock");
    let (server, _) = listening(&serve(&format!("unix:{}", path.display()))?)?;
    fs::remove_file(&path)?;
    let _successor = UnixListener::bind(&path)?;
    let before = fs::metadata(&path)?.ino();
    assert_eq!(server.terminated()?.code, Some(0));
    assert_eq!(fs::metadata(&path)?.ino(), before);
    Ok(())
}

#[test]
fn operators_are_apart_and_heartbeats_are_not_theirs() -> Result<()> {
    let launch = Launch::new(DATABASE)?.arguments(["--admin-listen", "127.0.0.1:0"]);
    let (server, addresses) = listening(&launch)?;
    let status = |address: usize, path: &str| {
        let answer = curl(&[&format!("{}{path}", addresses[address])])?;
        anyhow::Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    for (path, public, operators) in [
        ("/healthz", "200", "200"),
        ("/readyz", "200", "200"),
        ("/metrics", "404", "200"),
        ("/admin/policy", "404", "401"),
        ("/workspaces/w/secret", "404", "401"),
        ("/registry/heartbeat", "405", "404"),
    ] {
        assert_eq!((status(0, path)?.as_str(), status(1, path)?.as_str()), (public, operators), "{path}");
    }
    assert_eq!(server.terminated()?.code, Some(0));
    Ok(())
}

#[test]
fn a_service_manager_is_told_of_the_start_a_reload_and_the_end() -> Result<()> {
    let launch = Launch::new(DATABASE)?;
    let path = launch.folder().join("notify.sock");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(leasehold_tests::MAX_WAIT))?;
    let next = || -> Result<String> {
        let mut message = [0; 1024];
        let length = socket.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..length]).trim_end().to_owned())
    };
    let launch = launch.variable("NOTIFY_SOCKET", path.to_str().context("a path that is no text")?);
    let (server, _) = listening(&launch)?;
    assert_eq!(next()?, "READY=1");
    server.hang_up()?;
    let reloading = next()?;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next()?, "READY=1");
    assert_eq!(server.terminated()?.code, Some(0));
    assert_eq!(next()?, "STOPPING=1");
    Ok(())
}

#[test]
fn wrong_values_are_refused_in_words_and_nothing_is_half_started() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    for (arguments, expected) in [
        (vec!["--listen", "localhost"], "--listen \"localhost\" is no address"),
        (vec!["--listen", &taken], "that no other program uses"),
        (vec!["--admin-listen", &taken], "cannot listen on --admin-listen"),
        (vec!["--admin-listen", "unix:no/such/folder/x"], "--admin-listen unix:no/such/folder/x"),
        (vec!["--listen", "systemd:3"], "no socket of this number was handed over"),
        (vec!["--listen", "unix:file"], "a file that is no socket"),
        (vec!["--tls-cert", "file"], "--tls-cert needs --tls-key"),
        (vec!["--tls-key", "file"], "--tls-key needs --tls-cert"),
        (
            vec!["--tls-cert", "none.pem", "--tls-key", "file"],
            "cannot read the certificate --tls-cert none.pem",
        ),
        (vec!["--tls-cert", "file", "--tls-key", "file"], "--tls-cert file has no certificate"),
        (vec!["--tls-cert", "cert.pem", "--tls-key", "file"], "--tls-key file has no private key"),
        (vec!["--tls-cert", "cert.pem", "--tls-key", "key.pem"], "does not go with --tls-cert"),
        (vec!["--config", "none.toml"], "cannot read the configuration none.toml"),
    ] {
        let is_first = arguments[0] == "--listen";
        let launch = if is_first { serve(arguments[1])? } else { Launch::new(DATABASE)? };
        let launch = if is_first { launch } else { launch.arguments(arguments.iter().copied()) };
        fs::File::create(launch.folder().join("file"))?.write_all(b"nothing in particular")?;
        fs::copy(file("one.pem"), launch.folder().join("cert.pem"))?;
        fs::copy(file("other.key.pem"), launch.folder().join("key.pem"))?;
        let ended = launch.run_to_completion()?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", ended.log);
        assert!(ended.log.contains(expected), "{arguments:?}: {}", ended.log);
        let mut left: Vec<_> = fs::read_dir(launch.folder())?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        left.sort();
        assert_eq!(left, ["cert.pem", "file", "key.pem"], "{arguments:?}");
    }
    for (arguments, expected) in [
        (["--keep-alive", "soon"], "expected a duration"),
        (["--header-timeout", "0s"], "expected between 100ms and 1day"),
        (["--socket-mode", "999"], "expected a mode in octal"),
        (["--max-connections", "1"], "expected a number between 16 and 1000000"),
    ] {
        let ended = Launch::new(DATABASE)?.arguments(arguments).run_to_completion()?;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.log);
        assert!(ended.log.contains(expected), "{arguments:?}: {}", ended.log);
    }
    Ok(())
}
