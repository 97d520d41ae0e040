//! A run: a runtime of one thread with a paused clock, a real cache with real policies, and all tasks that
//! use it.
//!
//! Each run has all of its own but the compiled code of the policies, which is what makes a thousand of them
//! affordable. It ends only when nothing is in flight any more, and then shows that the cache still works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use leasehold::{Policy, Probation, SecretCache, Status, WorkspaceId};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use super::checker::{self, Kind, Open, Outcome};
use super::database::{SimDatabase, id};
use super::plan::{Plan, Verb, Weather};
use super::rng::Rng;
use super::row::Content;
use super::time::Time;
use super::world::{Actor, Violation, World};
use super::{client, outside};

/// Time limit: longer than anything that a run starts can take.
const QUIESCENCE_MS: u64 = 400_000;

/// The policies, compiled once: clones share the code.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    pub(crate) ttl: Policy,
    pub(crate) hostile: Policy,
}

/// The state that all tasks of a run share.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) cache: SecretCache,
    pub(crate) time: Time,
    pub(crate) plan: Plan,
    pub(crate) policies: Policies,
    pub(crate) ids: Vec<WorkspaceId>,
    world: Arc<Mutex<World>>,
    /// Swaps and trips of the breaker, as last seen.
    seen: Arc<Mutex<(u64, u64)>>,
}

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) trace: Vec<String>,
    pub(crate) tally: BTreeMap<&'static str, u64>,
    pub(crate) operations: u64,
    pub(crate) violation: Option<Violation>,
    /// The trace up to the violation.
    pub(crate) tail: String,
}

impl Policies {
    /// Compiles them, in a cache that is then dropped.
    pub(crate) fn compile() -> Self {
        let policies = Self {
            ttl: Policy::from_bytes(leasehold_policies::TTL),
            hostile: Policy::from_bytes(leasehold_tests::hostile::COMPONENT),
        };
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            for policy in [&policies.ttl, &policies.hostile] {
                let database = leasehold_tests::scripted::Scripted::new();
                let builder = leasehold_tests::hostile::builder().database(database);
                let cache = builder.policy(policy.clone()).build().await;
                cache.expect("the policies of the tests can be configured");
            }
        });
        policies
    }
}

/// Runs a seed from its beginning to its end.
pub(crate) fn run(seed: u64, policies: &Policies) -> Report {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let rng = Rng::new(seed);
        let (sim, world) = Sim::start(&rng, policies.clone()).await;
        let ended = tokio::time::timeout(Duration::from_secs(100_000), sim.live(&rng)).await;
        if ended.is_err() {
            world
                .lock()
                .expect("no step panics")
                .violate("every call ends in time", "somebody waits for ever".into());
        }
        // The cache is dropped, and its housekeeping notices.
        Time::start().pass(2_000).await;
        let mut world = world.lock().expect("no step panics while it holds the world");
        if Handle::current().metrics().num_alive_tasks() != 0 {
            world.violate("nothing is left", "a task outlives the cache".into());
        }
        Report {
            trace: world.trace(),
            tally: world.tally.clone(),
            operations: world.history.len() as u64,
            violation: world.violation.clone(),
            tail: world.tail(60),
        }
    })
}

impl Sim {
    async fn start(rng: &Rng, policies: Policies) -> (Self, Arc<Mutex<World>>) {
        let time = Time::start();
        let plan = Plan::draw(&mut rng.fork(1));
        let mut world = World::new(plan.clone(), rng, time.clone());
        outside::prepare(&mut world, &mut rng.fork(2));
        let world = Arc::new(Mutex::new(world));
        let (ttl, jitter) = plan.settings;
        // There is no rehearsal: it has a thread of its own, whose end no seed decides, and turns hostile
        // policies away.
        let cache = leasehold_tests::hostile::builder()
            .database(SimDatabase::new(Arc::clone(&world), time.clone()))
            .clock(time.clone())
            .policy(policies.ttl.clone().setting("ttl", ttl).setting("jitter", jitter))
            .max_fresh(Duration::from_millis(plan.max_fresh_ms))
            .max_keep(Duration::from_millis(plan.max_keep_ms))
            .max_absent(Duration::from_millis(plan.max_absent_ms))
            .database_timeout(plan.timeout())
            .max_selects(plan.max_selects)
            // A swap by the breaker would be one that the rules do not know of; it has tests of its own.
            .breaker(u32::MAX, Duration::from_secs(1))
            .probation(Probation::NONE)
            // How long a call takes on this machine must decide nothing.
            .offload_long_calls(false)
            .build()
            .await
            .expect("the plan keeps the operator's bounds");
        let ids = (0..world.lock().expect("nobody has it").rows.len()).map(id).collect();
        let seen = Arc::new(Mutex::new((u64::MAX, 0)));
        let sim = Self { cache, time, plan, policies, ids, world: Arc::clone(&world), seen };
        sim.observe();
        (sim, world)
    }

    async fn live(self, rng: &Rng) {
        let outside = tokio::spawn(outside::happen(self.clone(), rng.fork(3)));
        let clients: Vec<JoinHandle<()>> = (0..self.plan.clients)
            .map(|client| tokio::spawn(client::live(self.clone(), client, rng.fork(10 + client))))
            .collect();
        for actor in clients.into_iter().chain([outside]) {
            actor.await.expect("a client of the simulation does not panic");
        }
        self.quiesce().await;
        self.still_works().await;
        checker::claims(&mut self.world());
        self.tell_stats();
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no step panics while it holds the world")
    }

