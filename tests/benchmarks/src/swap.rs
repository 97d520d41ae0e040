//! The time until another policy is active, its parts, and whether a reader notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::{Policy, SecretCache, SwapReport};
use leasehold_tests::server::{Launch, Server};
use tokio::runtime::Runtime;

use crate::fleet::{Full, ids, policy, warm};
use crate::report::{Report, Table, nanos};
use crate::turns::{now, sample};

const ROUNDS: usize = 9;
const READERS_SPAN: Duration = Duration::from_secs(3);

pub(crate) fn run(report: &mut Report) {
    report.section(
        "A swap",
        "From the call to the moment at which the new policy decides, by stage: each policy for the first \
         time in a cache, and so compiled; then through `PUT /admin/policy` of a server that finds it \
         compiled on its disk, where what no stage has is HTTP and the file in which the policy is kept for \
         the next start. Milliseconds, medians.",
    );
    let runtime = Runtime::new().expect("a runtime");
    by_stage(report, &runtime);
    over_http(report);
    readers(report, &runtime);
}

fn by_stage(report: &mut Report, runtime: &Runtime) {
    let mut table = Table::new(&["policy", "bytes", "inspect", "compile", "configure", "rehearsal", "all"]);
    for (name, component) in leasehold_policies::ALL {
        let reports: Vec<SwapReport> = (0..ROUNDS)
            .map(|_| {
                runtime.block_on(async {
                    // Another policy comes first, or the same code would be compiled already.
                    let first = if *name == "passthrough" {
                        leasehold_policies::TTL
                    } else {
                        leasehold_policies::PASSTHROUGH
                    };
                    let builder = SecretCache::builder().database(Full).policy(Policy::from_bytes(first));
                    let cache = builder.build().await.expect("a bundled policy");
                    cache
                        .swap(Policy::from_bytes(unlike_the_built_in(component)))
                        .await
                        .expect("a bundled policy")
                })
            })
            .collect();
        let stage = |index: usize| {
            let mut spans: Vec<f64> =
                reports.iter().map(|report| report.stages[index].1.as_secs_f64() * 1e3).collect();
            sample("", &mut spans).median
        };
        let stages: Vec<f64> = (0..reports[0].stages.len()).map(stage).collect();
        let cells = stages.iter().map(|stage| format!("{stage:.1}"));
        let head = [(*name).to_owned(), component.len().to_string()];
        table.row(head.into_iter().chain(cells).chain([format!("{:.1}", stages.iter().sum::<f64>())]));
    }
    report.table(&table);
}

/// Returns the component with one more custom section, which makes another component of it: the built-in
/// policy is compiled at the start.
fn unlike_the_built_in(component: &[u8]) -> Vec<u8> {
    [component, &[0, 2, 1, b'x']].concat()
}

/// Times the PUT itself, on a server that has compiled the policy before.
fn over_http(report: &mut Report) {
    let launch = Launch::new("sqlite://test.db?mode=rwc").expect("a folder").arguments([
        "--compile-cache",
        "code",
        "--policy",
        "passthrough",
    ]);
    let mut table = Table::new(&[
        "PUT /admin/policy",
        "compiled then",
        "compiled before",
        "range",
        "inspect",
        "code from the disk",
        "configure",
        "rehearsal",
    ]);
    for (name, component) in leasehold_policies::ALL.iter().filter(|(name, _)| *name != "passthrough") {
        // The whole in milliseconds, and each stage as the answer states it.
        let put = |server: &Server| {
            let started = now();
            let component = unlike_the_built_in(component);
            let answer = server.admin("PUT", "/admin/policy", component).expect("it answers");
            let span = started.elapsed().as_secs_f64() * 1e3;
            let answer = answer.json(200).expect("it is swapped in");
            let stages = answer["stages"].as_array().expect("stages").iter();
            let stages: Vec<f64> =
                stages.map(|stage| stage["micros"].as_f64().expect("a number") / 1e3).collect();
            (span, stages)
        };
        let mut puts: Vec<(f64, Vec<f64>)> = (0..=ROUNDS)
            .map(|_| {
                std::fs::remove_dir_all(launch.folder().join("leasehold.state")).unwrap_or_default();
                let server = launch.server().expect("it starts");
                let taken = put(&server);
                server.stop().expect("it ends");
                taken
            })
            .collect();
        let (first, _) = puts.remove(0);
        let found = sample(name, &mut puts.iter().map(|(span, _)| *span).collect::<Vec<_>>());
        let range = format!("{:.1} to {:.1} ms", found.least, found.most);
        let stage = |index: usize| {
            let mut spans: Vec<f64> = puts.iter().map(|(_, stages)| stages[index]).collect();
            format!("{:.1}", sample("", &mut spans).median)
        };
        let stages: Vec<String> = (0..puts[0].1.len()).map(stage).collect();
        let head = [(*name).to_owned(), format!("{first:.1} ms"), format!("{:.1} ms", found.median), range];
        table.row(head.into_iter().chain(stages));
        report.at_most(&format!("PUT of {name} with its code on disk, in ms"), found.median, 20.0);
    }
    report.table(&table);
}

/// Times each lookup of a thread that does nothing else, without swaps and beside them.
fn readers(report: &mut Report, runtime: &Runtime) {
    let ids = ids(1_000);
    let cache = runtime.block_on(warm(&ids));
    let mut table =
        Table::new(&["lookups of a reader", "p50 ns", "p99 ns", "p99.9 ns", "longest µs", "swaps"]);
    let mut rows: Vec<[f64; 4]> = Vec::new();
    for swapping in [false, true, false, true] {
        let is_over = AtomicBool::new(false);
        let (spans, swaps) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut spans = Vec::with_capacity(40_000_000);
                let mut last = now();
                for id in ids.iter().cycle() {
                    std::hint::black_box(cache.with(id, |secret| secret.expose().len()));
                    let ended = now();
                    spans.push(u32::try_from((ended - last).as_nanos()).unwrap_or(u32::MAX));
                    last = ended;
                    if spans.len() == spans.capacity() || is_over.load(Ordering::Relaxed) {
                        return spans;
                    }
                }
                spans
            });
            let swaps = runtime.block_on(async {
                let (begun, mut swaps) = (now(), 0);
                while begun.elapsed() < READERS_SPAN {
                    // The other thread does the same work without a swap: it reads every workspace once.
                    if swapping {
                        cache.swap(policy()).await.expect("the same policy again");
                        swaps += 1;
                    }
                    for id in &ids {
                        cache.read(id).await.expect("everyone has a secret");
                    }
                }
                swaps
            });
            is_over.store(true, Ordering::Relaxed);
            (reading.join().expect("it ends"), swaps)
        });
        let mut spans = spans;
        spans.sort_unstable();
        let at = |share: f64| f64::from(spans[((spans.len() - 1) as f64 * share) as usize]);
        let row = [at(0.5), at(0.99), at(0.999), at(1.0) / 1e3];
        let name = if swapping { "beside swaps" } else { "without swaps" };
        let [p50, p99, p999, longest] = row;
        table.row([
            name.to_owned(),
            nanos(p50),
            nanos(p99),
            nanos(p999),
            format!("{longest:.0}"),
            swaps.to_string(),
        ]);
        rows.push(row);
    }
    report.table(&table);
    let worst = |swapping: usize| {
        rows.iter().skip(swapping).step_by(2).map(|[_, _, p999, _]| *p999).fold(0.0, f64::max)
    };
    report.at_most(
        "p99.9 of lookups beside swaps, to without, the worst round of each",
        worst(1) / worst(0),
        1.2,
    );
}
