//! The table by itself: borrowed entries, entries that are judged and replaced meanwhile, and refreshes.

use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::thread;

use crate::lease::{Generation, Moment};
use crate::model::{FAR, NOW, Stamp, lease, workspace};
use crate::sync::Arc;
use crate::table::{Found, Table};
use crate::{Instant, WorkspaceId};

const ACTIVE: Generation = Generation::FIRST;

fn store(table: &Table, workspace: &WorkspaceId, version: u64, end: Instant) {
    table.store(workspace, Stamp::new(workspace, version, ACTIVE).entry(lease(FAR, end), ACTIVE));
}

/// Returns what a hit gives at this moment. Borrows the secret over a few steps, in which other tasks may
/// drop it.
fn hit(table: &Table, workspace: &WorkspaceId, now: Instant) -> Option<Stamp> {
    let found = table.lookup(
        workspace,
        || Moment { generation: ACTIVE, now, watched: || false },
        |secret| {
            let before = Stamp::of(secret);
            crate::sync::point();
            assert_eq!(before, Stamp::of(secret), "a borrowed secret changed");
            before
        },
    );
    match found {
        Found::Hit(stamp) | Found::Refresh(stamp) => stamp.present(),
        Found::Expired => None,
    }
}

/// A reader beside everything that can drop its entry.
pub fn a_borrowed_secret_stays_whole_whatever_becomes_of_its_entry() {
    let (table, w) = (Arc::new(Table::new(1)), workspace("w"));
    store(&table, &w, 1, FAR);
    let reads = || {
        let (table, w) = (Arc::clone(&table), w.clone());
        thread::spawn(move || {
            if let Some(stamp) = hit(&table, &w, NOW) {
                assert_eq!(stamp.workspace, "w");
            }
            if let Some(kept) = table.snapshot(&w, NOW) {
                Stamp::of(&kept.value.expect("a secret is stored"));
            }
        })
    };
    let readers = [reads(), reads()];
    let drops = {
        let (table, v) = (Arc::clone(&table), workspace("v"));
        thread::spawn(move || {
            store(&table, &v, 1, NOW);
            table.sweep(NOW);
            table.evict();
            table.clear();
        })
    };
    store(&table, &w, 2, FAR);
    table.remove(&w);
    store(&table, &w, 3, FAR);
    for thread in readers.into_iter().chain([drops]) {
        thread.join().expect("it ends well");
    }
}

/// An entry that has ended is swept while another takes its place.
pub fn a_sweep_drops_no_entry_that_replaced_an_ended_one() {
    let (table, w, v) = (Arc::new(Table::new(10)), workspace("w"), workspace("v"));
    store(&table, &w, 1, NOW);
    store(&table, &v, 1, NOW);
    let sweeps = {
        let table = Arc::clone(&table);
        thread::spawn(move || table.sweep(NOW))
    };
    store(&table, &w, 2, FAR);
    let seen = hit(&table, &w, NOW);
    assert_eq!(seen.map(|stamp| stamp.version), Some(2), "it was just stored");
    let swept = sweeps.join().expect("it ends well");
    assert_eq!(hit(&table, &w, NOW).map(|stamp| stamp.version), Some(2), "the sweep saw the one before");
    assert!(hit(&table, &v, NOW).is_none());
    assert_eq!(table.len(), 1);
    assert!((1..=2).contains(&swept), "{swept}");
}

/// The entry that would be evicted is replaced by one that would not.
pub fn an_eviction_drops_no_entry_that_replaced_the_one_with_the_least_time_left() {
    let table = Arc::new(Table::new(2));
    let (w, v, u) = (workspace("w"), workspace("v"), workspace("u"));
    let later = |nanos| Instant::from_nanos(NOW.as_nanos() + nanos);
    store(&table, &w, 1, later(1));
    store(&table, &v, 1, later(3));
    store(&table, &u, 1, later(4));
    let evicts = || {
        let table = Arc::clone(&table);
        thread::spawn(move || table.evict())
    };
    let evicting = [evicts(), evicts()];
    store(&table, &w, 2, later(9));
    for thread in evicting {
        thread.join().expect("it ends well");
    }
    // The evicted entry is one that was the last when it was judged, never the entry that has come since.
    assert_eq!(hit(&table, &w, NOW).map(|stamp| stamp.version), Some(2), "it has the most time left");
    table.evict();
    assert_eq!(table.len(), 2);
}

/// Three evictions of a table that is over its capacity by one: a sixteenth of the capacity and the one in
/// excess are dropped, once.
pub fn evictions_at_once_drop_no_more_than_one_would() {
    let table = Arc::new(Table::new(16));
    for index in 0..17_u64 {
        store(&table, &workspace(&format!("w{index}")), 1, Instant::from_nanos(NOW.as_nanos() + index));
    }
    let evicting = [(); 3].map(|()| {
        let table = Arc::clone(&table);
        thread::spawn(move || table.evict())
    });
    for thread in evicting {
        thread.join().expect("it ends well");
    }
    assert_eq!(table.len(), 15);
}

/// Three hits of an entry whose lease asks for a refresh.
pub fn a_refresh_is_claimed_by_one_of_the_hits_that_find_it_due() {
    let (table, w) = (Arc::new(Table::new(1)), workspace("w"));
    let due = lease(Instant::from_nanos(1), FAR);
    table.store(&w, Stamp::new(&w, 1, ACTIVE).entry(due, ACTIVE));
    let claimed = Arc::new(AtomicUsize::new(0));
    let hits = [(); 3].map(|()| {
        let (table, w, claimed) = (Arc::clone(&table), w.clone(), Arc::clone(&claimed));
        thread::spawn(move || match table.lookup(&w, || crate::model::now(ACTIVE), Stamp::of) {
            Found::Refresh(_) => drop(claimed.fetch_add(1, Ordering::Relaxed)),
            Found::Hit(_) => {}
            Found::Expired => panic!("its lease covers this"),
        })
    });
    for hit in hits {
        hit.join().expect("it ends well");
    }
    assert_eq!(claimed.load(Ordering::Relaxed), 1);
}
