//! A table of moves: what is active after each, and what a rollback goes back to. The moves are made by the
//! rollout that the history belongs to, on the shipped policy under a setting for each letter.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::policy::intake::gate::Gate;
use crate::policy::rollout::probation::Probation;
use crate::policy::rollout::{Rollout, RolloutConfig};
use crate::policy::runtime::pool::CallLimits;
use crate::stats::Counters;
use crate::{Clock, ManualClock, RetainedPolicy, Stage};

/// Number of faults that the breaker takes, and its window.
pub(in crate::policy) const FAULTS: u32 = 2;
pub(in crate::policy) const WINDOW: Duration = Duration::from_secs(10);
/// Length of the probation.
pub(in crate::policy) const PROBATION: Duration = Duration::from_secs(300);

/// Rollout with its clock. Its state is written `b'|* a`: the active policy, and the ones to go back to, the
/// latest last. A letter with `'` is not proven, and `*` is the built-in policy.
pub(in crate::policy) struct DrivenRollout {
    pub(in crate::policy) rollout: Rollout,
    pub(in crate::policy) clock: Arc<ManualClock>,
    pub(in crate::policy) counters: Arc<Counters>,
    /// The policies to go back to, as the observer was last notified of them.
    previous: Arc<Mutex<String>>,
}

impl DrivenRollout {
    /// Starts as after an earlier process that left this state. `?` is a policy that cannot be loaded.
    pub(in crate::policy) async fn start(state: &str) -> Self {
        let (active, previous) = state.split_once('|').unwrap_or((state, ""));
        let proven = |name: &str| !name.ends_with('\'');
        let previous = previous
            .split_whitespace()
            .map(|name| RetainedPolicy { policy: policy(name), proven: proven(name) })
            .collect();
        let notified = Arc::<Mutex<String>>::default();
        let observed = Arc::clone(&notified);
        let config = RolloutConfig {
            gate: Gate::default(),
            calls: CallLimits { cpu_limit: Duration::from_secs(10), may_leave: false, execution: None },
            rehearsal: None,
            breaker: Breaker::new(FAULTS, WINDOW),
            probation: Probation { lasts: PROBATION, loads: Some(3.0), ..Probation::default() },
            first_on_probation: !proven(active),
            observer: Some(Box::new(move |change| {
                let previous: Vec<String> =
                    change.previous.iter().map(|of| written(&of.policy, of.proven)).collect();
                *observed.lock().unwrap() = previous.join(" ");
            })),
        };
        let (clock, counters) = (Arc::new(ManualClock::new()), Arc::<Counters>::default());
        let timed: Arc<dyn Clock> = clock.clone();
        let counted = Arc::clone(&counters);
        let rollout = Rollout::new(policy(active), policy("*"), previous, config, timed, counted);
        Self { rollout: rollout.await.unwrap(), clock, counters, previous: notified }
    }

    /// Makes moves: `b` swaps, `=b` changes the setting, `?` and `=?` are refused, `<` goes back, `!` fails
    /// until the policy is replaced or the breaker's limit is reached, `+` is the end of a probation.
    pub(in crate::policy) async fn go(&self, moves: &str) {
        for step in moves.split_whitespace() {
            match step.split_at(1) {
                ("<", _) => drop(self.rollout.rollback("", 0).await.unwrap()),
                ("!", _) => self.fail(),
                ("+", _) => {
                    self.clock.advance(PROBATION);
                    assert_eq!(self.rollout.supervise(), None);
                }
                ("?", _) => drop(self.rollout.swap(policy("?"), "", 0).await.unwrap_err()),
                ("=", "?") => drop(self.set("forever").await.unwrap_err()),
                ("=", name) => drop(self.set(&setting(name)).await.unwrap()),
                _ => drop(self.rollout.swap(policy(step), "", 0).await.unwrap()),
            }
        }
    }

    async fn set(&self, ttl: &str) -> Result<crate::SwapReport, SwapError> {
        self.rollout.reconfigure(vec![("ttl".to_owned(), ttl.to_owned())], "", 0).await
    }

    fn fail(&self) {
        let active = self.rollout.active();
        for _ in 0..FAULTS {
            let _ = self.rollout.note_fault(&active, &crate::policy::call::Fault("it trapped".into()));
        }
    }

