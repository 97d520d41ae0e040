//! Refreshes ahead on the fake host, as an author sees them: by the SDK's own functions, and by hand.

use core::time::Duration;

use leasehold_policy::{
    Context, DatabaseError, Description, FakeHost, IssueMode, Lease, Policy, Secret, Settings,
};

const TTL: Duration = Duration::from_secs(300);

/// The policy that `leasehold policy new` writes, with a refresh at half of its time. The number selects how
/// it reads.
struct Ahead<const HOW: u8>;

/// Reads as the template does.
const BY_RENEW: u8 = 0;
const BY_READ_THROUGH: u8 = 1;
/// Puts the kept secret again, and never sends a SELECT while there is one.
const BLINDLY: u8 = 2;

impl<const HOW: u8> Policy for Ahead<HOW> {
    const DESCRIPTION: Description =
        Description { name: "ahead", version: "0.1.0", summary: "Refreshes ahead.", settings: &[] };

    fn configure(_: &Settings<'_>) -> Result<Self, String> {
        Ok(Self)
    }

    fn read(&self, cx: &Context) -> Result<Option<Secret>, DatabaseError> {
        if HOW == BY_READ_THROUGH {
            return cx.read_through(lease);
        }
        if let Some(secret) = cx.entry().and_then(|entry| entry.value) {
            if HOW == BLINDLY {
                cx.put(&secret, lease(&secret));
                return Ok(Some(secret));
            }
            if cx.renew(&secret, lease(&secret)) {
                return Ok(Some(secret));
            }
        }
        cx.load(lease)
    }

    fn issue(&self, cx: &Context, mode: IssueMode) -> Result<Secret, DatabaseError> {
        cx.write_through(mode, lease)
    }
}

fn lease(secret: &Secret) -> Lease {
    let at = secret.obtained_at();
    Lease { refresh_after: at + TTL / 2, ..Lease::until(at + TTL) }
}

/// Makes a host whose secret was read, and for which a refresh is due.
fn due<const HOW: u8>() -> FakeHost<Ahead<HOW>> {
    let host = FakeHost::new(&[]).expect("it has no settings");
    host.store("w", Some("old"));
    assert_eq!(host.read("w"), Ok(Some("old".into())));
    host.store("w", Some("new"));
    host.advance(TTL / 2);
    assert_eq!((host.read("w"), host.refreshes()), (Ok(Some("old".into())), 0), "not yet");
    host.advance(Duration::from_millis(1));
    host
}

fn a_refresh_reads<const HOW: u8>() {
    let host = due::<HOW>();
    assert_eq!(host.read("w"), Ok(Some("old".into())), "nobody waits for it");
    assert_eq!((host.selects(), host.refreshes()), (2, 1));
    for _ in 0..100 {
        assert_eq!(host.read("w"), Ok(Some("new".into())));
    }
    assert_eq!((host.selects(), host.calls()), (2, 2), "and then hits are hits again");
}

#[test]
fn a_refresh_that_is_due_reads_the_database() {
    a_refresh_reads::<BY_RENEW>();
    a_refresh_reads::<BY_READ_THROUGH>();
}

#[test]
fn a_swap_does_not_put_off_a_refresh_that_is_due() {
    let host = due::<BY_RENEW>().swap::<Ahead<BY_RENEW>>(&[]).expect("it has no settings");
    assert_eq!((host.read("w"), host.selects()), (Ok(Some("new".into())), 2));
}

#[test]
fn a_refresh_that_fails_leaves_the_lease_and_is_tried_again_after_a_pause() {
    let host = due::<BY_READ_THROUGH>();
    host.fail(Some(DatabaseError::Unavailable));
    for second in 0..60 {
        assert_eq!(host.read("w"), Ok(Some("old".into())), "at {second} s");
        host.advance(Duration::from_secs(1));
    }
    // At once, and at 6 s, 13 s, 27 s and 55 s: the first moments after as long again as it had been due.
    assert_eq!(host.refreshes(), 5);
    host.fail(None);
    host.advance(Duration::from_secs(60));
    assert_eq!(host.read("w"), Ok(Some("old".into())));
    assert_eq!(host.read("w"), Ok(Some("new".into())));
}

#[test]
fn a_refresh_that_reads_nothing_is_not_asked_for_by_each_hit() {
    let host = due::<BLINDLY>();
    for _ in 0..140 {
        assert_eq!(host.read("w"), Ok(Some("old".into())));
        host.advance(Duration::from_secs(1));
    }
    assert_eq!((host.selects(), host.refreshes()), (1, 6));
}
