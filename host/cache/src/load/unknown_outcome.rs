//! The end of an issue whose task ends before its effect is known.

use crate::flight::Writer;
use crate::table::Table;

/// An issue whose effect is not known yet. Should its task end here, by a panic or with its runtime, the
/// entry goes, as after any issue whose outcome is unknown.
pub(super) struct UnknownOutcomeGuard<'a> {
    pub(super) table: &'a Table,
    pub(super) writer: &'a Writer,
}

impl UnknownOutcomeGuard<'_> {
    /// Ends the doubt: the effect is known.
    pub(super) fn resolve(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnknownOutcomeGuard<'_> {
    fn drop(&mut self) {
        self.writer.finish(None, |_| self.table.remove(self.writer.workspace()));
    }
}