    /// Waits for so long at least, and then for the next millisecond that belongs to this actor.
    pub(crate) async fn own_millisecond(&self, actor: u64, think_ms: u64) {
        let (actors, earliest_ms) = (self.plan.clients + 1, self.time.ms() + 1 + think_ms);
        let slot_ms = earliest_ms.next_multiple_of(actors) + actor;
        self.time.until(slot_ms).await;
    }

    pub(crate) fn open(&self, client: u64, verb: Verb, key: usize, presented: Option<u32>) -> Open {
        self.observe();
        Open::new(&mut self.world(), client, verb, key, presented)
    }

    pub(crate) fn close(&self, open: Open, outcome: Outcome) {
        self.observe();
        checker::close(&mut self.world(), open, outcome);
    }

    /// Records a policy that has become active, by any cause.
    fn observe(&self) {
        let stats = self.cache.stats();
        let named =
            |wanted: &str| stats.named().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| value);
        let now = (stats.swaps, named("breaker_trips"));
        let is_new = std::mem::replace(&mut *self.seen.lock().expect("nobody panics with it"), now) != now;
        let status = is_new.then(|| self.cache.policy());
        let mut world = self.world();
        if let Some(status) = status {
            let kind = Kind::of(&status, &self.plan);
            world.kinds.insert(status.generation, kind);
            world.generation = status.generation;
            let moment = world.moment();
            world.changes.push(moment);
        }
        let generation = world.generation;
        for (then, story) in std::mem::take(&mut world.suspects) {
            if then == generation {
                world.violate("one load per key", story);
            }
        }
    }

    /// Ends all failures, and lets everything that is in flight come to its end.
    async fn quiesce(&self) {
        let (started_ms, timeout_ms) = (self.time.ms(), self.plan.timeout_ms);
        {
            let mut world = self.world();
            world.plan.weather = Weather { slow: 0, faulty: 0 };
            world.unreachable_until_ms = 0;
        }
        // Statements that no task waits for any more go on, and those that linger in the database do so for
        // 34 s.
        let is_quiet = || {
            let world = self.world();
            let selects =
                world.rows.iter().flat_map(|row| &row.selects).all(|select| select.answer.is_some());
            let settled = |issue: &super::row::Issue| {
                issue.answer.is_some() && issue.voids(timeout_ms).into_iter().all(|ms| ms < self.time.ms())
            };
            selects && world.lingering == 0 && world.rows.iter().flat_map(|row| &row.issues).all(settled)
        };
        // The tasks that the last operation started may not even have begun.
        self.time.pass(1_000).await;
        while !is_quiet() && self.time.ms() < started_ms + QUIESCENCE_MS {
            self.time.pass(1_000).await;
        }
        let in_flight = self.cache.stats().in_flight;
        // One task is the cache's housekeeping.
        let tasks = Handle::current().metrics().num_alive_tasks();
        if !is_quiet() || in_flight != 0 || tasks != 1 {
            self.world().violate("nothing is left", format!("{in_flight} keys under way, {tasks} tasks"));
        }
    }

    /// Checks that the cache is still of use: it reads what is stored, and remembers it.
    async fn still_works(&self) {
        let policy = self.policies.ttl.clone().setting("ttl", "1m");
        let start = self.world().moment();
        self.cache.swap(policy).await.expect("the default policy is good");
        checker::swapped(&mut self.world(), start);
        self.cache.reset();
        for key in 0..self.ids.len() {
            checker::void(&mut self.world(), key);
            client::read(self, 0, key).await;
            client::read(self, 0, key).await;
            let mut world = self.world();
            let stored = world.rows[key].content;
            let answers = world.history.iter().rev().take(2).map(|record| &record.outcome);
            let good = match stored {
                Content::Secret(version) => answers.eq([Status::Hit, Status::Miss]
                    .map(|status| Outcome::Secret(Some((key, version)), Some(status)))
                    .iter()),
                _ => answers.eq([const { &Outcome::Failed(leasehold::Error::Absent) }; 2]),
            };
            if !good {
                world.violate(
                    "nothing is left",
                    format!("w{key} holds {stored:?}, and is not read and then hit"),
                );
            }
        }
    }

    /// Checks the cache's own numbers, and adds them to the trace.
    fn tell_stats(&self) {
        let stats = self.cache.stats();
        let mut world = self.world();
        let selects: usize = world.rows.iter().map(|row| row.selects.len()).sum();
        let issues: usize = world.rows.iter().map(|row| row.issues.len()).sum();
        if (stats.selects, stats.issues) != (selects as u64, issues as u64) {
            world.violate(
                "the numbers are true",
                format!("{stats:?}, and the database saw {selects} and {issues}"),
            );
        }
        for (what, count) in [
            ("loads joined", stats.joined),
            ("refreshes ahead of an end", stats.refreshes),
            ("calls of a policy", stats.policy_calls),
            ("faults of a policy", stats.policy_faults),
            ("entries swept", stats.swept),
        ] {
            *world.tally.entry(what).or_default() += count;
        }
        world.note(Actor::Cache, format!("{stats:?}"));
    }
}
