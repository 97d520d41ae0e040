//! The assumptions of the other tests here: that each pooler is of its kind, and that a standby follows its
//! primary.

use anyhow::{Result, ensure};
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::pgbouncer::{Mode, Pooler, Version};
use leasehold_tests::postgres::TestDatabase;
use leasehold_tests::proxy::Proxy;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, query_scalar};

/// Returns whether the server does what a real one never does: it executes a statement that was prepared
/// where there is none of that name, or another.
async fn loses_prepared_statements(options: &PgConnectOptions) -> Result<bool> {
    let mut first = PgConnection::connect_with(options).await?;
    let sql = "SELECT 'prepared on ' || pg_backend_pid()";
    let before: String = query_scalar(sql).fetch_one(&mut first).await?;
    // Two clients with a transaction each have the server connection that the first client had between them.
    let (mut second, mut third) =
        (PgConnection::connect_with(options).await?, PgConnection::connect_with(options).await?);
    for other in [&mut second, &mut third] {
        sqlx::raw_sql("BEGIN; SELECT 1").execute(&mut *other).await?;
    }
    let after = query_scalar::<_, String>(sql).fetch_one(&mut first).await;
    Ok(match after {
        Ok(after) => {
            ensure!(after.starts_with("prepared on "), "{before} {after}");
            false
        }
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
            ensure!(code == "26000", "{error}");
            true
        }
    })
}

#[tokio::test]
async fn each_pooler_keeps_or_loses_prepared_statements_as_its_kind_does() -> Result<()> {
    let database = TestDatabase::create().await?;
    for (version, mode, settings, loses) in [
        (Version::Old, Mode::Session, &[][..], false),
        (Version::New, Mode::Session, &[("max_prepared_statements", "0")], false),
        (Version::New, Mode::Transaction, &[], false),
        (Version::Old, Mode::Transaction, &[], true),
        (Version::New, Mode::Transaction, &[("max_prepared_statements", "0")], true),
    ] {
        let ignored = [("ignore_startup_parameters", "extra_float_digits,options")];
        let settings = [settings, &ignored].concat();
        let pooler = Pooler::start(version, mode, &database.options(), &settings)?;
        assert_eq!(
            loses_prepared_statements(&pooler.options()).await?,
            loses,
            "{version:?} {mode:?} {settings:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_changes_its_mode_under_a_client_that_stays_connected() -> Result<()> {
    let database = TestDatabase::create().await?;
    let settings = [("ignore_startup_parameters", "extra_float_digits,options")];
    for version in [Version::Old, Version::New] {
        let pooler = Pooler::start(version, Mode::Session, &database.options(), &settings)?;
        let mut client = PgConnection::connect_with(&pooler.options()).await?;
        sqlx::raw_sql("SELECT 1").execute(&mut client).await?;
        pooler.switch(Mode::Statement)?;
        let refused = sqlx::raw_sql("BEGIN").execute(&mut client).await.unwrap_err().to_string();
        assert!(refused.contains("transaction"), "{version:?}: {refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_follows_is_read_only_and_is_promoted_under_its_sessions() -> Result<()> {
    let primary = Cluster::create(&[])?;
    let (proxy, moving) = Proxy::start(&primary.options()).await?;
    let mut session = PgConnection::connect_with(&moving).await?;
    sqlx::raw_sql("CREATE TABLE words (word text); INSERT INTO words VALUES ('first')")
        .execute(&mut session)
        .await?;
    let standby = primary.standby()?;
    sqlx::raw_sql("INSERT INTO words VALUES ('second')").execute(&mut session).await?;
    standby.caught_up_with(&primary).await?;
    proxy.point(&standby.options()).await?;
    let mut moved = PgConnection::connect_with(&moving).await?;
    let count: i64 = query_scalar("SELECT count(*) FROM words").fetch_one(&mut moved).await?;
    assert_eq!(count, 2);
    let refused = sqlx::raw_sql("INSERT INTO words VALUES ('third')").execute(&mut moved).await.unwrap_err();
    assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("25006"));
    primary.stop(Stop::Fast)?;
    standby.promote()?;
    sqlx::raw_sql("INSERT INTO words VALUES ('third')").execute(&mut moved).await?;
    Ok(())
}
