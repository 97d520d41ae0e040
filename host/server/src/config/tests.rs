use std::fs;

use super::*;
use crate::cli::Command as Asked;
use crate::options::Serve;

const TOML: &str = "
listen = \"127.0.0.1:1\"
probation = \"1m\"
probation-faults = 3
watch-policy = true
database = \"postgres://ann:hunter2@db.example/prod\"
pin-digest = [\"a\", \"b\"]

[setting]
ttl = \"30s\"
jitter = \"10%\"
";

fn read(words: &[&str], variables: &[(&str, &str)]) -> Result<Configured, ConfigError> {
    let words = ["leasehold"].iter().chain(words).map(OsString::from);
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Configured::read(&Layers::new(words, variables))
}

fn serve(words: &[&str], variables: &[(&str, &str)]) -> Serve {
    match read(words, variables).unwrap().cli.command {
        Asked::Serve(serve) => *serve,
        other => panic!("{other:?}"),
    }
}

fn refused(words: &[&str], variables: &[(&str, &str)]) -> String {
    match read(words, variables) {
        Ok(configured) => panic!("accepted: {configured:?}"),
        Err(ConfigError::CommandLine(error)) => error.to_string(),
        Err(ConfigError::Layer(error)) => format!("{error:#}"),
    }
}

/// Writes a file, and returns its path.
fn file(folder: &tempfile::TempDir, text: &str) -> String {
    let path = folder.path().join("leasehold.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, TOML);
    let words = ["serve", "--config", &path];
    let of_file = serve(&words, &[]);
    assert_eq!((of_file.listen.as_str(), of_file.probation_faults), ("127.0.0.1:1", 3));
    assert_eq!(of_file.probation.as_secs(), 60);
    assert_eq!(of_file.settings, ["jitter=10%", "ttl=30s"]);
    assert_eq!(of_file.pinned_digests, ["a", "b"]);
    assert!(of_file.watch_policy);
    let of_environment = [("LEASEHOLD_LISTEN", "127.0.0.1:2"), ("LEASEHOLD_SETTING", "ttl=1s, jitter=0s")];
    let above = serve(&words, &of_environment);
    assert_eq!(above.listen, "127.0.0.1:2");
    assert_eq!(above.settings, ["ttl=1s", "jitter=0s"]);
    let words = ["serve", "--config", &path, "--listen", "127.0.0.1:3", "--watch-policy=false"];
    let top = serve(&words, &of_environment);
    assert_eq!((top.listen.as_str(), top.watch_policy), ("127.0.0.1:3", false));
    assert_eq!(serve(&["serve"], &[]).listen, "127.0.0.1:8080");
}

#[test]
fn every_option_has_a_variable() {
    let options = serve_options(&definition());
    assert!(options.len() > 40, "{}", options.len());
    for (name, option) in options.iter().filter(|(name, _)| !matches!(name.as_str(), "help" | CONFIG)) {
        let values: Vec<String> =
            option.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let value = values.first().map_or("16", String::as_str);
        let variable = variable(name);
        let configured = read(&["serve"], &[(variable.as_str(), value)]);
        let unknown = match configured {
            Ok(configured) => configured.unknown,
            // A value that does not do for it was looked at.
            Err(ConfigError::Layer(error)) if format!("{error:#}").contains(&variable) => Vec::new(),
            Err(error) => panic!("{variable}: {error}"),
        };
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn the_other_commands_take_what_they_share_with_the_server() {
    let path = [("LEASEHOLD_DATABASE", "sqlite://there.db"), ("LEASEHOLD_FORCE", "true")];
    let configured = read(&["backup", "copy.db"], &path).unwrap();
    let Asked::Backup(backup) = configured.cli.command else { panic!("it is another command") };
    assert_eq!((backup.database.as_str(), backup.force), ("sqlite://there.db", false));
    assert_eq!(configured.unknown, ["LEASEHOLD_FORCE"]);
}

#[test]
fn a_value_that_cannot_be_used_is_named_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let message = refused(&["serve"], &[("LEASEHOLD_PROBATION", "soon")]);
    assert!(message.contains("LEASEHOLD_PROBATION") && message.contains("expected a duration"), "{message}");
    let path = file(&folder, "keep-alive = \"soon\"");
    let message = refused(&["serve", "--config", &path], &[]);
    assert!(message.contains("leasehold.toml: keep-alive") && message.contains("soon"), "{message}");
    for (text, expected) in [
        ("lisen = 1", "\"lisen\" is no option"),
        ("keep_alive = \"1s\"", "is keep-alive meant?"),
        ("probation = [\"1s\"]", "expected one value"),
        ("listen = 1979-05-27", "expected a text"),
        ("setting = [[1]]", "expected a list of texts"),
        ("listen = ", "line 1"),
        ("\n\nlisten = \"a\"\nlisten = \"b\"", "line 4"),
    ] {
        let message = refused(&["serve", "--config", &file(&folder, text)], &[]);
        assert!(message.contains(expected) && message.contains("leasehold.toml"), "{text:?}: {message}");
    }
    let message = refused(&["serve", "--config", "no/such.toml"], &[]);
    assert!(message.contains("no/such.toml") && message.contains("--config"), "{message}");
}

#[test]
fn an_error_in_the_file_does_not_show_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "database = \"postgres://ann:hunter2@db\nlisten = 1");
    let message = refused(&["serve", "--config", &path], &[]);
    assert!(message.contains("no TOML") && !message.contains("hunter2"), "{message}");
}

#[test]
fn what_is_shown_can_be_read_again_and_has_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, TOML);
    let configured = read(&["config", "show", "--config", &path, "--probation-faults=4"], &[]).unwrap();
    let shown = configured.values.toml();
    assert!(!shown.contains("hunter2"), "{shown}");
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("database =").contains("postgres://ann:***@db.example/prod"), "{shown}");
    assert!(line("probation-faults =").ends_with("# command line"), "{shown}");
    assert!(line("listen =").ends_with("leasehold.toml"), "{shown}");
    assert!(line("state-dir =").ends_with("# default"), "{shown}");
    let again = file(&folder, &shown);
    let again = serve(&["serve", "--config", &again], &[]);
    assert_eq!((again.listen.as_str(), again.probation_faults), ("127.0.0.1:1", 4));
    assert_eq!(again.settings, ["jitter=10%", "ttl=30s"]);
}

#[test]
fn a_password_is_hidden_wherever_it_is_in_a_url() {
    use crate::values::masked;
    assert_eq!(masked("postgres://a:b@c@h/d?x=1&password=y"), "postgres://a:***@h/d?x=1&password=***");
    assert_eq!(masked("postgres://a@h/d"), "postgres://a@h/d");
    assert_eq!(masked("ttl=5m"), "ttl=5m");
}

#[test]
fn what_has_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, TOML);
    let words = ["serve", "--config", &path];
    let before = serve(&words, &[]);
    file(&folder, &TOML.replace("1m", "2m"));
    let (after, values) = before.reread.unwrap().read().unwrap();
    assert_eq!(after.probation.as_secs(), 120);
    assert_eq!(before.values.changed(&values).collect::<Vec<_>>(), ["probation"]);
}
