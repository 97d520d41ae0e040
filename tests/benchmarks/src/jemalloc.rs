//! The same benchmarks with the server's allocator, for the resident memory under it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    leasehold_benchmarks::run()
}
