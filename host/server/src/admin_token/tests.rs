//! The token of the environment, of a file that is named, and of one that is made.

use super::*;

const TOKEN: &str = "hunter2-hunter2-hunter2";

fn find(variable: Option<&str>, named: Option<&Path>, directory: &Path) -> anyhow::Result<FoundToken> {
    AdminTokenSource::find(variable.map(str::to_owned), named, directory)
}

fn refused(variable: Option<&str>, named: Option<&Path>, directory: &Path) -> String {
    match find(variable, named, directory) {
        Ok(_) => panic!("accepted"),
        Err(error) => format!("{error:#}"),
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_environment_wins_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let FoundToken { token, source } = find(Some(TOKEN), None, directory.path()).unwrap();
    assert!(*token == TOKEN && matches!(source, AdminTokenSource::Environment));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_token_that_is_empty_short_or_cannot_be_presented_is_refused_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    assert!(refused(Some(""), None, directory.path()).contains("is empty"));
    for (token, words) in [
        ("hun ter2 hunter2 hunter2", "has spaces"),
        ("hunte", "has 5 characters; expected 16 at least"),
        ("hunter2hunter2h", "has 15 characters"),
    ] {
        let message = refused(Some(token), None, directory.path());
        assert!(message.contains(words) && !message.contains("hun"), "{message}");
        let file = directory.path().join("named");
        write(&file, token, 0o600);
        let message = refused(None, Some(&file), directory.path());
        assert!(message.contains(words) && !message.contains("hun"), "{message}");
    }
}

#[test]
fn a_file_is_made_once_and_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let FoundToken { token: first, source } = find(None, None, directory.path()).unwrap();
    let AdminTokenSource::NewFile(path) = source else { panic!("{source}") };
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(*first, fs::read_to_string(&path).unwrap().trim_end());
    let FoundToken { token: second, source } = find(None, None, directory.path()).unwrap();
    assert!(first == second && matches!(source, AdminTokenSource::File(_)));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left behind");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join(FILE);
    for named in [None, Some(made.as_path())] {
        write(&made, &format!("{TOKEN}\n"), 0o640);
        let message = refused(None, named, directory.path());
        let says = |words: &str| message.contains(words);
        assert!(says("0640") && says("chmod 600") && !says("hunter2"), "{message}");
    }
}

#[test]
fn an_empty_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join(FILE), "\n", 0o600);
    assert!(refused(None, None, directory.path()).contains("is empty"));
}

#[test]
fn a_file_that_is_named_has_to_be_there_and_to_be_the_only_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let message = refused(None, Some(&path), directory.path());
    assert!(message.contains("LEASEHOLD_ADMIN_TOKEN_FILE") && message.contains("no such file"), "{message}");
    write(&path, &format!("{TOKEN}\n"), 0o600);
    assert_eq!(*find(None, Some(&path), directory.path()).unwrap().token, TOKEN);
    assert!(refused(Some(TOKEN), Some(&path), directory.path()).contains("unset one of them"));
    let file = path.to_str().map(str::to_owned);
    let known = known(AdminVariables { token: None, file }, directory.path()).unwrap();
    assert_eq!(*known, TOKEN);
}
