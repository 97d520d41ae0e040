//! The SDK's fake host against the real one: the same random scenario, and every answer the same.
//!
//! A policy author trusts the fake. So a policy runs natively on it, and as a component in a real cache, and
//! the two may differ in nothing that a caller or the database sees: the default policy, and the one that
//! refreshes ahead and answers with kept values. A failure prints the seed; set it below to replay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold::{DatabaseError, Error, ManualClock, Policy, SecretCache, WorkspaceId};
use leasehold_policy::{FakeHost, Policy as Native};
use leasehold_policy_resilient::Resilient;
use leasehold_policy_ttl::Ttl;
use leasehold_tests::scripted::{Fault, Scripted};

const SEEDS: std::ops::Range<u64> = 0..20;
const STEPS: usize = 500;
const WORKSPACES: u64 = 4;

/// Both hosts, driven in step.
struct Pair<P> {
    fake: Option<FakeHost<P>>,
    cache: SecretCache,
    database: Scripted,
    clock: Arc<ManualClock>,
    /// The secret that the fake minted, by the one that the real host minted: the only thing in which the two
    /// must differ.
    minted: HashMap<String, String>,
    random: u64,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Secret(String),
    Absent,
    Unknown,
    Unavailable,
}

impl<P: Native> Pair<P> {
    async fn new(component: &'static [u8], seed: u64) -> Self {
        let (database, clock) = (Scripted::new(), Arc::new(ManualClock::new()));
        let builder = SecretCache::builder().database(database.clone()).clock(Arc::clone(&clock));
        let cache = builder.policy(Policy::from_bytes(component)).build().await.expect("it is good");
        let fake = Some(FakeHost::new(&[]).expect("the defaults are good"));
        Self {
            fake,
            cache,
            database,
            clock,
            minted: HashMap::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn fake(&self) -> &FakeHost<P> {
        self.fake.as_ref().expect("it is only gone during a swap")
    }

    /// Returns a number below `bound`, by xorshift.
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    fn store(&mut self, id: &str, secret: Option<&str>) {
        self.fake().store(id, secret);
        self.database.store(id, secret);
    }

    async fn step(&mut self) -> String {
        let id = format!("w{}", self.random(WORKSPACES));
        match self.random(100) {
            0..10 => {
                let secret = format!("s{}", self.random(1000));
                self.store(&id, Some(&secret));
                format!("store {id}")
            }
            10..14 => {
                let empty = self.random(2) == 0;
                self.store(&id, empty.then_some(""));
                format!("clear {id}")
            }
            14..18 => {
                self.fake().delete(&id);
                self.database.delete(&id);
                format!("delete {id}")
            }
            18..30 => {
                let span = Duration::from_millis(self.random(120_000));
                self.fake().advance(span);
                self.clock.advance(span);
                format!("advance {span:?}")
            }
            30..34 => {
                let down = self.random(2) == 0;
                self.fake().fail(down.then_some(leasehold_policy::DatabaseError::Unavailable));
                self.database.fault(down.then(|| Fault::Fails(DatabaseError::Unavailable("down".into()))));
                format!("down {down}")
            }
            34..38 => self.swap().await,
            38..50 => self.issue(&id).await,
            _ => self.read(&id).await,
        }
    }

    async fn swap(&mut self) -> String {
        let ttl = format!("{}s", 60 + self.random(240));
        let settings = [("ttl", ttl.as_str()), ("jitter", "30s")];
        let fake = self.fake.take().expect("it is there between swaps");
        self.fake = Some(fake.swap(&settings).expect("the settings are good"));
        let policy =
            settings.iter().fold(self.cache.active(), |policy, (name, value)| policy.setting(*name, *value));
        self.cache.swap(policy).await.expect("the settings are good");
        format!("swap {ttl}")
    }

    async fn read(&mut self, id: &str) -> String {
        let fake = match self.fake().read(id) {
            Ok(Some(secret)) => Answer::Secret(secret),
            Ok(None) => Answer::Absent,
            Err(error) => answer(error),
        };
        let real = match self.cache.read(&WorkspaceId::new(id).expect("usable")).await {
            Ok(lookup) => {
                let secret = lookup.secret.expose_str().expect("text").to_owned();
                Answer::Secret(self.minted.get(&secret).cloned().unwrap_or(secret))
            }
            Err(Error::Absent) => Answer::Absent,
            Err(Error::Unavailable(_)) => Answer::Unavailable,
            Err(error) => panic!("{error}"),
        };
        // A refresh that this read has asked for.
        while self.cache.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(fake, real, "read {id}");
        format!("read {id}")
    }

    async fn issue(&mut self, id: &str) -> String {
        let fake = self.fake().issue(id, leasehold_policy::IssueMode::Rotate);
        match (fake, self.cache.issue(&WorkspaceId::new(id).expect("usable")).await) {
            (Ok(fake), Ok(real)) => {
                self.minted.insert(real.expose_str().expect("text").to_owned(), fake);
            }
            (Err(fake), Err(Error::UnknownWorkspace)) => assert_eq!(answer(fake), Answer::Unknown),
            (Err(fake), Err(Error::Unavailable(_))) => assert_eq!(answer(fake), Answer::Unavailable),
            (fake, real) => panic!("issue {id}: {fake:?} and {real:?}"),
        }
        format!("issue {id}")
    }
}

fn answer(error: leasehold_policy::DatabaseError) -> Answer {
    match error {
        leasehold_policy::DatabaseError::Unavailable => Answer::Unavailable,
        leasehold_policy::DatabaseError::UnknownWorkspace => Answer::Unknown,
        error => panic!("{error:?}"),
    }
}

async fn alike<P: Native>(component: &'static [u8]) -> u64 {
    let mut refreshes = 0;
    for seed in SEEDS {
        let mut pair = Pair::<P>::new(component, seed).await;
        let mut trace = Vec::new();
        for _ in 0..STEPS {
            trace.push(pair.step().await);
            let fake = (pair.fake().selects(), pair.fake().issues(), pair.fake().refreshes());
            let real = (pair.database.selects(), pair.database.issues(), pair.cache.stats().refreshes);
            assert_eq!(fake, real, "seed {seed}, after {trace:#?}");
        }
        refreshes += pair.fake().refreshes();
    }
    refreshes
}

#[tokio::test]
async fn the_fake_host_answers_as_the_real_one_and_sends_as_many_statements() {
    assert_eq!(alike::<Ttl>(leasehold_policies::TTL).await, 0);
}

#[tokio::test]
async fn the_fake_host_refreshes_as_the_real_one() {
    let refreshes = alike::<Resilient>(leasehold_policies::RESILIENT).await;
    assert!(refreshes > 20, "{refreshes} refreshes are no trial");
}
