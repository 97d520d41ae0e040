//! Many reads at once, for a caller that has them all in hand and time: so many in flight that statements are
//! full, and so few that none is turned away and callers with one read each find room beside them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::task::coop::consume_budget;

use super::SecretCache;
use crate::admission::QueueSlot;
use crate::flight::{FlightKind, Join, ReadOutcome, Waiter};
use crate::stats::count;
use crate::{Error, Lookup, WorkspaceId};

/// Attempts of a read that was turned away all the same, because of what others do: it joined one that found
/// no room, or the database had none for it.
const MAX_ROUNDS: usize = 3;

/// What [`SecretCache::warm`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct WarmReport {
    /// Workspaces that have a secret.
    pub present: usize,
    /// Workspaces that have none.
    pub absent: usize,
    /// Workspaces of which that could not be found out.
    pub failed: usize,
    /// The first error of those.
    pub error: Option<Error>,
}

/// Reads under way, in the order in which they were begun.
struct Window<'a> {
    cache: &'a SecretCache,
    begun: VecDeque<Begun<'a>>,
    /// Those that were turned away.
    refused: Vec<(usize, &'a WorkspaceId)>,
}

struct Begun<'a> {
    index: usize,
    workspace: &'a WorkspaceId,
    waiter: Waiter,
}

impl SecretCache {
    /// Reads all of them, each as by [`read`](Self::read): one answer for each, in their order; a workspace
    /// that is named twice is read once. What is wrong with one of them is no error of another.
    ///
    /// What is not cached travels to the database in as few statements as it can. Only so many loads are
    /// begun at a time that none is refused for want of room, so this takes as long as the database takes,
    /// and a database that is silent answers each step with an error after `database_timeout`. Dropping it
    /// begins no more; what was begun is stored.
    pub async fn get_many(&self, workspaces: &[WorkspaceId]) -> Vec<Result<Lookup, Error>> {
        let mut firsts = HashMap::with_capacity(workspaces.len());
        // Where the answer of each is found: those named before have theirs at the first place.
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

    /// Reads all of them as [`get_many`](Self::get_many) does, for the sake of those who ask next: after a
    /// start, say. No secret is kept but in the cache, as the policy decides.
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

    /// Reads each of them, and tells the outcome with its number.
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
                // Others have their turn, too, where thousands of hits follow each other.
                consume_budget().await;
                match self.hit(workspace) {
                    Some(lookup) => deliver(index, lookup.ok_or(Error::Absent)),
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

    /// A waiter for a read that has its place in the queue, or the answer if it has just been stored.
    fn start_with(&self, workspace: &WorkspaceId, slot: QueueSlot) -> Result<Waiter, ReadOutcome> {
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
                Err(outcome)
            }
            Join::Follower(waiter) => {
                count(&core.counters.joined);
                Ok(waiter)
            }
            Join::Leader(waiter, leader) => {
                Arc::clone(core).begin_fill(active, leader, slot);
                Ok(waiter)
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
            Err(error) => Err(Err(error)),
        };
        match begun {
            Ok(waiter) => self.begun.push_back(Begun { index, workspace, waiter }),
            Err(outcome) => deliver(index, outcome),
        }
    }

    /// The right to begin a load. While there is none its own reads go on: it waits for others only where it
    /// has none.
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

    /// Waits for the read that was begun first. Returns whether there was one.
    async fn wait_for_first(&mut self, deliver: &mut impl FnMut(usize, ReadOutcome)) -> bool {
        let Some(Begun { index, workspace, waiter }) = self.begun.pop_front() else { return false };
        match self.cache.wait_for(workspace, FlightKind::Fill, waiter).await {
            Err(Error::Overloaded) => self.refused.push((index, workspace)),
            outcome => deliver(index, outcome),
        }
        true
    }
}
