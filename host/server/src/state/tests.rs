//! The kept state, and what a crash or a damaged disk leaves of it.

use serde_json::{Value, json};

use super::*;

fn policy(bytes: &'static [u8], ttl: &str) -> Policy {
    Policy::from_bytes(bytes).setting("ttl", ttl)
}

fn retained(policy: &Policy) -> RetainedPolicy {
    RetainedPolicy { policy: policy.clone(), proven: true }
}

fn as_requested(policy: &Policy) -> Requested {
    let settings: Vec<String> =
        policy.settings().iter().map(|(name, value)| format!("{name}={value}")).collect();
    Requested::new("policy.wasm", &settings, Some(policy))
}

fn keep(state: &State, requested: &Policy, active: &Policy, previous: &[&Policy]) {
    let previous = previous.iter().map(|policy| retained(policy)).collect();
    let checkpoint = Checkpoint { active: retained(active), previous, highest_revision: 7 };
    state.keep(&as_requested(requested), &checkpoint).unwrap();
}

type Shown = (String, Vec<(String, String)>, Option<String>);

fn named(policy: &Policy) -> Shown {
    let signature = policy.signature().map(str::to_owned);
    (policy.digest().to_owned(), policy.settings().to_vec(), signature)
}

#[test]
fn what_was_kept_comes_back_in_order_while_the_command_line_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (requested, old, new) =
        (policy(b"asked", "1m"), policy(b"old", "2m"), policy(b"new", "3m").signed("s"));
    {
        let state = State::open(&folder.path().join("state")).unwrap();
        assert!(state.kept().is_none());
        keep(&state, &requested, &old, &[]);
        keep(&state, &requested, &new, &[&requested, &old]);
    }
    let state = State::open(&folder.path().join("state")).unwrap();
    let kept = state.kept().unwrap();
    assert_eq!((named(&kept.active.policy), state.highest_revision().unwrap()), (named(&new), 7));
    assert!(kept.is_of(&as_requested(&requested)) && kept.is_as_read(&as_requested(&requested)));
    assert_eq!(
        kept.previous.iter().map(|kept| named(&kept.policy)).collect::<Vec<_>>(),
        [named(&requested), named(&old)]
    );
    assert!(!kept.is_of(&as_requested(&policy(b"asked", "5m"))), "other settings are another command line");
    let changed = as_requested(&policy(b"changed", "1m"));
    assert!(kept.is_of(&changed) && !kept.is_as_read(&changed), "the same file with something else in it");
    let starts: Vec<_> =
        kept.starts().iter().map(|(first, previous)| (named(&first.policy), previous.len())).collect();
    assert_eq!(starts, [(named(&new), 2), (named(&old), 1), (named(&requested), 0)]);
    fs::write(state.folder.join(COMPONENTS).join("notes.txt"), "somebody's").unwrap();
    keep(&state, &requested, &new, &[]);
    assert_eq!(fs::read_dir(folder.path().join("state").join(COMPONENTS)).unwrap().count(), 2);
}

#[test]
fn a_start_resumes_what_was_active_unless_the_command_line_or_its_file_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let (requested, active) = (policy(b"asked", "1m"), policy(b"active", "2m"));
    keep(&state, &requested, &active, &[&requested]);
    let kept = state.kept().unwrap();
    let tried = |chosen: Option<&Policy>, requested: &Requested| {
        let candidates = candidates(chosen, Some(&kept), requested);
        let shown = |(first, previous): &StartCandidate| (named(&first.policy), previous.len());
        candidates.iter().map(shown).collect::<Vec<_>>()
    };
    let resumed = [(named(&active), 1), (named(&requested), 0)];
    assert_eq!(tried(Some(&requested), &as_requested(&requested))[..2], resumed, "nothing has changed");
    let changed = policy(b"changed", "1m");
    assert_eq!(tried(Some(&changed), &as_requested(&changed))[0], (named(&changed), 2));
    assert_eq!(
        tried(Some(&changed), &as_requested(&changed))[1..],
        resumed,
        "and so it does if the file is no good"
    );
    let unread = Requested::new("policy.wasm", &["ttl=1m".to_owned()], None);
    assert_eq!(tried(None, &unread), resumed, "the file is gone");
    let another = policy(b"asked", "5m");
    assert_eq!(
        tried(Some(&another), &as_requested(&another)),
        [(named(&another), 2)],
        "the old one was not asked for"
    );
    assert_eq!(tried(None, &as_requested(&another)), []);
}

