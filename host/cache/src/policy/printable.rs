//! Text of a policy's making, as an operator may be shown it.

/// Bound on a sentence of a policy's, and on what its errors quote.
pub(super) const MAX_SENTENCE_BYTES: usize = 512;

/// Text of a policy's making, for an operator's eyes: bounded, on one line.
pub(super) fn printable(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(MAX_SENTENCE_BYTES)).unwrap_or_default();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
