//! The written files, the refusals, and that a refusal leaves everything as it was. That the project builds
//! and serves is shown with the real binary in `tests/`.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// Makes a folder with an SDK where Leasehold's sources have it.
fn sources() -> TempDir {
    let sources = tempfile::tempdir().unwrap();
    let sdk = sources.path().join(SDK);
    fs::create_dir_all(&sdk).unwrap();
    fs::write(sdk.join("Cargo.toml"), format!("[package]\n{SDK_NAME}\n")).unwrap();
    sources
}

fn new(folder: PathBuf, sdk: Option<PathBuf>, around: &[&Path]) -> Result<String, String> {
    write(&NewPolicy { folder, sdk }, around.iter().copied()).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_sdk_is_found_upwards_from_either_path_and_the_nearest_one_counts() {
    let (outer, elsewhere) = (sources(), tempfile::tempdir().unwrap());
    let inner = outer.path().join("some/where");
    for (around, project) in [
        ([inner.as_path(), elsewhere.path()], "a"),
        ([elsewhere.path(), &outer.path().join("target/debug/leasehold")], "b"),
    ] {
        let folder = elsewhere.path().join(project);
        let next = new(folder.clone(), None, &around).unwrap();
        assert!(next.contains(project) && next.contains("cargo test"), "{next}");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let sdk = fs::canonicalize(outer.path().join(SDK)).unwrap();
        assert!(manifest.contains(&format!("path = \"{}\"", sdk.display())), "{manifest}");
        assert!(manifest.contains(&format!("name = \"{project}\"")), "{manifest}");
    }
    let error = new(elsewhere.path().join("c"), None, &[elsewhere.path()]).unwrap_err();
    assert!(error.contains("pass --sdk") && !elsewhere.path().join("c").exists(), "{error}");
}

#[test]
fn no_placeholder_is_left_and_every_file_is_there() {
    let sources = sources();
    let folder = sources.path().join("my-policy");
    new(folder.clone(), None, &[sources.path()]).unwrap();
    for (path, _) in FILES {
        let text = fs::read_to_string(folder.join(path)).unwrap();
        for placeholder in ["{name}", "{artifact}", "{sdk}"] {
            assert!(!text.contains(placeholder), "{placeholder} in {path}");
        }
    }
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("release/my_policy.wasm"), "{readme}");
}

#[test]
fn an_sdk_that_is_none_is_refused_and_a_path_with_quotes_is_not() {
    let (sources, elsewhere) = (sources(), tempfile::tempdir().unwrap());
    for sdk in [sources.path().to_owned(), elsewhere.path().join("missing")] {
        let error = new(elsewhere.path().join("p"), Some(sdk.clone()), &[]).unwrap_err();
        assert!(error.contains(&sdk.display().to_string()) && error.contains(SDK), "{error}");
        assert!(!elsewhere.path().join("p").exists());
    }
    let quoted = elsewhere.path().join("a \"quoted\" one");
    symlink(sources.path().join(SDK), &quoted).unwrap();
    new(elsewhere.path().join("p"), Some(quoted), &[]).unwrap();
    assert_eq!(toml_string(Path::new("/a \"b\"/c\\d")).unwrap(), r#"/a \"b\"/c\\d"#);
    assert!(toml_string(Path::new("/a\nb")).is_err());
}

#[test]
fn a_folder_with_anything_in_it_is_left_as_it_is() {
    let sources = sources();
    let made = |name: &str| sources.path().join(name);
    fs::create_dir(made("full")).unwrap();
    fs::write(made("full/.hidden"), "mine").unwrap();
    fs::write(made("a-file"), "mine").unwrap();
    symlink(made("nowhere"), made("a-link")).unwrap();
    for name in ["full", "a-file", "a-link"] {
        let error = new(made(name), None, &[sources.path()]).unwrap_err();
        assert!(error.contains(name) && error.contains("is there"), "{error}");
    }
    assert_eq!(fs::read_dir(made("full")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(made("a-file")).unwrap(), "mine");
    assert!(!made("nowhere").exists());
    fs::create_dir(made("empty")).unwrap();
    new(made("empty"), None, &[sources.path()]).unwrap();
    let again = new(made("empty"), None, &[sources.path()]).unwrap_err();
    assert!(again.contains("not empty"), "{again}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_reason() {
    let sources = sources();
    fs::write(sources.path().join("a-file"), "mine").unwrap();
    let error = new(sources.path().join("a-file/p"), None, &[sources.path()]).unwrap_err();
    assert!(error.contains("a-file/p") && error.contains("Not a directory"), "{error}");
}

#[test]
fn a_name_that_is_no_crates_is_refused_with_one_that_would_do() {
    for (name, would_do) in [
        ("My Policy", "my-policy"),
        ("Ttl", "ttl"),
        ("9lives", "policy-9lives"),
        ("-x-", "x"),
        ("fn", "my-fn"),
        ("test", "my-test"),
        ("leasehold_policy", "my-leasehold-policy"),
        ("pólicy", "p-licy"),
        ("ключ", "my-policy"),
        ("a.b", "a-b"),
    ] {
        let error = crate_name(Path::new("some/where").join(name).as_path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(&format!("{would_do:?} would do")), "{error}");
        assert_eq!(crate_name(Path::new(would_do)).unwrap(), would_do);
    }
    assert!(crate_name(Path::new(&"a".repeat(65))).is_err());
    for path in ["..", "/", ""] {
        let error = crate_name(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains("names no folder"), "{error}");
    }
    for name in ["a", "my-policy", "my_policy", "p2"] {
        assert_eq!(crate_name(Path::new(name)).unwrap(), name);
    }
    for taken in TAKEN.split_whitespace() {
        assert!(crate_name(Path::new(taken)).is_err(), "{taken}");
    }
}