#[test]
fn a_damaged_component_is_passed_over_for_the_one_before_it_and_a_damaged_list_for_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let (requested, old, new) = (policy(b"asked", "1m"), policy(b"old", "2m"), policy(b"new", "3m"));
    keep(&state, &requested, &new, &[&requested, &old]);
    fs::write(state.component(new.digest()), b"ne").unwrap();
    let kept = state.kept().unwrap();
    assert_eq!((named(&kept.active.policy), kept.previous.len()), (named(&old), 1));
    keep(&state, &requested, &new, &[&requested]);
    assert_eq!(named(&state.kept().unwrap().active.policy), named(&new), "it is mended with the next change");
    for text in ["", "{", "{}", "[]"] {
        fs::write(folder.path().join(POLICIES), text).unwrap();
        assert!(state.kept().is_none(), "{text:?}");
    }
}

/// Changes the file as another server would have written it.
fn edit(state: &State, change: impl Fn(&mut Value)) -> String {
    let path = state.folder.join(POLICIES);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    let text = value.to_string();
    fs::write(path, &text).unwrap();
    text
}

/// Returns the texts that were set aside.
fn aside(state: &State) -> Vec<String> {
    let files = fs::read_dir(&state.folder).unwrap().map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("policies.") && name != POLICIES
    };
    files.filter(is_aside).map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn a_field_that_is_not_known_is_kept_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let (old, new) = (policy(b"old", "2m"), policy(b"new", "3m"));
    keep(&state, &old, &old, &[]);
    let theirs = policy(b"named in a field", "1m");
    fs::write(state.component(theirs.digest()), theirs.component()).unwrap();
    edit(&state, |value| {
        value["wave"] = json!({ "of": [1, 2], "component": theirs.digest() });
        value["requested"]["by"] = json!("alice");
        value["active"]["note"] = json!({ "why": null });
    });
    assert_eq!(named(&state.kept().unwrap().active.policy), named(&old), "it is no damage");
    keep(&state, &old, &new, &[&old]);
    let value: Value = serde_json::from_slice(&fs::read(folder.path().join(POLICIES)).unwrap()).unwrap();
    assert_eq!(value["wave"]["of"], json!([1, 2]));
    assert_eq!(
        (&value["requested"]["by"], &value["previous"][0]["note"]),
        (&json!("alice"), &json!({ "why": null }))
    );
    assert!(value["active"].get("note").is_none() && aside(&state).is_empty(), "{value}");
    assert!(state.component(theirs.digest()).exists(), "what a field names may be needed");
}

#[test]
fn a_newer_servers_list_is_resumed_as_far_as_it_is_understood_and_set_aside_with_its_components() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let (old, new) = (policy(b"old", "2m"), policy(b"new", "3m"));
    keep(&state, &old, &old, &[]);
    let newer = edit(&state, |value| value["version"] = json!(99));
    assert_eq!(named(&state.kept().unwrap().active.policy), named(&old));
    assert_eq!(fs::read_to_string(folder.path().join(POLICIES)).unwrap(), newer, "reading changes nothing");
    keep(&state, &new, &new, &[]);
    assert_eq!(aside(&state), [newer.as_str()]);
    assert_eq!(named(&state.kept().unwrap().active.policy), named(&new));
    assert!(state.component(old.digest()).exists(), "the list that was set aside names it");
    let strange = r#"{"version":100,"policies":["in another way"]}"#;
    fs::write(folder.path().join(POLICIES), strange).unwrap();
    assert!(state.kept().is_none(), "nothing of it is understood");
    keep(&state, &new, &new, &[]);
    assert!(aside(&state).iter().any(|text| text == strange) && aside(&state).len() == 2);
}

#[test]
fn a_damaged_list_is_set_aside_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let new = policy(b"new", "3m");
    for (count, text) in ["{", "{}", r#"{"version":"1"}"#, "\u{0}\u{0}"].iter().enumerate() {
        fs::write(folder.path().join(POLICIES), text).unwrap();
        assert!(state.kept().is_none(), "{text:?}");
        keep(&state, &new, &new, &[]);
        assert!(aside(&state).iter().any(|aside| aside == text), "{text:?} is gone");
        assert_eq!(aside(&state).len(), count + 1);
    }
}

#[test]
fn a_line_that_a_crash_cut_short_stays_alone_on_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.append("1").unwrap();
    fs::write(folder.path().join(AUDIT), "1\n{\"cut").unwrap();
    state.append("2").unwrap();
    state.append("3").unwrap();
    assert_eq!(fs::read_to_string(folder.path().join(AUDIT)).unwrap(), "1\n{\"cut\n2\n3\n");
}

#[test]
fn a_second_server_is_refused_while_the_first_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let _first = State::open(folder.path()).unwrap();
    let message = format!("{:#}", State::open(folder.path()).err().unwrap());
    assert!(message.contains("another server uses") && message.contains("--state-dir"), "{message}");
}
