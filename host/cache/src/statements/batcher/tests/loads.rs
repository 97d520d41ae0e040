//! Tests of loads that wait in the batcher without a task.

use super::*;

/// Starts a load that only passes on the answer that it was given.
fn load(batcher: &Arc<Batcher>, id: &str, deadline: Deadline) -> JoinHandle<Read> {
    let (tx, rx) = oneshot::channel();
    batcher.select_for(WorkspaceId::new(id).unwrap(), deadline, async |read| tx.send(read).unwrap());
    tokio::spawn(async { rx.await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn each_load_goes_on_with_its_own_answer_alone_or_along_with_others() {
    let (database, clock) = (Gated::new(64, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let loads: Vec<_> = (0..40).map(|id| load(&batcher, &format!("w{id}"), in_a_second())).collect();
    let absent = load(&batcher, "absent", in_a_second());
    settle().await;
    database.gate.send_replace(TestGate::Open);
    for (id, load) in loads.into_iter().enumerate() {
        assert_eq!(text(load).await, Ok(Some(format!("w{id}"))));
    }
    assert_eq!(text(absent).await, Ok(None));
    assert_eq!(database.sizes(), [1, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_or_waits_holds_up_none_of_those_in_its_task() {
    let (database, clock) = (Gated::new(64, false), Arc::default());
    let batcher = batcher(&database, &clock, 1);
    let mut loads = vec![load(&batcher, "first", in_a_second())];
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let (tx, rx) = oneshot::channel();
    let lost = {
        let (tx, rx) = oneshot::channel::<()>();
        let panics = async move |_: Read| {
            let _tx = tx;
            panic!("as the test wants")
        };
        batcher.select_for(WorkspaceId::new("panics").unwrap(), in_a_second(), panics);
        rx
    };
    let waits = async move |read: Read| {
        may_go_on.await.unwrap();
        tx.send(read).unwrap();
    };
    batcher.select_for(WorkspaceId::new("waits").unwrap(), in_a_second(), waits);
    loads.extend((0..3).map(|id| load(&batcher, &format!("w{id}"), in_a_second())));
    settle().await;
    database.gate.send_replace(TestGate::Open);
    for load in loads {
        assert!(text(load).await.is_ok());
    }
    assert!(lost.await.is_err(), "what it held was dropped");
    go_on.send(()).unwrap();
    assert!(rx.await.unwrap().is_ok());
    assert_eq!(database.sizes(), [1, 5], "they travelled together");
}

#[tokio::test(start_paused = true)]
async fn a_load_is_late_or_rejected_at_its_own_deadline() {
    let (database, clock) = (Gated::new(64, false), Arc::default());
    let batcher = batcher(&database, &clock, 2);
    let started = Deadline::now();
    let after = |ms| started + Duration::from_millis(ms);
    let solo = load(&batcher, "solo", after(900));
    settle().await;
    let [hasty, patient] = [300, 800].map(|ms| load(&batcher, "w", after(ms)));
    sleep(LINGER + Duration::from_millis(1)).await;
    assert_eq!(database.sizes(), [1, 2]);
    let [first_not_sent, second_not_sent] = [400, 500].map(|ms| load(&batcher, "x", after(ms)));
    let late = [
        (hasty, 300, DatabaseError::Timeout),
        (first_not_sent, 400, DatabaseError::Overloaded),
        (second_not_sent, 500, DatabaseError::Overloaded),
    ];
    for (load, ms, error) in late {
        assert_eq!(text(load).await, Err(error));
        let late_by = after(ms).elapsed();
        assert!(late_by < LINGER, "the one of {ms} ms was answered {late_by:?} too late");
    }
    database.gate.send_replace(TestGate::Open);
    assert!(text(patient).await.is_ok() && text(solo).await.is_ok());
    assert_eq!(batcher.counters.overloaded.load(Ordering::SeqCst), 2);
    assert_eq!(database.sizes(), [1, 2], "nobody waits for those that were rejected");
}