    /// Returns the state, after holding the status against it.
    pub(in crate::policy) fn state(&self) -> String {
        let (active, status) = (self.rollout.active(), self.rollout.status());
        let (active, previous) = (active.loaded(), self.previous.lock().unwrap());
        // The end of a probation is seen by the next look only.
        assert!(status.probation.is_none() || !active.is_proven());
        let last = status.last_good.map(|last| letter(&last.settings)).into_iter().collect::<String>();
        assert_eq!(last, previous.trim_end_matches('\'').chars().last().into_iter().collect::<String>());
        format!("{}|{previous}", written(&active.policy, active.is_proven()))
    }

    /// Returns the policies that rollbacks go back to until there is none.
    async fn rollbacks(&self) -> String {
        let mut passed = Vec::new();
        while let Ok(report) = self.rollout.rollback("", 0).await {
            passed.push(letter(&report.settings).to_string());
            assert!(passed.len() <= 2 * MAX_PREVIOUS, "no end: {passed:?}");
        }
        passed.join(" ")
    }
}

/// Returns the policy of a letter, with or without a mark.
fn policy(name: &str) -> Policy {
    let ttl = Policy::from_bytes(leasehold_policies::TTL);
    match name.trim_end_matches('\'') {
        "*" => ttl,
        "?" => Policy::from_bytes(b"no component".as_slice()),
        letter => ttl.setting("ttl", setting(letter)),
    }
}

/// Returns the setting of a letter: `11m` for `a`.
fn setting(letter: &str) -> String {
    format!("{}m", letter.as_bytes()[0] - b'a' + 11)
}

/// Returns the letter of the settings in force.
fn letter(settings: &[(String, String)]) -> char {
    let ttl = settings.iter().find(|(name, _)| name == "ttl").map(|(_, ttl)| ttl.trim_end_matches('m'));
    match ttl.unwrap().parse::<u8>().unwrap() {
        5 => '*',
        minutes => char::from(b'a' + minutes - 11),
    }
}

fn written(policy: &Policy, proven: bool) -> String {
    let letter = if policy.settings().is_empty() { '*' } else { letter(policy.settings()) };
    format!("{letter}{}", if proven { "" } else { "'" })
}

