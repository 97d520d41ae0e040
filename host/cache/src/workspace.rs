//! The key of the cache, checked once at the edge, so that no later code meets a bad one.
//!
//! Equality is that of the whole text. Nothing here or below may compare workspaces by hash.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::InvalidWorkspace;

/// Maximum length of an id, in bytes: more than any UUID, ULID or slug, and a bound on what a caller can make
/// the cache remember.
const MAX_BYTES: usize = 256;
/// Maximum length of an id that is kept in place, UUIDs among them: no allocation, and one cache line less on
/// a hit.
const INLINE_BYTES: usize = 38;

/// The id of a workspace: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WorkspaceId(Text);

#[derive(Clone)]
enum Text {
    /// An id that is kept in place. The bytes after `length` are zero, which no id contains.
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Heap(Box<str>),
}

impl WorkspaceId {
    /// Checks an id. An id of up to 38 bytes, such as a UUID, takes no allocation.
    ///
    /// # Errors
    ///
    /// [`InvalidWorkspace`] says what is wrong with the id.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InvalidWorkspace> {
        let id = id.as_ref();
        if id.is_empty() {
            return Err(InvalidWorkspace::Empty);
        }
        if id.len() > MAX_BYTES {
            return Err(InvalidWorkspace::TooLong { bytes: id.len() });
        }
        // Most ids are printable ASCII. Each byte is looked at, so that this takes few instructions.
        if id.bytes().fold(true, |is_plain, byte| is_plain & (0x20..0x7f).contains(&byte)) {
            return Ok(Self(Text::new(id)));
        }
        match id.char_indices().find(|(_, c)| c.is_control()) {
            Some((offset, _)) => Err(InvalidWorkspace::ControlCharacter { offset }),
            None => Ok(Self(Text::new(id))),
        }
    }

    /// Makes an id of a text that is known to be valid: no checks.
    pub(crate) fn known(id: &str) -> Self {
        Self(Text::new(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // The bytes of a whole `&str` are UTF-8, so the default is never taken.
            Text::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Text::Heap(id) => id,
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Text::Heap(id) => id.as_bytes(),
        }
    }
}

impl Text {
    fn new(id: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(id.as_bytes());
                Self::Inline { length, bytes }
            }
            _ => Self::Heap(id.into()),
        }
    }
}

/// Returns everything that is kept in place, in words, of which the last two overlap: no call is needed to
/// hash or to compare them.
#[inline]
fn words(bytes: &[u8; INLINE_BYTES]) -> (u128, u128, u128) {
    let word = |from: usize| {
        let word = bytes.get(from..).and_then(|rest| rest.first_chunk());
        u128::from_le_bytes(word.copied().unwrap_or_default())
    };
    (word(0), word(16), word(INLINE_BYTES - 16))
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inline { bytes, .. }, Self::Inline { bytes: others, .. }) => words(bytes) == words(others),
            (Self::Heap(id), Self::Heap(other)) => id == other,
            _ => false,
        }
    }
}

impl Eq for Text {}

impl Hash for Text {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Inline { bytes, .. } => {
                let (first, second, last) = words(bytes);
                state.write_u128(first);
                state.write_u128(second);
                state.write_u128(last);
            }
            Self::Heap(id) => state.write(id.as_bytes()),
        }
    }
}

impl FromStr for WorkspaceId {
    type Err = InvalidWorkspace;

    fn from_str(id: &str) -> Result<Self, InvalidWorkspace> {
        Self::new(id)
    }
}

impl TryFrom<String> for WorkspaceId {
    type Error = InvalidWorkspace;

    fn try_from(id: String) -> Result<Self, InvalidWorkspace> {
        Self::new(id)
    }
}

impl TryFrom<&str> for WorkspaceId {
    type Error = InvalidWorkspace;

    fn try_from(id: &str) -> Result<Self, InvalidWorkspace> {
        Self::new(id)
    }
}

/// The text of the id. There is no `Borrow<str>`: it promises the hash of the text, and an id has a hash of
/// its own.
impl AsRef<str> for WorkspaceId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The order of the texts, byte by byte.
impl Ord for WorkspaceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for WorkspaceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;

    #[test]
    fn ids_of_1_to_256_bytes_without_control_characters_are_accepted() {
        for id in ["w", "8c3f2b4e-0000-4000-8000-000000000000", "Zürich office", &"x".repeat(256)] {
            assert_eq!(WorkspaceId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn ids_are_equal_where_their_whole_texts_are_on_either_side_of_the_inline_length() {
        for length in [1, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 256] {
            let text = "x".repeat(length);
            let id = WorkspaceId::new(&text).unwrap();
            assert_eq!(id, WorkspaceId::new(text.clone()).unwrap());
            assert_eq!(id.as_str(), text);
            let last_differs = format!("{}y", &text[1..]);
            assert_ne!(id, WorkspaceId::new(&last_differs).unwrap());
            if length > 1 {
                assert_ne!(id, WorkspaceId::new(&text[1..]).unwrap(), "a prefix is another id");
            }
        }
    }

    #[test]
    fn every_byte_counts_for_equality_and_for_the_hash() {
        let hash = |id: &WorkspaceId| BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        for length in 1..=INLINE_BYTES + 2 {
            let text = "x".repeat(length);
            let id = WorkspaceId::new(&text).unwrap();
            assert_eq!(hash(&id), hash(&id.clone()));
            for place in 0..length {
                let mut other = text.clone();
                other.replace_range(place..=place, "y");
                let other = WorkspaceId::new(other).unwrap();
                assert_ne!(id, other, "byte {place} of {length}");
                assert_ne!(hash(&id), hash(&other), "byte {place} of {length}");
            }
        }
    }

    #[test]
    fn ids_are_ordered_as_their_texts_are_on_either_side_of_the_inline_length() {
        let mut texts: Vec<String> =
            [1, 2, INLINE_BYTES, INLINE_BYTES + 1, 256].map(|length| "x".repeat(length)).into();
        texts.extend(["a", "b", "Z", "ü", "10", "9"].map(String::from));
        texts.push(format!("{}y", "x".repeat(INLINE_BYTES)));
        let mut ids: Vec<WorkspaceId> =
            texts.iter().map(|text| WorkspaceId::try_from(text.as_str()).unwrap()).collect();
        texts.sort();
        ids.sort();
        assert_eq!(ids.iter().map(AsRef::<str>::as_ref).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        assert_eq!(WorkspaceId::new(""), Err(InvalidWorkspace::Empty));
        assert_eq!(WorkspaceId::new("x".repeat(257)), Err(InvalidWorkspace::TooLong { bytes: 257 }));
        for (id, offset) in [("\0", 0), ("a\nb", 1), ("ü\u{7f}", 2), ("a\u{85}", 1)] {
            assert_eq!(WorkspaceId::new(id), Err(InvalidWorkspace::ControlCharacter { offset }));
        }
    }
}
