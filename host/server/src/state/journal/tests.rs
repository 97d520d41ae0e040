//! The lines of the record, and what becomes of them where the thread cannot keep up.

use serde_json::Value;

use super::*;

fn workspace(id: &str) -> WorkspaceId {
    WorkspaceId::new(id).unwrap()
}

fn lines(folder: &std::path::Path) -> Vec<Value> {
    let record = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    record.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Makes a journal whose thread is the test's own to run.
fn unwritten(folder: &std::path::Path) -> (Journal, impl FnOnce()) {
    let (tx, rx) = mpsc::channel();
    let heals = Arc::<Heals>::default();
    let state = State::open(folder).unwrap();
    let writer = JournalWriter::new(state, Requested::new("ttl", &[], None), Arc::clone(&heals));
    (Journal { tx, heals }, move || writer.write_all(&rx))
}

#[test]
fn heals_that_find_no_room_are_counted_in_the_record_and_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, write) = unwritten(folder.path());
    let secret = Secret::new("s");
    for n in 0..10_007 {
        journal.note_heal(&workspace(&format!("w-{n}")), Some(&secret), "192.0.2.1:5");
    }
    journal.note_refused("start", "ttl", "read", "a change that is no heal finds room");
    drop(journal);
    write();
    let lines = lines(folder.path());
    let count = |cause: &str| lines.iter().filter(|line| line["cause"] == cause).count();
    assert_eq!((count("heal"), count("swap"), count("lost")), (10_000, 1, 1));
    let lost = lines.iter().find(|line| line["cause"] == "lost").unwrap();
    assert_eq!(lost["heals"], 7);
    let first = &lines[if lines[0]["cause"] == "lost" { 1 } else { 0 }];
    assert_eq!((&first["by"], &first["workspace"]), (&"heartbeat from 192.0.2.1:5".into(), &"w-0".into()));
}

#[tokio::test]
async fn a_flush_waits_for_the_lines_before_it_and_what_comes_after_the_end_is_still_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let journal = Journal::start(state, Requested::new("ttl", &[], None)).unwrap();
    for n in 0..100 {
        journal.note_heal(&workspace(&format!("w-{n}")), None, "192.0.2.1:5");
    }
    assert!(journal.flushed().await);
    assert_eq!(lines(folder.path()).len(), 100);
    assert_eq!(lines(folder.path())[99]["outcome"], "unknown");
    journal.close().await;
    let _successor = State::open(folder.path()).unwrap();
    journal.note_heal(&workspace("late"), None, "192.0.2.1:5");
    journal.flushed().await;
    assert_eq!(lines(folder.path())[100]["workspace"], "late");
}
