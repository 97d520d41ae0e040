//! Leases that end in the middle of a call: a policy may answer with what it was shown, however late it is by
//! then.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Clock, Error, Instant, ManualClock, Policy, SecretCache, WorkspaceId};
use leasehold_tests::scripted::Scripted;

use super::W;

/// A clock that goes on a little whenever it is read. Its coarse reading is ahead of it, as that of a real
/// one may be.
struct Ticking {
    clock: ManualClock,
    lead: Duration,
}

impl Clock for Ticking {
    fn now(&self) -> Instant {
        self.clock.advance(Duration::from_millis(1));
        self.clock.now()
    }

    fn now_coarse(&self) -> Instant {
        self.clock.now().saturating_add(self.lead)
    }

    fn suspended(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn an_absence_whose_lease_ends_within_the_call_is_no_fault_of_the_policy() {
    let id = WorkspaceId::new(W).expect("a usable id");
    // Every tick of a call meets the end of a lease with one of these leads.
    for lead in 0..16 {
        let clock = Arc::new(Ticking { clock: ManualClock::new(), lead: Duration::from_millis(lead) });
        let policy = Policy::from_bytes(leasehold_policies::NEGATIVE).setting("absent-ttl", "30ms");
        let builder = SecretCache::builder().database(Scripted::new()).clock(Arc::clone(&clock));
        let cache = builder.policy(policy).build().await.expect("a bundled policy");
        for _ in 0..100 {
            clock.clock.advance(Duration::from_millis(1));
            assert_eq!(cache.read(&id).await.err(), Some(Error::Absent));
        }
        let stats = cache.stats();
        assert!(stats.policy_calls > 2, "no lease ended: {} calls", stats.policy_calls);
        assert_eq!((stats.policy_faults, stats.bypassed), (0, 0), "a lead of {lead} ms");
    }
}
