//! What is kept, and what a crash or a damaged disk leaves of it.

use super::*;

fn policy(bytes: &'static [u8], ttl: &str) -> Policy {
    Policy::from_bytes(bytes).setting("ttl", ttl)
}

type Named = (String, Vec<(String, String)>, Option<String>);

fn named(policy: &Policy) -> Named {
    let signature = policy.signature().map(str::to_owned);
    (policy.digest().to_owned(), policy.settings().to_vec(), signature)
}

#[test]
fn what_was_kept_comes_back_in_order_while_the_command_line_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, old, new) = (policy(b"asked", "1m"), policy(b"old", "2m"), policy(b"new", "3m").signed("s"));
    {
        let state = State::open(&folder.path().join("state")).unwrap();
        assert!(state.kept(&asked).is_none());
        state.keep(&asked, &old, &[], 7).unwrap();
        state.keep(&asked, &new, &[asked.clone(), old.clone()], 7).unwrap();
    }
    let state = State::open(&folder.path().join("state")).unwrap();
    let kept = state.kept(&asked).unwrap();
    assert_eq!((named(&kept.active), kept.highest_revision), (named(&new), 7));
    assert_eq!(kept.previous.iter().map(named).collect::<Vec<_>>(), [named(&asked), named(&old)]);
    assert!(state.kept(&policy(b"asked", "5m")).is_none(), "other settings are another command line");
    state.keep(&asked, &new, &[], 7).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("state").join(COMPONENTS)).unwrap().count(), 1);
}

#[test]
fn a_damaged_component_is_passed_over_for_the_one_before_it_and_a_damaged_list_for_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let (asked, old, new) = (policy(b"asked", "1m"), policy(b"old", "2m"), policy(b"new", "3m"));
    state.keep(&asked, &new, &[asked.clone(), old.clone()], 7).unwrap();
    fs::write(state.component(new.digest()), b"ne").unwrap();
    let kept = state.kept(&asked).unwrap();
    assert_eq!((named(&kept.active), kept.previous.len()), (named(&old), 1));
    for text in ["", "{", "{}", "[]"] {
        fs::write(folder.path().join(POLICIES), text).unwrap();
        assert!(state.kept(&asked).is_none(), "{text:?}");
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
