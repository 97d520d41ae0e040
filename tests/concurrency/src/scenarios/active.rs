//! The active cell: a reader that sees a generation finds what is active under it, or something newer.

use shuttle::thread;

use crate::policy::rollout::active::ActiveCell;
use crate::sync::{Arc, Mutex};

/// Two threads that replace it in turn, and two that look at the generation first and at the value then.
pub fn whoever_sees_a_generation_finds_its_value_or_a_newer_one() {
    // The active value is the number of its own generation.
    let cell = Arc::new(ActiveCell::new(1_u64));
    let turn = Arc::new(Mutex::new(()));
    let readers = [(); 2].map(|()| {
        let cell = Arc::clone(&cell);
        thread::spawn(move || {
            let seen = cell.generation();
            let active = cell.load();
            assert!(active.generation >= seen, "{:?} is active at {seen:?}", active.generation);
            assert_eq!(active.activation, active.generation.number(), "a value under another's generation");
            assert!(cell.generation() >= seen, "the generation went back");
        })
    });
    let writers = [(); 2].map(|()| {
        let (cell, turn) = (Arc::clone(&cell), Arc::clone(&turn));
        thread::spawn(move || {
            let _turn = turn.lock().expect("nobody panics");
            let next = cell.generation().next();
            assert_eq!(cell.replace(next.number()), next);
            assert!(cell.generation() >= next, "the swap has returned");
        })
    });
    for thread in readers.into_iter().chain(writers) {
        thread.join().expect("it ends well");
    }
    assert_eq!(cell.generation().number(), 3);
}

/// One thread replaces it, another one looks: small enough for every interleaving.
pub fn one_replacement_and_one_reader() {
    let cell = Arc::new(ActiveCell::new(1_u64));
    let replaces = {
        let cell = Arc::clone(&cell);
        thread::spawn(move || cell.replace(2))
    };
    let seen = cell.generation();
    let active = cell.load();
    assert!(active.generation >= seen, "{:?} is active at {seen:?}", active.generation);
    assert_eq!(active.activation, active.generation.number(), "a value under another's generation");
    assert_eq!(replaces.join().expect("it ends well").number(), 2);
}
