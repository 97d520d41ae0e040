//! Text of a policy's making, in a form that an operator may be shown.

/// Maximum length of a sentence of a policy's, and of what its errors quote.
pub(super) const MAX_SENTENCE_BYTES: usize = 512;

/// Makes text of a policy's making fit for an operator's eyes: bounded, on one line.
pub(super) fn printable(text: &str) -> String {
    let cut = text.get(..text.floor_char_boundary(MAX_SENTENCE_BYTES)).unwrap_or_default();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
