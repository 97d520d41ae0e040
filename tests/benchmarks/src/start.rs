//! The time from the start of the program to the line that says that it listens, on SQLite.

use leasehold_tests::server::Launch;

use crate::report::{Report, Table};
use crate::turns::{Side, in_turns, now};

const ROUNDS: usize = 15;

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Start-up",
        "Milliseconds from `exec` until the server listens, with a database on SQLite that has its schema: \
         where the policy is compiled at the start, and where its code is on the disk.",
    );
    let launch = |arguments: &[&'static str]| {
        let launch = Launch::new("sqlite://test.db?mode=rwc").expect("a folder");
        let launch = launch.arguments(arguments.iter().copied());
        launch.server().expect("it starts").stop().expect("it ends");
        launch
    };
    let (compiles, finds) = (launch(&[]), launch(&["--compile-cache", "code"]));
    let side = |name, launch: Launch| {
        Side::new(name, move || {
            let started = now();
            let server = launch.server().expect("it starts");
            let took = started.elapsed().as_secs_f64() * 1e3;
            server.stop().expect("it ends");
            took
        })
    };
    let samples =
        in_turns(ROUNDS, vec![side("compiled at the start", compiles), side("code on the disk", finds)]);
    let mut table = Table::new(&["start", "ms", "range"]);
    for sample in &samples {
        let range = format!("{:.0} to {:.0}", sample.least, sample.most);
        table.row([sample.name.to_owned(), format!("{:.0}", sample.median), range]);
    }
    report.table(&table);
    report.at_most("start with the code on the disk, in ms", samples[1].median, 150.0);
}
