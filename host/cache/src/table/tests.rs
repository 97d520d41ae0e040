//! Tests of the table alone: what a lease covers, what goes when it is full, and that nothing unwiped is left
//! behind.

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

fn at(generation: Generation, now: u64) -> Moment<impl FnOnce() -> bool> {
    Moment { generation, now: Instant::from_nanos(now), watched: || false }
}

fn read(table: &Table, n: usize, now: u64) -> Found<String> {
    table.lookup(&id(n), || at(Generation::FIRST, now), |secret| secret.expose_str().unwrap().to_string())
}

#[test]
fn only_the_first_hit_after_refresh_after_refreshes() {
    let table = Table::new(10);
    table.store(&id(1), entry("a", 50, 100, 100));
    assert!(matches!(read(&table, 1, 50), Found::Hit(Value::Present(value)) if value == "a"));
    assert!(matches!(read(&table, 1, 51), Found::Refresh(Value::Present(_))));
    assert!(matches!(read(&table, 1, 52), Found::Hit(Value::Present(_))));
    assert!(matches!(read(&table, 1, 100), Found::Expired));
    assert!(matches!(read(&table, 2, 1), Found::Expired));
}

#[test]
fn a_lease_that_is_due_for_months_does_not_refresh_with_each_hit() {
    let table = Table::new(10);
    let now = 100 * 24 * 3_600 * 1_000_000_000;
    table.store(&id(1), entry("a", 0, u64::MAX, u64::MAX));
    assert!(matches!(read(&table, 1, now), Found::Refresh(Value::Present(_))));
    assert!(matches!(read(&table, 1, now + 1), Found::Hit(Value::Present(_))));
}

/// Counts the milliseconds up to `end` at which a hit asks for a refresh that puts the same value again: as
/// often as the policy is called.
fn fruitless_refreshes(lease_of: impl Fn(u64) -> Entry, end: u64) -> usize {
    let table = Table::new(10);
    table.store(&id(1), lease_of(1));
    let asks = |now: &u64| {
        let asks = matches!(read(&table, 1, now * 1_000_000), Found::Refresh(_));
        if asks {
            table.store(&id(1), lease_of(*now));
        }
        asks
    };
    (1..end).filter(asks).count()
}

#[test]
fn a_refresh_that_puts_the_same_again_is_not_asked_for_by_the_next_hit() {
    const MS: u64 = 1_000_000;
    let end = 150_000;
    let the_same = |_| entry("a", 50, end * MS, end * MS);
    let always = |_| entry("a", 0, end * MS, end * MS);
    let a_little_later = |now: u64| entry("a", (now + 1) * MS, end * MS, end * MS);
    // Refreshes come after 5 s, 10 s, 20 s, 40 s, 80 s and 140 s: the pause is as long again as the refresh
    // has been due, and a minute at most.
    assert_eq!(fruitless_refreshes(the_same, end), 7);
    assert_eq!(fruitless_refreshes(always, end), 7);
    // A lease that puts the refresh off by itself is held to the shortest pause.
    assert_eq!(fruitless_refreshes(a_little_later, end), 30);
}

#[test]
fn what_is_newer_or_from_another_policy_is_refreshed_by_its_own_lease() {
    type Next = fn(u64) -> Entry;
    let newer = |now: u64| Entry { obtained_at: Instant::from_nanos(now), ..entry("b", 60, 100, 100) };
    let another = |_| Entry { generation: Generation::FIRST.next(), ..entry("a", 60, 100, 100) };
    let cases: [(Next, Generation); 2] = [(newer, Generation::FIRST), (another, Generation::FIRST.next())];
    for (next, generation) in cases {
        let table = Table::new(10);
        table.store(&id(1), entry("a", 50, 100, 100));
        assert!(matches!(read(&table, 1, 51), Found::Refresh(_)));
        table.store(&id(1), next(51));
        let read = |now| table.lookup(&id(1), || at(generation, now), |_| ());
        assert!(matches!(read(60), Found::Hit(_)) && matches!(read(61), Found::Refresh(_)));
    }
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

#[test]
fn what_is_replaced_beside_an_answer_that_does_not_return_is_wiped_once_it_has_returned() {
    let table = Table::new(10_000);
    table.store(&id(1), entry("a", 50, 100, 100));
    let store = |n: usize| {
        let entry = entry("a", 50, 100, 100);
        let secret = entry.value.clone().unwrap();
        table.store(&id(n), entry);
        secret
    };
    let found = table.lookup(
        &id(1),
        || at(Generation::FIRST, 0),
        |_| {
            // Other threads go on as ever: with the same workspace, and with another one.
            std::thread::scope(|threads| {
                let stores = || (0..1_000).flat_map(|_| [store(1), store(2)]).collect::<Vec<_>>();
                threads.spawn(stores).join().unwrap()
            })
        },
    );
    let Found::Hit(Value::Present(replaced)) = found else { panic!("a lease covers it") };
    store(1);
    store(2);
    let left = replaced.iter().filter(|secret| secret.handles() > 1).count();
    assert!(left <= 4, "{left} of {} are still held", replaced.len());
}

#[test]
fn what_an_answer_that_does_not_return_holds_back_is_bounded() {
    let table = Table::new(10);
    let store = |n: usize| table.store(&id(n), entry("a", 50, 100, 100));
    store(1);
    store(2);
    table.lookup(
        &id(1),
        || at(Generation::FIRST, 0),
        |_| {
            std::thread::scope(|threads| {
                threads.spawn(|| (0..10 * MIN_HELD).for_each(|_| store(2)));
            });
            assert!(table.held().abs_diff(MIN_HELD) <= 4, "{} are held", table.held());
            assert!(
                matches!(read(&table, 2, 0), Found::Expired),
                "what is old is gone though nothing is stored"
            );
            assert!(matches!(read(&table, 1, 0), Found::Hit(_)), "what is stored is answered");
        },
    );
    store(1);
    store(2);
    assert!(table.held() <= 4, "{} are still held", table.held());
    assert!(matches!(read(&table, 2, 0), Found::Hit(_)), "it stores again");
}
