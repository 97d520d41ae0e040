//! The hostile corpus: one row for each policy.
//!
//! The steps of a row are, in order: a read of a workspace without a row; two reads of W; an issue for W; a
//! read of it; one while the database is down; a heal of a workspace whose secret is NULL, and a read of it;
//! a read of the neighbour, whose entry is there; a read of the first workspace, which has a row by now, half
//! a minute later; a read of W, which another process has changed, a day later. A letter for each:
//!
//! `M` miss, `H` hit, `S` stale, `R` renewed: the policy was asked or not, and was believed. `B` bypassed: it
//! was at fault, and the host asked the database. `a` absent and `e` an error of the database, by the policy;
//! `A` and `E`, by the host after a fault. `I` issued by the policy, `D` issued by the host after a fault.

use leasehold::{Policy, Stage};
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile;

/// The origin of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Built {
    /// The crate `tests/hostile`.
    Sdk,
    /// The module `tests/src/hostile`.
    Bare,
}

/// The fate of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The policy serves: the steps; calls of the policy, faults, selects, issues, entries at the end; words
    /// of a fault.
    Serves(&'static str, [u64; 5], &'static str),
    /// The policy is refused: the stage, and words of the reason.
    Refused(Stage, &'static str),
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) built: Built,
    pub(super) verdict: Verdict,
}

impl Verdict {
    pub(super) fn serves(&self) -> bool {
        matches!(self, Self::Serves(..))
    }
}

impl Case {
    /// Returns the policy, with this marker.
    pub(super) fn policy(&self, marker: &Marker) -> Policy {
        match self.built {
            Built::Sdk => hostile::does(self.name, marker),
            Built::Bare => hostile::bare(self.name, marker),
        }
    }
}

const fn sdk(name: &'static str, steps: &'static str, counts: [u64; 5], words: &'static str) -> Case {
    Case { name, built: Built::Sdk, verdict: Verdict::Serves(steps, counts, words) }
}

const fn bare(name: &'static str, steps: &'static str, counts: [u64; 5], words: &'static str) -> Case {
    Case { name, built: Built::Bare, verdict: Verdict::Serves(steps, counts, words) }
}

const fn sdk_refused(name: &'static str, stage: Stage, words: &'static str) -> Case {
    Case { name, built: Built::Sdk, verdict: Verdict::Refused(stage, words) }
}

const fn bare_refused(name: &'static str, stage: Stage, words: &'static str) -> Case {
    Case { name, built: Built::Bare, verdict: Verdict::Refused(stage, words) }
}

