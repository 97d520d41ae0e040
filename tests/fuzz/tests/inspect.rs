//! The inspection of a component, which reads its bytes before anything else does.

use leasehold::{Policy, Stage, SwapError};
use leasehold_fuzz::{Seed, Target, assert_printable};
use leasehold_tests::artifacts::Costly;

use crate::bare;

/// Maximum length of a refusal: a sentence around the parser's words, which are cut.
const MAX_REASON_BYTES: usize = 640;

/// A custom section without a name and without contents.
const EMPTY_SECTION: [u8; 3] = [0, 1, 0];

fn inspect(bytes: &[u8]) -> Result<(), SwapError> {
    Policy::from_bytes(bytes.to_vec()).inspect()
}

/// Headers, the bytes of types within types, sections with a length that lies, numbers that are too long.
const WORDS: &[&[u8]] = &[
    b"\0asm\x0d\0\x01\0",
    b"\0asm\x01\0\0\0",
    &[1, 0x41, 1, 0x41, 1, 0x41, 1, 0x42],
    &[7, 0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    &EMPTY_SECTION,
    b"\x1b[2J\r\n",
];

#[test]
fn inspect_refuses_in_one_line_or_takes_it_and_says_the_same_twice() {
    let shipped = leasehold_policies::ALL.iter().map(|(_, bytes)| Seed::from(*bytes));
    let costly = Costly::all().map(|way| Seed::from(way.component(8)));
    let bare = bare().iter().map(|policy| Seed::from(policy.component()));
    let seeds = shipped.chain(costly).chain(bare).collect();
    let target = Target { name: "inspect", seeds, words: WORDS, gate: 4_000, long: 400_000 };
    target.run(|bytes| {
        let verdict = inspect(bytes);
        assert_eq!(inspect(bytes), verdict, "the verdict depends on something else");
        let mut longer = bytes.to_vec();
        longer.extend(EMPTY_SECTION);
        match verdict {
            // What nothing reads changes nothing.
            Ok(()) => assert_eq!(inspect(&longer), Ok(())),
            Err(error) => {
                let stage = if bytes.is_empty() { Stage::Size } else { Stage::Inspect };
                assert_eq!(error.stage, stage, "{error}");
                assert_printable(&error.reason, MAX_REASON_BYTES);
                if error.reason.contains("this host compiles") {
                    assert_eq!(inspect(&longer), Err(error), "a bound is passed by what comes later");
                }
            }
        }
    });
}
