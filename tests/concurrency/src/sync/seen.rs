//! A list that only grows while it is shared, so that what it holds can be borrowed for as long as the list.
//!
//! A guard of the map keeps every entry that was seen under it here, which makes the entries' lifetime the
//! guard's without a line of unsafe code. It knows nothing of the map.

use std::cell::OnceCell;

pub(crate) struct Seen<T>(OnceCell<Box<Link<T>>>);

struct Link<T> {
    value: T,
    rest: Seen<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<T> Seen<T> {
    /// Appends a value. Walks the list, which holds a handful.
    pub(crate) fn push(&self, value: T) -> &T {
        let mut end = self;
        while let Some(link) = end.0.get() {
            end = &link.rest;
        }
        &end.0.get_or_init(|| Box::new(Link { value, rest: Self::default() })).value
    }
}
