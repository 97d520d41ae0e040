//! The card as people read it: whole, once, and the words for times.

use super::*;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn card() -> PolicyCard {
    let same = |time| Range { min: time, max: time };
    PolicyCard {
        name: "example".into(),
        version: "1.2.3".into(),
        digest: "ab".repeat(32),
        settings: vec![("ttl".into(), "5m".into()), ("jitter".into(), "1m".into())],
        fresh: Range { min: minutes(4), max: minutes(5) },
        issue_fresh: same(minutes(5)),
        refresh_ahead: same(Duration::from_secs(30)),
        absent: Duration::from_secs(10),
        stale: minutes(90),
        on_error: OnError::Stale,
        write: WriteOrder::DatabaseThenCache,
        statements: 96,
        heartbeats: 480,
        call: Duration::from_nanos(12_345),
        memory_bytes: 1_114_112,
        calls: 612,
    }
}

#[test]
fn the_card_says_everything_in_aligned_lines() {
    let expected = format!(
        "policy                    example 1.2.3\n\
         digest                    {}\n\
         setting ttl               5m\n\
         setting jitter            1m\n\
         fresh                     4m to 5m after a read, without asking the policy\n\
         issue-fresh               5m after an issue, without asking the policy\n\
         jitter                    1m, from workspace to workspace\n\
         refresh-ahead             30s before the end, in the background\n\
         absence                   cached: answered for up to 10s after a secret has appeared\n\
         stale                     no answer was older than 1h30m\n\
         on-error                  stale: a read that no lease covers may be given the kept secret\n\
         write                     the database first, then the cache\n\
         statements-per-heartbeat  0.200: 96 for 480, one a minute for an hour\n\
         memory                    1088 KiB in an instance\n\
         call                      12 µs of processor time\n\
         rehearsed                 with 612 calls\n",
        "ab".repeat(32)
    );
    assert_eq!(card().to_string(), expected);
}

#[test]
fn what_a_policy_does_not_do_is_said_as_well() {
    let card = PolicyCard {
        fresh: Range::default(),
        issue_fresh: Range::default(),
        refresh_ahead: Range::default(),
        absent: Duration::ZERO,
        stale: Duration::ZERO,
        on_error: OnError::Error,
        write: WriteOrder::DatabaseOnly,
        ..card()
    };
    let text = card.to_string();
    for line in [
        "fresh                     after a read: not at all: the next read asks the policy\n",
        "issue-fresh               after an issue: not at all: the next read asks the policy\n",
        "jitter                    none: the same for every workspace\n",
        "refresh-ahead             none\n",
        "absence                   uncached: a secret that appears is found at once\n",
        "stale                     no answer was older than 0s\n",
        "on-error                  error: a read that no lease covers says that the database failed\n",
        "write                     the database; the cache keeps nothing of it\n",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn every_figure_has_a_sentence() {
    for (figure, _) in card().figures() {
        assert!(figure == "absent" || !card().sentence(figure).is_empty(), "{figure}");
    }
}

#[test]
fn times_are_written_as_people_write_them() {
    for (nanos, words) in [
        (0, "0s"),
        (1, "1ms"),
        (250_000_000, "250ms"),
        (1_000_000_000, "1s"),
        (2_500_000_000, "2.5s"),
        (59_999_999_999, "1m"),
        (60_000_000_000, "1m"),
        (299_700_000_000, "4m59.7s"),
        (300_050_000_000, "5m0.05s"),
        (3_600_000_000_000, "1h"),
        (5_400_000_000_000, "1h30m"),
        (86_400_000_000_000, "24h"),
    ] {
        assert_eq!(Words(Duration::from_nanos(nanos)).to_string(), words);
    }
}
