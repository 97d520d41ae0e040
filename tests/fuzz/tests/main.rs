//! The five places that read bytes of unknown origin, each under inputs that are nearly good.

mod column;
mod contract;
mod inspect;
mod settings;
mod signature;

use std::sync::LazyLock;
use std::time::Duration;

use leasehold::testing::InMemory;
use leasehold::{Builder, Policy, SecretCache};
use leasehold_tests::MAX_WAIT;
use leasehold_tests::guest_memory::Marker;
use leasehold_tests::hostile;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

/// Processor time of a call: more than any of these policies takes, but for one that never ends.
const MAX_CPU: Duration = Duration::from_secs(1);

/// Returns a runtime for calls of one cache.
fn runtime() -> Runtime {
    RuntimeBuilder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Returns a cache that takes policies without a rehearsal, so that what is read of them is all that is
/// tried.
async fn cache(builder: impl FnOnce(Builder) -> Builder) -> SecretCache {
    // No verdict may depend on how busy the machine is.
    let unhurried = hostile::builder().policy_compile_limit(MAX_WAIT).policy_cpu_limit(MAX_CPU);
    let builder = builder(unhurried.database(InMemory::new()));
    builder.build().await.expect("the default policy is good")
}

/// Returns the policies in bare WebAssembly: the smallest that the host takes, and every hostile one. They
/// are made in one order, so that the marker within each is the same in every run.
fn bare() -> &'static [Policy] {
    static BARE: LazyLock<Vec<Policy>> = LazyLock::new(|| {
        let honest = Policy::from_bytes(hostile::honest(&Marker::new()));
        let names = hostile::bare_names();
        [honest].into_iter().chain(names.map(|name| hostile::bare(name, &Marker::new()))).collect()
    });
    &BARE
}
