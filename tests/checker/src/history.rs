//! The commits of each row, in the order in which the database made them.
//!
//! The position of a value is its place in that order. No value is committed twice, so that a value
//! names its position; absence (no row, NULL or the empty text) has many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A value, by its hash: 64 bits tell some millions apart, and hold no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(u64);

/// The writer of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// An issue of the cache, whether its caller was dropped or not.
    Cache,
    /// Another writer, behind the cache's back.
    Other,
}

/// The place of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The row.
    pub workspace: usize,
    /// The number of commits of the row before it.
    pub position: u32,
}

/// Every commit of every row so far.
#[derive(Debug)]
pub struct History {
    rows: Vec<Row>,
    places: HashMap<ValueId, Committed>,
}

#[derive(Clone, Debug)]
struct Row {
    length: u32,
    /// The positions of absence, rising. Each row begins without one.
    absences: Vec<u32>,
    last_of_cache: u32,
}

impl ValueId {
    /// Returns the id of this text.
    pub fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl History {
    /// Creates the history of so many rows, each absent.
    pub fn new(workspaces: usize) -> Self {
        let row = Row { length: 1, absences: vec![0], last_of_cache: 0 };
        Self { rows: vec![row; workspaces], places: HashMap::new() }
    }

    /// Adds the next commit of a row; `None` is absence.
    ///
    /// # Errors
    ///
    /// The place of the value, if it was committed before: then it names no position.
    pub fn commit(
        &mut self,
        workspace: usize,
        value: Option<ValueId>,
        author: Author,
    ) -> Result<(), Committed> {
        let row = &mut self.rows[workspace];
        let position = row.length;
        match value.map(|value| self.places.entry(value)) {
            None => row.absences.push(position),
            Some(Entry::Vacant(place)) => drop(place.insert(Committed { workspace, position })),
            Some(Entry::Occupied(place)) => return Err(*place.get()),
        }
        row.length += 1;
        if author == Author::Cache {
            row.last_of_cache = position;
        }
        Ok(())
    }

    /// Returns where this value was committed.
    pub(crate) fn place(&self, value: ValueId) -> Option<Committed> {
        self.places.get(&value).copied()
    }

    /// Returns the position of what the row holds after all of these commits.
    pub fn last(&self, workspace: usize) -> u32 {
        self.rows[workspace].length - 1
    }

    /// Returns the position of the last commit that the cache made; the row's beginning if it made none.
    pub fn last_of_cache(&self, workspace: usize) -> u32 {
        self.rows[workspace].last_of_cache
    }

    /// Returns the first position of absence that is not before this one.
    pub(crate) fn absence_from(&self, workspace: usize, position: u32) -> Option<u32> {
        let absences = &self.rows[workspace].absences;
        absences.get(absences.partition_point(|absence| *absence < position)).copied()
    }
    /// Returns the first position of absence that is not before this one, and the last one of all; the last
    /// one twice where there is none from there on.
    pub(crate) fn absences(&self, workspace: usize, position: u32) -> (u32, u32) {
        let last = self.rows[workspace].absences.last().copied().unwrap_or_default();
        (self.absence_from(workspace, position).unwrap_or(last), last)
    }
}
