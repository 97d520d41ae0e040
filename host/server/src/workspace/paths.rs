//! Ids as parts of a path: whatever is in them, they mean nothing else there.

use anyhow::Context as _;
use leasehold::WorkspaceId;

/// Returns the path of a workspace, with this behind it.
pub(super) fn path(id: &str, rest: &str) -> anyhow::Result<String> {
    Ok(format!("/workspaces/{}{rest}", segment(id)?))
}

/// Returns the id of a workspace, or of one of its tokens, as a part of a path.
pub(super) fn segment(id: &str) -> anyhow::Result<String> {
    let id = WorkspaceId::new(id).with_context(|| format!("{id:?} is no id"))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let bytes = id.as_str().bytes().enumerate();
    // A path of the server's own is `/admin/cache/reset`.
    let is_taken = id.as_str() == "reset";
    Ok(bytes.fold(String::new(), |mut path, (place, byte)| {
        if is_plain(byte) && !(is_taken && place == 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
        path
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_part_of_a_path_whatever_is_in_it() {
        for (id, part) in [
            ("8c3f-a_Z", "8c3f-a_Z"),
            ("a b/c?d#e%", "a%20b%2Fc%3Fd%23e%25"),
            ("..", "%2E%2E"),
            ("ü", "%C3%BC"),
            ("reset", "%72eset"),
        ] {
            assert_eq!(segment(id).unwrap(), part);
        }
        assert!(segment("").is_err() && segment("a\nb").is_err());
    }
}
