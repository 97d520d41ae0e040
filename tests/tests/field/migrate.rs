//! Migrations behind poolers: made once by the server that comes first, and nothing is left on a connection
//! that others get.

use anyhow::{Result, bail, ensure};
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::server::Launch;

const IGNORED: [(&str, &str); 1] = [("ignore_startup_parameters", "extra_float_digits,options")];

fn migrate(url: &str) -> Result<String> {
    let ended = Launch::alone(["migrate", "--database", url])?.run_to_completion()?;
    ensure!(ended.code == Some(0), "{:?}: {}", ended.code, ended.log);
    Ok(ended.stdout)
}

#[tokio::test]
async fn of_many_that_migrate_through_a_pooler_at_once_one_does_and_no_lock_is_left() -> Result<()> {
    for (version, mode) in [
        (Version::Old, Mode::Transaction),
        (Version::New, Mode::Transaction),
        (Version::New, Mode::Statement),
        (Version::Old, Mode::Session),
    ] {
        let database = TestDatabase::create().await?;
        let pooler = Pooler::start(version, mode, &database.options(), &IGNORED)?;
        let url = pooler.url();
        let said = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| migrate(&url))).collect();
            let said = threads.into_iter().map(|thread| match thread.join() {
                Ok(said) => said,
                Err(_) => bail!("a thread panicked"),
            });
            said.collect::<Result<Vec<_>>>()
        })?;
        let made = said.iter().filter(|said| said.contains("was made")).count();
        assert_eq!(made, 1, "{version:?} {mode:?}: {said:?}");
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                     (SELECT oid FROM pg_database WHERE datname = current_database())";
        let locks: i64 = sqlx::query_scalar(locks).fetch_one(database.pool()).await?;
        assert_eq!(locks, 0, "{version:?} {mode:?}: a lock is stranded on a connection of the pooler's");
        assert!(migrate(database.url())?.contains("nothing was changed"), "straight to the server");
    }
    Ok(())
}
