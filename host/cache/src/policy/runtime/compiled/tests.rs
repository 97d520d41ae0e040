use std::pin::pin;

use super::*;
use crate::policy::runtime::engine::engine;

fn compiled(digest: &str) -> Arc<Compiled> {
    Arc::new(Compiled::new(&engine(None).unwrap().register, digest, Arc::new(b"".as_slice())))
}

#[tokio::test]
async fn a_wait_that_is_dropped_holds_nothing_that_the_compiler_could_be_busy_with() {
    let waited = compiled("a");
    let held = Arc::downgrade(&waited);
    {
        let mut wait = pin!(waited.wait(Duration::from_secs(60)));
        let once = std::future::poll_fn(|context| std::task::Poll::Ready(wait.as_mut().poll(context)));
        assert!(once.await.is_pending());
    }
    assert!(held.upgrade().is_none());
}

#[tokio::test]
async fn all_who_wait_are_told_and_a_refusal_is_not_kept_for_those_who_come_later() {
    let register = &engine(None).unwrap().register;
    let digest = "all_who_wait_are_told";
    let begin = || register.join_or_begin(digest, Arc::new(b"".as_slice()), |_| Ok(())).unwrap();
    let (one, is_new) = begin();
    let (other, is_new_again) = begin();
    assert_eq!((is_new, is_new_again, Arc::ptr_eq(&one, &other)), (true, false, true));
    let limit = Duration::from_secs(60);
    let waits = [tokio::spawn(Arc::clone(&one).wait(limit)), tokio::spawn(other.wait(limit))];
    one.complete(Err(SwapError::new(Stage::Compile, "no")));
    for wait in waits {
        assert_eq!(wait.await.unwrap().map(drop).unwrap_err().reason, "no");
    }
    let (anew, is_new) = begin();
    assert!(is_new && !Arc::ptr_eq(&anew, &one));
}

#[tokio::test]
async fn a_rehearsal_is_remembered_with_all_that_it_depends_on() {
    let policy = crate::Policy::from_bytes(leasehold_policies::TTL);
    let card = crate::SecretCache::builder().policy(policy).rehearse().await.unwrap();
    let ceilings = Ceilings {
        max_fresh: Duration::from_secs(1),
        max_keep: Duration::from_secs(2),
        max_absent: Duration::from_secs(3),
    };
    let rehearsed = Rehearsed { settings: Vec::new(), ceilings, cpu_limit: Duration::from_millis(10) };
    let compiled = compiled("b");
    compiled.remember_rehearsal(rehearsed.clone(), card);
    assert!(compiled.rehearsal(&rehearsed).is_some());
    let lower = Ceilings { max_absent: Duration::ZERO, ..ceilings };
    assert!(compiled.rehearsal(&Rehearsed { ceilings: lower, ..rehearsed.clone() }).is_none());
    let settings = vec![("ttl".to_owned(), "1m".to_owned())];
    assert!(compiled.rehearsal(&Rehearsed { settings, ..rehearsed.clone() }).is_none());
    assert!(compiled.rehearsal(&Rehearsed { cpu_limit: Duration::from_millis(5), ..rehearsed }).is_none());
}
