//! Holds what callers of a cache saw against the order in which the database committed.
//!
//! Operations come in as what they did and when, in real time; commits as the database itself recorded them.
//! A rule compares operations only where one had ended before the other began: operations that overlap may
//! have happened in either order. Nothing here knows the cache, its policies or a database, nor shares code
//! or a model with the other tests: the rules are those of the README's guarantees, read from outside.
//!
//! Not promised, and not checked: that a write by others is seen before the lease of the old value ends; that
//! a read answers at all; what `get` and `with` leave unanswered; the order of operations that overlap.

#![forbid(unsafe_code)]

mod history;
mod judge;
mod operation;

pub use history::{Author, Committed, History, ValueId};
pub use judge::{Judge, Rule, Violation};
pub use operation::{Content, Did, Operation, Span};
