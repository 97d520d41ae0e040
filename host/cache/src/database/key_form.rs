//! The type of PostgreSQL's key column: which ids may be values of it, so that no id can fail a statement for
//! others, and a caller can be told what is expected.
//!
//! An id is compared as text as well, so that only the spelling that PostgreSQL itself writes can find a row.
//! Where that spelling is known, any other is absent without asking.

/// The form of the ids that a key column can hold, by its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyForm {
    /// A text type: any id is a value of it.
    #[default]
    Text,
    /// A UUID, in lower case and with hyphens.
    Uuid,
    /// An integer of so many bits, without leading zeros or a plus.
    Integer(u32),
    /// A type of which some ids may be no values, and which ids is not known here: no other id travels with
    /// them.
    Other,
}

impl KeyForm {
    /// Returns the form for the name of a type; `None` is text.
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

    /// Returns whether there can be a row with this id: the database compares ids as text, so that of the
    /// spellings of one value only its own is one.
    #[must_use]
    pub fn may_be(self, id: &str) -> bool {
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

    /// The form in words, such as `a UUID in lower case`; `None` where any id will do or it is not known.
    #[must_use]
    pub fn expected(self) -> Option<&'static str> {
        match self {
            Self::Text | Self::Other => None,
            Self::Uuid => {
                Some("a UUID in lower case with hyphens, such as 8c3f2b4e-5f1d-4a77-9f0e-2d0f3c1b7a55")
            }
            Self::Integer(_) => {
                Some("an integer without leading zeros that the key's type can hold, such as 42")
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
            assert!(KeyForm::of(key).may_be(yes) && !KeyForm::of(key).may_be(no), "{key:?}");
        }
        assert!(KeyForm::of(None).may_be("any") && KeyForm::of(Some("numeric")).may_be("any"));
    }
}
