//! `leasehold bench`, for a second: its output, and what it leaves behind.

use anyhow::{Context as _, Result};
use leasehold_tests::server::Launch;

#[test]
fn a_bench_prints_a_table_and_touches_nothing_in_its_folder() -> Result<()> {
    let launch = Launch::alone(["bench", "--seconds", "1"])?;
    let ended = launch.run_to_completion()?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let rows: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for wanted in ["a hit", "a miss", "a heartbeat"] {
        let count = rows.iter().filter(|row| row.get(1) == Some(&wanted)).count();
        assert!(count >= 2, "{count} rows of {wanted:?} in {}", ended.stdout);
    }
    for row in &rows {
        let per_second: f64 = row.get(7).context("a short row")?.parse()?;
        assert!(per_second.is_finite() && per_second > 1.0, "{row:?}");
    }
    assert_eq!(std::fs::read_dir(launch.folder())?.count(), 0, "it left something behind");
    Ok(())
}