#[rustfmt::skip]
pub(super) const TABLE: &[Case] = &[
    // Each row has the rule that it breaks; the steps; calls, faults, selects, issues, entries; words of a
    // fault.
    sdk( "nothing",                                    "aMMIMeIMMMMM", [12,  0, 10,  2,  1], ""),
    sdk( "traps",                                      "ABBDBEDBBBBB", [12, 12, 19,  2,  1], "unreachable"),
    sdk( "traps-after-put",                            "ABBIBeIBBBBB", [12,  9, 19,  2,  1], "unreachable"),
    sdk( "traps-without-a-row",                        "AMMIMeIMMMMM", [12,  2, 12,  2,  1], "unreachable"),
    sdk( "spins",                                      "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "spins-but-for-hot",                          "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "fills-but-for-hot",                          "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "spins-after-select",                         "ABBIBeIBBBBB", [12,  9, 19,  2,  1],
        "limit of processor time"),
    sdk( "asks-the-clock-for-ever",                    "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "asks-for-the-entry-for-ever",                "ABBIBeIBBBBB", [12,  9, 19,  2,  1],
        "limit of processor time"),
    sdk( "puts-for-ever",                              "aBBIBeIBBBBB", [12,  7, 17,  2,  1],
        "limit of processor time"),
    sdk( "removes-for-ever",                           "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "selects-for-ever",                           "ABBIBeIBBBBB", [12,  9, 82,  2,  1],
        "more than 8 statements"),
    sdk( "logs-for-ever",                              "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "logs-a-megabyte",                            "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "fuel allocated for hostcalls"),
    sdk( "logs-sixteen-long-lines",                    "aMMIMeIMMMMM", [12,  0, 10,  2,  1], ""),
    sdk( "recurses",                                   "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "call stack exhausted"),
    sdk( "grows",                                      "ABBIBEIBBBBB", [12, 10, 19,  2,  1], "read failed"),
    sdk( "fills",                                      "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    sdk( "leaks-a-handle",                             "aBBIBeIBBBBB", [12,  7, 26,  2,  1], "kept handles"),
    sdk( "hoards-handles",                             "aBBIBeIBBBBB", [12,  7, 17,  2,  1], "256 handles"),
    sdk( "issues-in-a-read",                           "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "in a call of Read"),
    sdk( "says-absent-without-asking",                 "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "an absence that the database did not report"),
    sdk( "says-absent-over-a-secret",                  "aBBIBeIBBBBB", [12,  7, 17,  2,  1],
        "an absence that the database did not report"),
    sdk( "says-absent-after-an-error",                 "aMMIMEIMMMMM", [12,  1, 11,  2,  1],
        "an absence that the database did not report"),
    sdk( "says-unavailable-without-asking",            "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "an error that the database did not report"),
    sdk( "puts-absence-without-asking",                "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "an absence that the last select did not find"),
    sdk( "puts-absence-over-a-secret",                 "aBBIBeIBBBBB", [12,  7, 17,  2,  1],
        "an absence that the last select did not find"),
    sdk( "puts-absence-after-an-error",                "aMMIMEIMMMMM", [12,  1, 11,  2,  1],
        "an absence that the last select did not find"),
    sdk( "removes-what-it-put",                        "aMMIMeIMMMMM", [12,  0, 10,  2,  0], ""),
    sdk( "returns-an-earlier-snapshot",                "aMHIMHIMRMMM", [10,  0,  8,  2,  4], ""),
    sdk( "remembers-a-secret",                         "aBBIBeIBBBBB", [12,  7, 26,  2,  1], "kept handles"),
    sdk( "remembers-absence",                          "aBBIBEIBBBBB", [12,  9, 18,  2,  1],
        "an absence that the database did not report"),
    sdk( "caches-absence-for-ever",                    "aMHIMHIMMMMM", [10,  0,  8,  2,  4], ""),
    sdk( "leases-for-ever",                            "aMHIMHIMMMMM", [10,  0,  8,  2,  4], ""),
    sdk( "leases-the-past",                            "aMMIMeIMMMMM", [12,  0, 10,  2,  4], ""),
    sdk( "leases-until-now",                           "aMMIMeIMMMMM", [12,  0, 10,  2,  4], ""),
    sdk( "leases-at-zero",                             "aMMIMeIMMMMM", [12,  0, 10,  2,  4], ""),
    sdk( "fresh-after-keep",                           "aMHIMHIMMMMM", [12,  0, 10,  2,  4], ""),
    sdk( "refreshes-ahead",                            "aMHIMHIMMMMM", [10,  0,  8,  2,  4], ""),
    sdk( "refreshes-always",                           "aMHIMHIMMMMM", [12,  0, 10,  2,  4], ""),
    sdk( "keeps-for-ever",                             "aMSIMSIMSMMM", [12,  0,  7,  2,  4], ""),
    sdk( "renews-for-ever",                            "aMHIMHIMRMMM", [10,  0,  7,  2,  4], ""),
    sdk( "never-caches",                               "aMMIMeIMMMMM", [12,  0, 10,  2,  1], ""),
    sdk( "traps-after-issue",                          "aMMDMeDMMMMM", [12,  2, 10,  2,  1], "unreachable"),
    sdk( "spins-in-issue",                             "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "limit of processor time"),
    sdk( "spins-after-issue",                          "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "limit of processor time"),
    sdk( "issues-twice",                               "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "called again after an issue"),
    sdk( "issues-in-the-other-mode",                   "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "in a call of Issue(Rotate)"),
    sdk( "returns-the-old-secret",                     "aMMDMeIMMMMM", [12,  1, 12,  2,  1],
        "not the secret that was issued"),
    sdk( "returns-the-entry",                          "aMHDMHIMMMMM", [10,  1,  8,  2,  4],
        "not the secret that was issued"),
    sdk( "returns-a-select-after-the-issue",           "aMMDMeDMMMMM", [12,  2, 12,  2,  1],
        "not the secret that was issued"),
    sdk( "puts-the-old-secret",                        "aMMDMeIMMMMM", [12,  1, 12,  2,  1],
        "from before the issue"),
    sdk( "puts-the-entry",                             "aMHDMHIMMMMM", [10,  1,  8,  2,  4],
        "from before the issue"),
    sdk( "puts-before-the-issue",                      "aMMIMeIMMMMM", [12,  0, 12,  2,  1], ""),
    sdk( "puts-absence-after-the-issue",               "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "an absence that the last select did not find"),
    sdk( "removes-after-the-issue",                    "aMMIMeIMMMMM", [12,  0, 10,  2,  1], ""),
    sdk( "leaks-the-issue",                            "aMMDMeDMMMMM", [12,  2, 12,  2,  1], "kept handles"),
    sdk( "hides-the-issue",                            "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "an error that the database did not report"),
    sdk( "never-issues",                               "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "an error that the database did not report"),
    sdk( "selects-and-never-issues",                   "aMMDMeDMMMMM", [12,  2, 12,  2,  1],
        "an error that the database did not report"),
    sdk( "leases-what-it-issued",                      "aMMIHHIHMMMM", [ 9,  0,  7,  2,  2], ""),
    sdk( "traps-at-1",                                 "ABBDBEDBBBBB", [12, 12, 19,  2,  1], "unreachable"),
    sdk( "traps-at-2",                                 "ABBDBEDBBBBB", [12, 12, 19,  2,  1], "unreachable"),
    sdk( "traps-at-3",                                 "ABBDBEDBBBBB", [12, 12, 19,  2,  1], "unreachable"),
    sdk( "traps-at-4",                                 "ABBDBeDBBBBB", [12, 11, 19,  2,  1], "unreachable"),
    sdk( "traps-at-5",                                 "aBBDBeDBBBBB", [12,  9, 17,  2,  1], "unreachable"),
    sdk( "traps-at-6",                                 "aBBDBeDBBBBB", [12,  9, 17,  2,  1], "unreachable"),
    sdk( "traps-at-7",                                 "aBBDBeDBBBBB", [12,  9, 17,  2,  1], "unreachable"),

    bare("loops-in-every-later-configure",             "ABBDBEDBBBBB", [12, 12, 19,  2,  1],
        "configure failed"),
    bare("loops-in-post-return",                       "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "limit of processor time"),
    bare("loops-in-a-later-realloc",                   "ABBDBEDBBBBB", [12, 12, 19,  2,  1],
        "limit of processor time"),
    bare("recurses-on-the-stack",                      "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "call stack exhausted"),
    bare("recurses-with-large-frames",                 "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "call stack exhausted"),
    bare("fills-the-whole-memory",                     "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("copies-the-whole-memory",                    "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("grows-its-memory-for-ever",                  "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("grows-its-memory-at-once",                   "aBMIBeIMBMBB", [12,  5, 14,  2,  1], "unreachable"),
    bare("grows-its-table-for-ever",                   "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("fills-its-table-for-ever",                   "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("jumps-by-table-for-ever",                    "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("misses-the-caches-for-ever",                 "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("chases-for-ever",                            "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("divides-for-ever",                           "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("calls-by-table-for-ever",                    "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("drops-and-selects-for-ever",                 "ABBIBEIBBBBB", [12, 10, 90,  2,  1],
        "more than 8 statements"),
    bare("logs-nothing-for-ever",                      "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("logs-sixty-kilobytes-for-ever",              "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "limit of processor time"),
    bare("makes-handles-of-its-own-for-ever",          "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "handle limit exceeded"),
    bare("logs-in-start",                              "aMMIMeIMMMMM", [12,  0, 10,  2,  1], ""),
    bare("traps-in-every-later-configure",             "ABBDBEDBBBBB", [12, 12, 19,  2,  1],
        "configure failed"),
    bare("refuses-in-every-later-configure",           "ABBDBEDBBBBB", [12, 12, 19,  2,  1], "wat0.0.0"),
    bare("answers-beyond-its-memory",                  "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "pointer out of bounds"),
    bare("answers-at-the-last-address",                "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "pointer out of bounds"),
    bare("answers-at-an-odd-address",                  "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "pointer not aligned"),
    bare("answers-with-a-wrong-result-tag",            "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "invalid expected discriminant"),
    bare("answers-with-a-wrong-option-tag",            "ABBIBeIBBBBB", [12,  9, 19,  2,  1],
        "invalid option discriminant"),
    bare("answers-with-an-unknown-error",              "ABBDBEDBBBBB", [12, 12, 19,  2,  1],
        "unexpected discriminant: 200"),
    bare("wants-the-select-beyond-its-memory",         "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "pointer out of bounds"),
    bare("wants-the-select-at-an-odd-address",         "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "pointer not aligned"),
    bare("issues-in-an-unknown-mode",                  "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "unexpected discriminant: 2"),
    bare("wants-the-issue-beyond-its-memory",          "aMMDMeDMMMMM", [12,  2, 10,  2,  1],
        "pointer out of bounds"),
    bare("logs-at-an-unknown-level",                   "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "unexpected discriminant: 9"),
    bare("logs-beyond-its-memory",                     "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "string pointer/length out of bounds"),
    bare("logs-four-gigabytes",                        "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "string pointer/length out of bounds"),
    bare("logs-what-is-not-utf-8",                     "ABBIBEIBBBBB", [12, 10, 19,  2,  1], "invalid utf-8"),
    bare("logs-more-than-may-be-carried",              "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "fuel allocated for hostcalls"),
    bare("allocates-the-same-address-always",          "aMMIMeIMMMMM", [12,  0, 10,  2,  1], ""),
    bare("traps-in-post-return",                       "ABBIBEIBBBBB", [12, 10, 20,  2,  1], "unreachable"),
    bare("asks-the-clock-in-post-return",              "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "cannot leave component instance"),
    bare("returns-handle-zero",                        "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "unknown handle index 0"),
    bare("returns-a-handle-it-was-never-given",        "ABBDBeDBBBBB", [12, 11, 19,  2,  1],
        "unknown handle index 99"),
    bare("returns-a-handle-it-dropped",                "aBBIBeIBBBBB", [12,  7, 17,  2,  1],
        "unknown handle index 1"),
    bare("drops-a-handle-twice",                       "aBBIBeIBBBBB", [12,  7, 17,  2,  1],
        "unknown handle index 1"),
    bare("asks-a-handle-it-was-never-given",           "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "unknown handle index 1"),
    bare("puts-a-handle-it-was-never-given",           "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "unknown handle index 77"),
    bare("puts-a-handle-it-dropped",                   "aBBIBeIBBBBB", [12,  7, 17,  2,  1],
        "unknown handle index 1"),
    bare("puts-with-a-wrong-option-tag",               "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "invalid option discriminant"),
    bare("returns-a-handle-of-its-own",                "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "used with the wrong type"),
    bare("puts-a-handle-of-its-own",                   "ABBIBEIBBBBB", [12, 10, 20,  2,  1],
        "used with the wrong type"),
    bare("drops-a-handle-of-its-own-as-a-secret",      "ABBIBEIBBBBB", [12, 10, 19,  2,  1],
        "used with the wrong type"),
    bare("returns-the-number-of-an-earlier-call",      "aMBIMEIMBMBB", [12,  4, 13,  2,  1],
        "unknown handle index 1"),
    bare("puts-the-number-of-an-earlier-call",         "aMBIMEIMBMBB", [12,  4, 13,  2,  1],
        "unknown handle index 1"),
    bare("asks-the-number-of-an-earlier-call",         "aMBIMEIMBMBB", [12,  4, 13,  2,  1],
        "unknown handle index 1"),
    bare("keeps-a-handle-and-puts-it-for-the-next",    "aBBIBeIBBBBB", [12,  7, 27,  2,  1], "kept handles"),
    bare("answers-the-next-read-with-the-last-answer", "aBBIBeIBMBMM", [12,  6, 16,  2,  1],
        "an absence that the database did not report"),
    bare("answers-the-next-issue-with-the-last-answer","aMMIMeDMMMMM", [12,  1, 10,  2,  1],
        "unknown handle index 1"),
    bare("hands-the-read-what-the-issue-left",         "aMMIBeIBMMMM", [12,  2, 12,  2,  1],
        "unknown handle index 1"),
    bare("describes-itself-as-the-default-policy",     "ABBIBEIBBBBB", [12, 10, 19,  2,  1], "unreachable"),

    // Each row has the rule that it breaks; the stage; words of the reason.
    sdk_refused( "refuses-settings",                         Stage::Configure,
        "setting does: never good enough"),
    sdk_refused( "refuses-at-length",                        Stage::Configure, "xxxxxxxx"),
    sdk_refused( "traps-in-configure",                       Stage::Configure, "configure failed"),
    sdk_refused( "spins-in-configure",                       Stage::Configure, "limit of processor time"),
    bare_refused("loops-in-start",                           Stage::Configure, "limit of processor time"),
    bare_refused("recurses-in-start",                        Stage::Configure, "call stack exhausted"),
    bare_refused("loops-in-describe",                        Stage::Configure, "limit of processor time"),
    bare_refused("loops-in-configure",                       Stage::Configure, "limit of processor time"),
    bare_refused("loops-in-realloc",                         Stage::Configure, "limit of processor time"),
    bare_refused("traps-in-start",                           Stage::Configure, "unreachable"),
    bare_refused("asks-the-clock-in-start",                  Stage::Configure, "no workspace is bound"),
    bare_refused("selects-in-start",                         Stage::Configure, "no workspace is bound"),
    bare_refused("puts-absence-in-start",                    Stage::Configure, "no workspace is bound"),
    bare_refused("traps-in-describe",                        Stage::Configure, "unreachable"),
    bare_refused("selects-in-describe",                      Stage::Configure, "no workspace is bound"),
    bare_refused("issues-in-configure",                      Stage::Configure, "no workspace is bound"),
    bare_refused("removes-in-configure",                     Stage::Configure, "no workspace is bound"),
    bare_refused("gets-the-entry-in-configure",              Stage::Configure, "no workspace is bound"),
    bare_refused("traps-in-realloc",                         Stage::Configure, "unreachable"),
    bare_refused("allocates-beyond-its-memory",              Stage::Configure, "beyond end of memory"),
    bare_refused("allocates-at-an-odd-address",              Stage::Configure, "result not aligned"),
    bare_refused("asks-the-clock-in-realloc",                Stage::Configure,
        "cannot leave component instance"),
    bare_refused("describes-itself-beyond-its-memory",       Stage::Configure,
        "pointer out of bounds of memory"),
    bare_refused("describes-a-name-beyond-its-memory",       Stage::Configure,
        "string pointer/length out of bounds of memory"),
    bare_refused("describes-a-name-that-is-not-utf-8",       Stage::Configure, "invalid utf-8"),
    bare_refused("describes-an-empty-name",                  Stage::Configure,
        "describe: name must have 1 to 64 printable bytes"),
    bare_refused("describes-a-name-that-forges-a-line",      Stage::Configure,
        "describe: name must have 1 to 64 printable bytes"),
    bare_refused("describes-a-long-name",                    Stage::Configure,
        "describe: name must have 1 to 64 printable bytes"),
    bare_refused("describes-sixty-kilobytes",                Stage::Configure,
        "describe: summary must have 512 printable bytes at most"),
    bare_refused("describes-a-billion-settings",             Stage::Configure,
        "list pointer/length out of bounds of memory"),
    bare_refused("describes-two-thousand-settings",          Stage::Configure,
        "fuel allocated for hostcalls"),
    bare_refused("describes-thirty-three-settings",          Stage::Configure,
        "describe: more than 32 settings"),
    bare_refused("describes-a-setting-twice",                Stage::Configure,
        "describe: the setting \"setting\" is listed twice"),
    bare_refused("describes-a-setting-without-knowing-it",   Stage::Configure,
        "describe: the setting \"Setting\" needs a name of a-z, 0-9 and '-'"),
    bare_refused("describes-other-settings-than-it-is-given",Stage::Configure,
        "unknown setting \"setting\"; the settings of this policy: xetting"),
    bare_refused("wants-more-memory-than-it-may-have",       Stage::Inspect,
        "257 or more pages of initial memory"),
    bare_refused("wants-a-larger-table-than-it-may-have",    Stage::Inspect,
        "10001 or more elements in a table"),
    bare_refused("wants-a-second-memory",                    Stage::Configure,
        "resource limit exceeded: memory count too high at 2"),
    bare_refused("wants-twenty-instances",                   Stage::Configure,
        "resource limit exceeded: instance count too high at 17"),
    bare_refused("loops-in-a-second-instance",               Stage::Configure, "limit of processor time"),
    bare_refused("wants-vectors",                            Stage::Compile,   "SIMD support is not enabled"),
    bare_refused("wants-tail-calls",                         Stage::Compile,
        "tail calls support is not enabled"),
    bare_refused("wants-a-64-bit-memory",                    Stage::Compile,
        "memory64 must be enabled for 64-bit memories"),
    bare_refused("wants-a-shared-memory",                    Stage::Compile,
        "threads must be enabled for shared memories"),
    bare_refused("wants-two-memories-in-one-module",         Stage::Compile,   "multiple memories"),
    bare_refused("wants-a-collector",                        Stage::Compile,
        "cannot define struct types when gc types are disabled"),
    bare_refused("wants-exceptions",                         Stage::Compile,
        "exceptions proposal not enabled"),
];
