//! The type of the key column: which ids may be values of it, so that no id can fail a statement for others.
//!
//! An id is compared as text as well, so that only the spelling that PostgreSQL itself writes can find a row.
//! Where that spelling is known, any other is absent without asking.

/// The key column's type, as far as a batch has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A text type: any id is a value of it.
    Text,
    Uuid,
    /// An integer of so many bits.
    Integer(u32),
    /// A type of which some ids may be no values, and which ids is not known here: no other id travels with
    /// them.
    Other,
}

impl Key {
    /// Returns the key for the name of a type; `None` is text.
    pub(super) fn of(type_name: Option<&str>) -> Self {
        match type_name {
            None | Some("character varying" | "bpchar" | "name") => Self::Text,
            Some("uuid") => Self::Uuid,
            Some("smallint") => Self::Integer(16),
            Some("integer") => Self::Integer(32),
            Some("bigint") => Self::Integer(64),
            Some(_) => Self::Other,
        }
    }

    /// Returns whether there can be a row with this id.
    pub(super) fn may_be(self, id: &str) -> bool {
        match self {
            Self::Text | Self::Other => true,
            Self::Uuid => {
                let is_written_so = |(place, byte): (usize, u8)| match place {
                    8 | 13 | 18 | 23 => byte == b'-',
                    _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                };
                id.len() == 36 && id.bytes().enumerate().all(is_written_so)
            }
            Self::Integer(bits) => {
                let bound = 1_i128 << (bits - 1);
                id.parse::<i128>()
                    .is_ok_and(|number| (-bound..bound).contains(&number) && number.to_string() == id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_itself_would_write_may_be_a_key() {
        for (key, yes, no) in [
            (Some("uuid"), "8c3f2b4e-0000-4000-8000-00000000000a", "8C3F2B4E-0000-4000-8000-00000000000A"),
            (Some("uuid"), "00000000-0000-0000-0000-000000000000", "8c3f2b4e000040008000-00000000000a-----"),
            (Some("smallint"), "-32768", "32768"),
            (Some("integer"), "2147483647", "2147483648"),
            (Some("bigint"), "-9223372036854775808", "99999999999999999999999999999999999999999999"),
            (Some("bigint"), "42", "042"),
            (Some("bigint"), "0", "+1"),
        ] {
            assert!(Key::of(key).may_be(yes) && !Key::of(key).may_be(no), "{key:?}");
        }
        assert!(Key::of(None).may_be("any") && Key::of(Some("numeric")).may_be("any"));
    }
}
