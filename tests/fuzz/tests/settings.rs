//! Settings, from the words of a command line or the query of a request to the policy that reads them.

use leasehold::{Policy, SecretCache, Stage};
use leasehold_fuzz::{Seed, Target, assert_printable};
use leasehold_policy::{FakeHost, parse_duration};
use leasehold_policy_ttl::Ttl;
use leasehold_server::testing::{settings_of_arguments, settings_of_query};
use tokio::runtime::Runtime;

use crate::{cache, runtime};

/// Separator of the arguments in an input. No argument has it, so that any other character may be tried.
const SEPARATOR: char = '\u{1e}';
/// Maximum length of a refusal without the text that it quotes, of which each byte is ten at most.
const MAX_SENTENCE_BYTES: usize = 300;

const WORDS: &[&[u8]] = &[
    b"ttl=",
    b"jitter=",
    b"=",
    b"\x1e",
    b"100%",
    b"1h30m",
    b"ms",
    b"d",
    b"213503982334d",
    b"18446744073709551615ms",
    b"+1s",
    b"\0",
    b"\n",
    b"\x1b[2J",
    b"&",
    b"%00",
    b"setting.",
    b"force=true",
    "\u{202e}\u{664}\u{ff11}".as_bytes(),
];

/// The query by which `leasehold policy apply` would send these settings, with every byte escaped.
fn query(arguments: &[String]) -> String {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pair = |argument: &String| {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        format!("setting.{}={}", escaped(name), escaped(value))
    };
    arguments.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Reads arguments in both ways of the server, which have to be of one mind.
fn read(arguments: &[String], max_bytes: usize) {
    let by_argument = settings_of_arguments(Policy::from_bytes(leasehold_policies::TTL), arguments);
    let by_query = settings_of_query(&query(arguments));
    by_query.as_ref().err().into_iter().for_each(|message| assert_printable(message, max_bytes));
    match by_argument {
        Ok(policy) => {
            let pairs = policy.settings();
            let joined: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(joined, arguments, "they are not what was given");
            assert_eq!(by_query.as_deref(), Ok(pairs), "the query says something else");
            joined.iter().for_each(|argument| assert_printable(argument, argument.len()));
        }
        Err(message) => {
            assert_printable(&message, max_bytes);
            let has_pairs = arguments.iter().all(|argument| argument.contains('='));
            assert!(by_query.is_err() || !has_pairs, "refused as arguments alone: {message}");
        }
    }
}

/// Gives settings to the component, and to the same policy as native code, which have to be of one mind. A
/// program that embeds the library may give what no server lets through.
fn configure(cache: &SecretCache, runtime: &Runtime, arguments: &[String], max_bytes: usize) {
    let pairs = arguments.iter().filter_map(|argument| argument.split_once('='));
    let policy = Policy::from_bytes(leasehold_policies::TTL);
    let policy = pairs.fold(policy, |policy, (name, value)| policy.setting(name, value));
    let given = policy.settings().to_vec();
    let native: Vec<(&str, &str)> = given.iter().map(|(name, value)| (&**name, &**value)).collect();
    let native = FakeHost::<Ttl>::new(&native).err();
    match runtime.block_on(cache.swap(policy)) {
        Ok(report) => {
            assert_eq!(native, None);
            assert!(given.iter().all(|pair| report.settings.contains(pair)), "{report:?}");
            for (name, value) in report.settings.iter().filter(|(_, value)| !value.ends_with('%')) {
                let duration = parse_duration(value).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(parse_duration(&format!("{}ms", duration.as_millis())), Ok(duration));
            }
        }
        Err(error) => {
            let native = native.expect("the same policy takes them as native code");
            assert_eq!(error.stage, Stage::Configure, "{error}");
            assert_printable(&error.reason, max_bytes);
            // The host cuts it, and says in words of its own which name is not known.
            let is_same = native.replace(char::is_control, " ").starts_with(&error.reason);
            assert!(is_same || error.reason.starts_with("unknown setting"), "{error}; natively: {native}");
        }
    }
}

#[test]
fn settings_are_read_alike_by_every_way_and_by_the_policy() {
    let runtime = runtime();
    let cache = runtime.block_on(cache(|builder| builder));
    let seeds = ["ttl=30s", "ttl=1h30m\u{1e}jitter=10%", "jitter=0s\u{1e}ttl=250ms", "ttl=1d\u{1e}note=a=b"];
    let seeds = seeds.into_iter().map(Seed::from).collect();
    let target = Target { name: "settings", seeds, words: WORDS, gate: 2_000, long: 200_000 };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let max_bytes = MAX_SENTENCE_BYTES + 10 * text.len();
        let arguments: Vec<String> = text.split(SEPARATOR).map(str::to_owned).collect();
        read(&arguments, max_bytes);
        configure(&cache, &runtime, &arguments, max_bytes);
        // The text as it is, for a server that somebody else sends a query to.
        match settings_of_query(&text) {
            Ok(pairs) => pairs.iter().for_each(|(name, value)| {
                assert!(!name.is_empty());
                assert_printable(name, text.len());
                // A byte that is not UTF-8 becomes the three of the replacement character.
                assert_printable(value, 3 * text.len());
            }),
            Err(message) => assert_printable(&message, max_bytes),
        }
    });
}