/// The start, the moves, the state after them, and what rollbacks go back to from there.
const MOVES: &[(&str, &str, &str, &str)] = &[
    // A policy is activated, and proves itself.
    ("a", "", "a|", ""),
    ("a", "b", "b'|a", "a"),
    ("a", "b +", "b|a", "a"),
    ("a", "b c", "c'|a b'", "b a"),
    ("a", "b + c + d", "d'|a b c", "c b a"),
    ("*", "b", "b'|*", "*"),
    // The same again has nothing to prove and is nothing to go back to. Settings make it another one.
    ("a", "a", "a|", ""),
    ("a", "b b", "b'|a", "a"),
    ("a", "b + b", "b|a", "a"),
    ("a", "=a", "a|", ""),
    ("a", "=b", "b'|a", "a"),
    ("a", "b =c + =d", "d'|a b' c", "c b a"),
    ("a", "b a", "a'|a b'", "b a"),
    // A refusal changes nothing.
    ("a", "? =?", "a|", ""),
    ("a", "b ? =?", "b'|a", "a"),
    // A rollback leaves a policy for good, but the last proven one for one that is not.
    ("a", "b <", "a|", ""),
    ("a", "b + <", "a|", ""),
    ("a", "b c <", "b'|a", "a"),
    ("a", "b c + <", "b'|a", "a"),
    ("a", "b < c", "c'|a", "a"),
    ("a", "b + c < =d", "d'|a b", "b a"),
    ("a|b'", "<", "b'|a", "a"),
    ("a|b' c'", "< <", "b'|a", "a"),
    ("a|b'", "< <", "a|", ""),
    // The host goes back to the last proven one, and the failed one is kept behind all others.
    ("a", "b !", "a|b'", "b a"),
    ("a", "b + !", "a|b'", "b a"),
    ("a", "b c !", "a|c' b'", "b c a"),
    ("a", "b + c !", "b|c' a", "a c a"),
    ("a", "b + c d !", "b|d' a c'", "c a d a"),
    ("a", "b + =c !", "b|c' a", "a c a"),
    ("a", "b + c ! !", "a|b' c'", "c b a"),
    ("a", "b ! b !", "a|b'", "b a"),
    ("a", "b ! c !", "a|c' b'", "b c a"),
    ("a", "b ! <", "b'|a", "a"),
    ("a", "b ! < !", "a|b'", "b a"),
    ("a", "b ! < +", "b|a", "a"),
    // The built-in one serves where none is proven, is always proven, and has none behind it.
    ("a", "!", "*|a'", "a *"),
    ("a", "! !", "*|a'", "a *"),
    ("a", "! < !", "*|a'", "a *"),
    ("a", "! b !", "*|b' a'", "a b *"),
    ("*", "!", "*|", ""),
    ("a", "* !", "a|", ""),
    ("a'|b'", "!", "*|a' b'", "b a *"),
    // A failed policy is forgotten wherever it was.
    ("a", "b c b !", "a|b' c'", "c b a"),
    ("a", "b + c b + !", "a|b' c'", "c b a"),
    // An earlier process has left them; what cannot be loaded any more is left out.
    ("c|a b", "", "c|a b", "b a"),
    ("c'|a b'", "", "c'|a b'", "b a"),
    ("c'|a b'", "!", "a|c' b'", "b c a"),
    ("c'|a b'", "+ <", "b'|a", "a"),
    ("c|a ? b", "", "c|a b", "b a"),
    ("c|?", "", "c|", ""),
    // Eight are kept, and the only proven one is not dropped for others.
    ("a", "b c d e f g h i", "i'|a b' c' d' e' f' g' h'", "h g f e d c b a"),
    ("a", "b c d e f g h i j k", "k'|a d' e' f' g' h' i' j'", "j i h g f e d a"),
    ("a", "b + c d e f g h i j k", "k'|b d' e' f' g' h' i' j'", "j i h g f e d b"),
    ("a|b' c' d' e' f' g' h' i'", "j", "j'|c' d' e' f' g' h' i' a", "a i h g f e d c a"),
    ("a", "b c d e f g h i j !", "a|j' c' d' e' f' g' h' i'", "i h g f e d c j a"),
    ("k|a b c d e f g h i j", "", "k|c d e f g h i j", "j i h g f e d c"),
    ("k|a b' c' d' e' f' g' h' i' j'", "", "k|a d' e' f' g' h' i' j'", "j i h g f e d a"),
    // Each rollback changes something: what was between two of a kind may be gone.
    ("a", "b a b !", "a|b'", "b a"),
    ("a", "b a + b !", "a|b'", "b a"),
    ("a", "b a c !", "a|c' b'", "b c a"),
    ("a", "b c + b d !", "c|d' a b'", "b a d a"),
    ("a", "b + c b d + c !", "d|c' a b", "b a c a"),
    ("a|b a", "", "a|b", "b"),
    ("a|b ? a'", "", "a|b", "b"),
    ("c|a ? a'", "", "c|a", "a"),
    ("c|a' ? a", "", "c|a", "a"),
    ("k|a b' a' c' d' e' f' g' h'", "", "k|a c' d' e' f' g' h'", "h g f e d c a"),
    // A proven policy is kept behind itself: a failure of another one goes back to it.
    ("a'|a", "b !", "a|b'", "b a"),
    ("a'|a", "+", "a|a", ""),
];

#[tokio::test]
async fn each_move_leads_to_its_state_and_rollbacks_lead_out_of_it_one_policy_at_a_time() {
    for (start, moves, state, rollbacks) in MOVES {
        let driven = DrivenRollout::start(start).await;
        driven.go(moves).await;
        assert_eq!(driven.state(), *state, "after {start}: {moves}");
        let generation = driven.rollout.generation();
        assert_eq!(driven.rollbacks().await, *rollbacks, "from {state}");
        let refused = driven.rollout.rollback("", 0).await.unwrap_err();
        assert_eq!(
            (refused.stage, rollbacks.is_empty()),
            (Stage::Rollback, generation == driven.rollout.generation())
        );
    }
}

#[tokio::test]
async fn the_latest_sixteen_records_are_kept_with_what_was_refused_among_them() {
    let driven = DrivenRollout::start("a").await;
    let causes = |driven: &DrivenRollout| {
        let words = |record: &SwapRecord| match &record.outcome {
            Ok(generation) => format!("{} {generation}", record.cause.as_str()),
            Err(refused) => format!("{} refused at {}", record.cause.as_str(), refused.stage),
        };
        driven.rollout.status().recent.iter().map(words).collect::<Vec<_>>()
    };
    driven.go("b + ? ! c ! <").await;
    assert_eq!(
        causes(&driven),
        ["rollback 6", "probation 5", "swap 4", "breaker 3", "swap refused at inspect", "swap 2", "start 1"]
    );
    for _ in 0..MAX_RECORDS {
        driven.go("? d").await;
    }
    let causes = causes(&driven);
    assert_eq!(causes.len(), MAX_RECORDS);
    assert_eq!((causes[0].as_str(), causes[1].as_str()), ("swap 22", "swap refused at inspect"));
}
