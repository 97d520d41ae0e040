//! Reads of many workspaces at once, for a caller that has them all in hand and time: enough in flight that
//! statements are full, and few enough that none is rejected and callers with a single read each find room
//! beside them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::task::coop::consume_budget;

use super::SecretCache;
use crate::admission::QueueSlot;
use crate::flight::{FlightKind, Join, ReadOutcome, Waiter};
use crate::start::LoadStart;
use crate::stats::count;
use crate::table::Value;
use crate::{Error, Lookup, WorkspaceId};

/// Maximum of attempts of a read that was rejected all the same, because of what other callers do: it joined
/// a flight that found no room, or the database had none for it.
const MAX_ROUNDS: usize = 3;

/// The counts of what [`SecretCache::warm`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct WarmReport {
    /// Workspaces that have a secret.
    pub present: usize,
    /// Workspaces that have no secret.
    pub absent: usize,
    /// Workspaces for which that could not be found out.
    pub failed: usize,
    /// The first of those failures.
    pub error: Option<Error>,
}

/// Reads in flight, in the order in which they were begun.
struct Window<'a> {
    cache: &'a SecretCache,
    begun: VecDeque<Begun<'a>>,
    /// Reads that were rejected.
    refused: Vec<(usize, &'a WorkspaceId)>,
}

struct Begun<'a> {
    index: usize,
    workspace: &'a WorkspaceId,
    waiter: Waiter,
}

impl SecretCache {
    /// Reads all of them, each as by [`read`](Self::read): one answer for each, in their order; a workspace
    /// that is named twice is read once. An error of one of them is no error of another.
    ///
    /// Workspaces that are not cached travel to the database in as few statements as possible. Only so many
    /// loads are begun at a time that none is rejected for want of room, so this takes as long as the
    /// database takes, and a database that is silent answers each step with an error after
    /// `database_timeout`. Dropping the future begins no more loads; those that were begun are stored.
    pub async fn get_many(&self, workspaces: &[WorkspaceId]) -> Vec<Result<Lookup, Error>> {
        let mut firsts = HashMap::with_capacity(workspaces.len());
        // The index where the answer of each is found: a repeated workspace has its answer at its first
        // index.
        let places: Vec<usize> =
            (0..).zip(workspaces).map(|(at, id)| *firsts.entry(id).or_insert(at)).collect();
        let distinct = (0..).zip(workspaces).zip(&places).filter(|((at, _), first)| at == *first);
        let distinct = distinct.map(|(named, _)| named).collect();
        let mut answers: Vec<Option<ReadOutcome>> = vec![None; workspaces.len()];
        self.read_each(distinct, |at, outcome| {
            if let Some(answer) = answers.get_mut(at) {
                *answer = Some(outcome);
            }
        })
        .await;
        let answer = |first: usize| answers.get(first).cloned().flatten();
        let unread = || Err(Error::Internal("a read among many was not answered".into()));
        places.into_iter().map(|first| answer(first).unwrap_or_else(unread)).collect()
    }

    /// Reads all of them as [`get_many`](Self::get_many) does, for the sake of later readers: after a start,
    /// say. No secret is kept but in the cache, as the policy decides.
    pub async fn warm(&self, workspaces: &[WorkspaceId]) -> WarmReport {
        let mut report = WarmReport::default();
        self.read_each((0..).zip(workspaces).collect(), |_, outcome| match outcome {
            Ok(_) => report.present += 1,
            Err(Error::Absent) => report.absent += 1,
            Err(error) => {
                report.failed += 1;
                report.error.get_or_insert(error);
            }
        })
        .await;
        report
    }

    /// Reads each of them, and delivers each outcome with its index.
    async fn read_each(
        &self,
        workspaces: Vec<(usize, &WorkspaceId)>,
        mut deliver: impl FnMut(usize, ReadOutcome),
    ) {
        let mut deliver = |index, outcome| deliver(index, self.count_read(outcome));
        let mut left = workspaces;
        for round in 1..=MAX_ROUNDS {
            let mut window = Window { cache: self, begun: VecDeque::new(), refused: Vec::new() };
            for (index, workspace) in left {
                // Other tasks have their turn, too, where thousands of hits follow each other.
                consume_budget().await;
                match self.core.hit(workspace) {
                    Some(Value::Present(lookup)) => deliver(index, Ok(lookup)),
                    Some(Value::Absent) => deliver(index, Err(Error::Absent)),
                    None => window.begin(index, workspace, &mut deliver).await,
                }
            }
            while window.wait_for_first(&mut deliver).await {}
            left = window.refused;
            if round == MAX_ROUNDS {
                left.drain(..).for_each(|(index, _)| deliver(index, Err(Error::Overloaded)));
            }
            if left.is_empty() {
                return;
            }
        }
    }

    /// Joins or starts a read that has its slot in the queue, unless the answer has just been stored.
    fn start_with(&self, workspace: &WorkspaceId, slot: QueueSlot) -> LoadStart {
        let core = &self.core;
        let active = core.rollout.active();
        match core
            .flights
            .join_or_lead(workspace, FlightKind::Fill, active.generation, || core.stored(workspace))
        {
            Join::Cached(outcome) => {
                if outcome.is_ok() {
                    core.table.count_hit();
                }
                LoadStart::Answered(outcome)
            }
            Join::Follower(waiter) => {
                count(&core.counters.joined);
                LoadStart::InFlight(waiter)
            }
            Join::Leader(waiter, leader) => {
                Arc::clone(core).begin_fill(active, leader, slot);
                LoadStart::InFlight(waiter)
            }
        }
    }
}

impl<'a> Window<'a> {
    /// Begins a read once there is room for it.
    async fn begin(
        &mut self,
        index: usize,
        workspace: &'a WorkspaceId,
        deliver: &mut impl FnMut(usize, ReadOutcome),
    ) {
        let begun = match self.room(deliver).await {
            Ok(slot) => self.cache.start_with(workspace, slot),
            Err(error) => LoadStart::Answered(Err(error)),
        };
        match begun {
            LoadStart::InFlight(waiter) => self.begun.push_back(Begun { index, workspace, waiter }),
            LoadStart::Answered(outcome) => deliver(index, outcome),
        }
    }

    /// Waits for the right to begin a load. While there is none, the caller's own reads go on: it waits for
    /// other callers only where it has no read in flight.
    async fn room(&mut self, deliver: &mut impl FnMut(usize, ReadOutcome)) -> Result<QueueSlot, Error> {
        let admission = &self.cache.core.reading;
        let share = loop {
            match admission.try_share() {
                Some(share) => break share,
                None if self.wait_for_first(deliver).await => {}
                None => break admission.share().await?,
            }
        };
        let slot = loop {
            match admission.try_enqueue() {
                Ok(slot) => break slot,
                Err(_) if self.wait_for_first(deliver).await => {}
                Err(_) => break admission.enqueue_in_turn().await?,
            }
        };
        Ok(slot.with_share(share))
    }

    /// Waits for the read that was begun first. Returns whether there was such a read.
    async fn wait_for_first(&mut self, deliver: &mut impl FnMut(usize, ReadOutcome)) -> bool {
        let Some(Begun { index, workspace, waiter }) = self.begun.pop_front() else { return false };
        match self.cache.wait_for(workspace, FlightKind::Fill, waiter).await {
            Err(Error::Overloaded) => self.refused.push((index, workspace)),
            outcome => deliver(index, outcome),
        }
        true
    }
}
