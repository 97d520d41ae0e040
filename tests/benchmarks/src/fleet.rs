//! The workspaces of a benchmark: ids in the form of UUIDs, secrets in the form of minted ones, and the
//! orders in which they are asked for.

use leasehold::{Answer, Answers, Database, IssueMode, Policy, Secret, SecretCache, WorkspaceId};

/// 43 characters, as a minted secret has.
pub(crate) const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A database that holds a secret for every workspace, at no cost.
pub(crate) struct Full;

impl Database for Full {
    fn select<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async { Ok(Some(Secret::new(SECRET))) })
    }

    fn select_batch<'a>(&'a self, workspaces: &'a [WorkspaceId]) -> Answers<'a, Option<Secret>> {
        Box::pin(async { workspaces.iter().map(|_| Ok(Some(Secret::new(SECRET)))).collect() })
    }

    fn issue<'a>(
        &'a self,
        _: &'a WorkspaceId,
        _: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async { Ok(minted) })
    }

    fn statements(&self) -> u64 {
        0
    }
}

/// The id of a workspace: 36 bytes.
pub(crate) fn id(number: usize) -> WorkspaceId {
    let id = format!("{number:08x}-0000-4000-8000-{:012x}", number * 7919);
    WorkspaceId::new(id).expect("a usable id")
}

pub(crate) fn ids(count: usize) -> Vec<WorkspaceId> {
    (0..count).map(id).collect()
}

/// The default policy with a lease that outlasts the benchmark.
pub(crate) fn policy() -> Policy {
    Policy::from_bytes(leasehold_policies::TTL).setting("ttl", "1h").setting("jitter", "0s")
}

/// Returns a cache that holds all of them, in the state that it has after its first sweep. Until then, 30 s
/// at most, a map that has grown may be in two parts, and hits look in both.
pub(crate) async fn warm(ids: &[WorkspaceId]) -> SecretCache {
    let builder = SecretCache::builder().database(Full).policy(policy()).capacity(ids.len() * 2);
    let cache = builder.build().await.expect("the default policy");
    for id in ids {
        cache.read(id).await.expect("everyone has a secret");
    }
    cache.sweep();
    cache
}

/// The distribution of requests over the workspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Every workspace is asked for equally often.
    Uniform,
    /// The n-th workspace is asked for as often as the first one divided by n.
    Zipf,
}

impl Access {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf(1.0)",
        }
    }

    /// Returns the order of so many requests, which no prefetcher guesses, the same in every run.
    pub(crate) fn order(self, ids: &[WorkspaceId], requests: usize) -> Vec<WorkspaceId> {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        match self {
            Self::Uniform => (0..requests).map(|_| ids[numbers.below(ids.len())].clone()).collect(),
            Self::Zipf => {
                let mut sums = Vec::with_capacity(ids.len());
                let mut sum = 0.0;
                for rank in 1..=ids.len() {
                    sum += 1.0 / rank as f64;
                    sums.push(sum);
                }
                let rank = |drawn: f64| sums.partition_point(|sum| *sum < drawn * sums[sums.len() - 1]);
                // Ranks are spread over the table, or the hottest would be neighbours in memory.
                let spread = |rank: usize| rank.wrapping_mul(7_368_787) % ids.len();
                let draws = (0..requests).map(|_| numbers.fraction());
                draws.map(|drawn| ids[spread(rank(drawn).min(ids.len() - 1))].clone()).collect()
            }
        }
    }
}

/// Numbers that look random.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 11
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.fraction() * bound as f64) as usize
    }

    /// Returns a number from 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.next() as f64 / (1_u64 << 53) as f64
    }
}
