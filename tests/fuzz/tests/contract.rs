//! What the host reads of a component once it has been let in: its imports and exports, and what its
//! `describe` and `configure` return out of a memory that they fill as they like.

use std::iter;

use leasehold::{Policy, SecretCache, Stage, SwapError};
use leasehold_fuzz::{Seed, Target, assert_printable};
use tokio::runtime::Runtime;

use crate::{bare, cache, runtime};

/// Maximum length of a refusal: what the parser, the compiler or the policy says is cut, and a sentence of
/// the host's is around it.
const MAX_REASON_BYTES: usize = 1_600;
/// Maximum lengths of what a policy says of itself, and of the list of its settings.
const MAX_WORD_BYTES: usize = 64;
const MAX_SENTENCE_BYTES: usize = 512;
const MAX_SETTINGS: usize = 32;

/// The texts in the memory of a policy in bare WebAssembly, and the bytes up to the end of its description.
const TEXTS: &[u8] = b"wat0.0.0A policy";
const TEXTS_AND_DESCRIPTION_BYTES: usize = 160;

const WORDS: &[&[u8]] = &[
    // Addresses and lengths as the description has them.
    &[0, 4, 0, 0],
    &[0x80, 4, 0, 0],
    &[0xff, 0xff, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x41, 0, 0, 0],
    &[1, 2, 0, 0],
    b"\x1b[2J\r\n",
    "\u{9b}\u{202e}".as_bytes(),
    b"\xff\xfe",
    b"leasehold:policy/control@0.1.0",
    b"wasi:cli/environment@0.2.0",
    b"setting",
];

/// The stage and the reason of a refusal, or what the policy says of itself.
fn load(cache: &SecretCache, runtime: &Runtime, bytes: &[u8]) -> Result<Vec<String>, SwapError> {
    let before = cache.policy();
    let swapped = runtime.block_on(cache.swap(Policy::from_bytes(bytes.to_vec())));
    let after = cache.policy();
    match swapped {
        Ok(report) => {
            assert_eq!((after.generation, &after.digest), (before.generation + 1, &report.digest));
            assert!(after.settings.len() <= MAX_SETTINGS, "{} settings", after.settings.len());
            let words = [after.name, after.version];
            words.iter().for_each(|word| assert!(!word.is_empty()));
            let names = after.settings.iter().map(|(name, _)| name);
            words.iter().chain(names).for_each(|word| assert_printable(word, MAX_WORD_BYTES));
            let values = after.settings.iter().map(|(_, value)| value);
            values.chain([&after.summary]).for_each(|text| assert_printable(text, MAX_SENTENCE_BYTES));
            let settings = after.settings.into_iter().flat_map(|(name, value)| [name, value]);
            Ok(words.into_iter().chain([after.summary]).chain(settings).collect())
        }
        Err(error) => {
            assert_eq!((after.generation, after.digest), (before.generation, before.digest), "{error}");
            assert_printable(&error.reason, MAX_REASON_BYTES);
            let stages = [Stage::Size, Stage::Inspect, Stage::Compile, Stage::World, Stage::Configure];
            // `Host` would blame the machine for what the bytes are.
            assert!(stages.contains(&error.stage), "{error}");
            Err(error)
        }
    }
}

#[test]
fn contract_is_read_from_any_memory_within_its_bounds_and_the_same_twice() {
    let runtime = runtime();
    let cache = runtime.block_on(cache(|builder| builder));
    // As often the one that gets as far as its description as all those that do not.
    let policies = bare().iter().chain(iter::repeat_n(&bare()[0], bare().len()));
    let seeds =
        policies.map(|policy| Seed::around(policy.component().to_vec(), TEXTS, TEXTS_AND_DESCRIPTION_BYTES));
    let target = Target { name: "contract", seeds: seeds.collect(), words: WORDS, gate: 600, long: 60_000 };
    target.run(|bytes| {
        let first = load(&cache, &runtime, bytes);
        let again = load(&cache, &runtime, bytes);
        // How far a call gets in its time is not for the bytes to say.
        let is_timed = |verdict: &Result<_, SwapError>| {
            verdict.as_ref().is_err_and(|error| error.reason.contains("processor time"))
        };
        if !is_timed(&first) && !is_timed(&again) {
            assert_eq!(first, again, "it was read in two ways");
        }
    });
}
