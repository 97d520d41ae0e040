//! Ids of workspaces whose key is not text: made without an allocation, and without a check that could fail.
//!
//! The text is what the database prints for the value, since an answer is held against it: plain decimal
//! digits, and UUIDs in lower case with hyphens.

use std::io::Write as _;

use crate::WorkspaceId;

/// Length of the longest integer of 64 bits in digits, its sign included.
const INTEGER_BYTES: usize = 20;

macro_rules! integers {
    ($($integer:ty),*) => {
        $(
            /// The id is the decimal digits.
            impl From<$integer> for WorkspaceId {
                fn from(key: $integer) -> Self {
                    let mut digits = [0; INTEGER_BYTES];
                    let mut rest = digits.as_mut_slice();
                    // The digits fit, so that this cannot fail.
                    let _ = write!(rest, "{key}");
                    let left = rest.len();
                    let written = digits.get(..INTEGER_BYTES - left).unwrap_or_default();
                    Self::known(std::str::from_utf8(written).unwrap_or_default())
                }
            }
        )*
    };
}

integers!(i32, u32, i64, u64);

/// The id is the UUID in lower case, with hyphens.
#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for WorkspaceId {
    fn from(key: uuid::Uuid) -> Self {
        Self::known(key.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_the_id_of_its_decimal_digits() {
        for key in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(WorkspaceId::from(key), WorkspaceId::new(key.to_string()).unwrap());
        }
        for key in [0, u64::MAX] {
            assert_eq!(WorkspaceId::from(key), WorkspaceId::new(key.to_string()).unwrap());
        }
        assert_eq!(WorkspaceId::from(i32::MIN).as_str(), "-2147483648");
        assert_eq!(WorkspaceId::from(u32::MAX).as_str(), "4294967295");
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_is_the_id_of_its_text_in_lower_case() {
        let text = "8C3F2B4E-5F1D-4A77-9F0E-2D0F3C1B7A55";
        let key = uuid::Uuid::parse_str(text).unwrap();
        assert_eq!(WorkspaceId::from(key), WorkspaceId::new(text.to_lowercase()).unwrap());
    }
}
