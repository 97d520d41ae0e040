//! The bounds of the caches and of the pool behind them, as options.
//!
//! What is not given keeps the library's default. Whether a value is in range is the library's to say.

use std::time::Duration;

use clap::Args;
use leasehold::Builder;

use super::span;

/// Bounds of the pool that are not the default ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolBounds {
    pub(crate) size: Option<u32>,
    /// Time that a statement waits for a free connection.
    pub(crate) timeout: Option<Duration>,
}

/// The bounds of both caches.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bounds")]
pub struct Bounds {
    /// How many connections to the database [default: 16, and 6 to SQLite]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub pool_size: Option<u32>,

    /// How long a statement waits for a free connection [default: 800ms, and 500ms for SQLite]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub pool_timeout: Option<Duration>,

    /// How many entries each cache holds at most [default: 1000000]
    #[arg(long, value_name = "N")]
    pub capacity: Option<usize>,

    /// The longest time that a value is served without asking the policy [default: 1h]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub max_fresh: Option<Duration>,

    /// The longest time that a policy may keep a value [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub max_keep: Option<Duration>,

    /// The longest time that a policy may store that there is none [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub max_absent: Option<Duration>,

    /// The longest time that a read waits for the database [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub database_timeout: Option<Duration>,

    /// How many SELECTs each cache may have in flight [default: a third of the pool]
    #[arg(long, value_name = "N")]
    pub max_selects: Option<usize>,

    /// How many issues each cache may have in flight [default: a quarter of the pool]
    #[arg(long, value_name = "N")]
    pub max_issues: Option<usize>,

    /// How many reads, and how many issues, may wait for their turn [default: 1024]
    #[arg(long, value_name = "N")]
    pub max_queue: Option<usize>,

    /// How much processor time a call of a policy may take [default: 10ms]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub policy_cpu_limit: Option<Duration>,

    /// How long the compiling of a policy may take [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub policy_compile_limit: Option<Duration>,

    /// How many failed calls within the breaker's window replace the active policy
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub breaker_faults: u32,

    /// The window in which the breaker counts failed calls
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    pub breaker_window: Duration,
}

impl Bounds {
    /// Returns the bounds of the pool.
    pub(crate) fn pool(&self) -> PoolBounds {
        PoolBounds { size: self.pool_size, timeout: self.pool_timeout }
    }

    /// Sets the bounds that are given.
    pub(crate) fn set(&self, builder: Builder) -> Builder {
        let builder = builder.breaker(self.breaker_faults, self.breaker_window);
        let builder = apply(builder, self.capacity, Builder::capacity);
        let builder = apply(builder, self.max_fresh, Builder::max_fresh);
        let builder = apply(builder, self.max_keep, Builder::max_keep);
        let builder = apply(builder, self.max_absent, Builder::max_absent);
        let builder = apply(builder, self.database_timeout, Builder::database_timeout);
        let builder = apply(builder, self.max_selects, Builder::max_selects);
        let builder = apply(builder, self.max_issues, Builder::max_issues);
        let builder = apply(builder, self.max_queue, Builder::max_queue);
        let builder = apply(builder, self.policy_cpu_limit, Builder::policy_cpu_limit);
        apply(builder, self.policy_compile_limit, Builder::policy_compile_limit)
    }
}

fn apply<T>(builder: Builder, value: Option<T>, set: impl FnOnce(Builder, T) -> Builder) -> Builder {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}
