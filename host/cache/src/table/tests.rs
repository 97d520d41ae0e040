//! The table alone: what a lease covers, what goes when it is full, and that nothing unwiped is left behind.

use super::*;

fn id(n: usize) -> WorkspaceId {
    WorkspaceId::new(format!("w{n}")).unwrap()
}

fn entry(value: &str, refresh: u64, fresh: u64, keep: u64) -> Entry {
    let at = Instant::from_nanos;
    let lease = Lease {
        refresh_after: at(refresh),
        fresh_until: at(fresh),
        watched_until: at(fresh),
        keep_until: at(keep),
    };
    Entry::new(Snapshot { value: Some(Secret::new(value)), obtained_at: at(0), lease }, Generation::FIRST)
}

fn read(table: &Table, n: usize, now: u64) -> Found<String> {
    let terms = || (Generation::FIRST, Instant::from_nanos(now));
    table.lookup(&id(n), terms, |secret| secret.expose_str().unwrap().to_string())
}

#[test]
fn only_the_first_hit_after_refresh_after_refreshes() {
    let table = Table::new(10);
    table.store(&id(1), entry("a", 50, 100, 100));
    assert!(matches!(read(&table, 1, 50), Found::Hit(Some(value)) if value == "a"));
    assert!(matches!(read(&table, 1, 51), Found::Refresh(Some(_))));
    assert!(matches!(read(&table, 1, 52), Found::Hit(Some(_))));
    assert!(matches!(read(&table, 1, 100), Found::Expired));
    assert!(matches!(read(&table, 2, 1), Found::Expired));
}

#[test]
fn a_lease_that_is_due_for_months_does_not_refresh_with_each_hit() {
    let table = Table::new(10);
    let now = 100 * 24 * 3_600 * 1_000_000_000;
    table.store(&id(1), entry("a", 0, u64::MAX, u64::MAX));
    assert!(matches!(read(&table, 1, now), Found::Refresh(Some(_))));
    assert!(matches!(read(&table, 1, now + 1), Found::Hit(Some(_))));
}

#[test]
fn a_sweep_drops_what_is_no_longer_kept_and_nothing_else() {
    let table = Table::new(1_000);
    for n in 0..100 {
        table.store(&id(n), entry("a", 0, 0, n as u64));
    }
    assert_eq!(table.sweep(Instant::from_nanos(49)), 50);
    assert_eq!(table.len(), 50);
    assert!(table.snapshot(&id(50), Instant::from_nanos(49)).is_some());
    assert!(table.snapshot(&id(50), Instant::from_nanos(50)).is_none(), "it is not shown after keep-until");
}

#[test]
fn a_full_table_evicts_what_has_the_least_time_left() {
    let table = Table::new(160);
    for n in 0..161 {
        table.store(&id(n), entry("a", 0, 0, 1_000 + n as u64));
    }
    assert_eq!(table.evict(), 11, "one over the capacity and a sixteenth of it");
    assert_eq!(table.len(), 150);
    assert!(table.snapshot(&id(10), Instant::from_nanos(0)).is_none());
    assert!(table.snapshot(&id(11), Instant::from_nanos(0)).is_some());
    assert_eq!(table.evict(), 0, "it is below its capacity again");
}

#[test]
fn entries_that_end_together_are_not_all_evicted() {
    let table = Table::new(160);
    for n in 0..161 {
        table.store(&id(n), entry("a", 0, 0, 1_000));
    }
    assert_eq!(table.evict(), 11);
}

#[test]
fn a_replaced_removed_swept_or_cleared_value_is_dropped_at_once() {
    let table = Table::new(10);
    let secret = Secret::new("a");
    let handles = |secret: &Secret| secret.handles();
    let put = || {
        let mut stored = entry("", 0, 0, 10);
        stored.value = Some(secret.clone());
        table.store(&id(1), stored);
    };
    put();
    assert_eq!(handles(&secret), 2);
    table.store(&id(1), entry("b", 0, 0, 10));
    assert_eq!(handles(&secret), 1, "replaced");
    put();
    table.remove(&id(1));
    assert_eq!(handles(&secret), 1, "removed");
    put();
    table.sweep(Instant::from_nanos(10));
    assert_eq!(handles(&secret), 1, "swept");
    put();
    table.clear();
    assert_eq!(handles(&secret), 1, "cleared");
}
