//! The properties of the active cell in every execution that loom can find.

use loom::sync::Mutex;
use loom::thread;

use crate::active::ActiveCell;
use crate::sync::Arc;

fn sees_a_value_of_its_generation(cell: &ActiveCell<u64>) {
    let seen = cell.generation();
    let active = cell.load();
    assert!(active.generation >= seen, "{:?} is active at {seen:?}", active.generation);
    assert_eq!(active.activation, active.generation.number(), "a value under another's generation");
}

/// One thread that replaces what is active twice, and two that look at the generation first and at the value
/// then.
pub fn whoever_sees_a_generation_finds_its_value_or_a_newer_one() {
    loom::model(|| {
        // The active value is the number of its own generation.
        let cell = Arc::new(ActiveCell::new(1_u64));
        let reader = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || sees_a_value_of_its_generation(&cell))
        };
        let writer = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                cell.replace(2);
                cell.replace(3);
            })
        };
        sees_a_value_of_its_generation(&cell);
        for thread in [reader, writer] {
            thread.join().expect("it ends well");
        }
        assert_eq!(cell.generation().number(), 3);
    });
}

/// Two threads that replace it in turn.
pub fn no_generation_is_given_twice() {
    loom::model(|| {
        let cell = Arc::new(ActiveCell::new(1_u64));
        let turn = Arc::new(Mutex::new(()));
        let replace = |cell: &ActiveCell<u64>, turn: &Mutex<()>| {
            let _turn = turn.lock().expect("nobody panics");
            let next = cell.generation().next();
            assert_eq!(cell.replace(next.number()), next, "given before");
        };
        let other = {
            let (cell, turn) = (Arc::clone(&cell), Arc::clone(&turn));
            thread::spawn(move || replace(&cell, &turn))
        };
        replace(&cell, &turn);
        other.join().expect("it ends well");
        assert_eq!(cell.generation().number(), 3);
        sees_a_value_of_its_generation(&cell);
    });
}
