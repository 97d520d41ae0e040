//! The parameters of a PostgreSQL URL: which of them the sessions have, and words for a file that is not
//! there.

use anyhow::{Context as _, Result, ensure};
use leasehold::{Column, Postgres};
use leasehold_tests::Engine;
use leasehold_tests::server::Launch;

/// Returns the settings of a session: its name and the limit of its statements.
async fn settings(url: &str) -> Result<(String, String)> {
    let column = Column::new("workspaces", "id", "platform_inbound_secret")?;
    let database = Postgres::connect(url, column).await?;
    let show = "SELECT current_setting('application_name'), current_setting('statement_timeout')";
    Ok(sqlx::query_as(show).fetch_one(database.pool()).await?)
}

#[tokio::test]
async fn a_session_has_what_the_url_says_and_ours_where_it_says_nothing() -> Result<()> {
    let fixture = Engine::Postgres.workspaces().await?;
    let (bare, _) = fixture.url().split_once('?').context("the URL has parameters")?;
    for (query, name, limit) in [
        ("", "leasehold", "30s"),
        ("application_name=billing", "billing", "30s"),
        ("options=-c%20search_path%3Dpublic", "leasehold", "30s"),
        ("options=-c%20search_path%3Dstatement_timeout%2Cpublic", "leasehold", "30s"),
        ("options=-c%20statement_timeout%3D5s", "leasehold", "5s"),
        ("options=--statement-timeout%3D5s", "leasehold", "5s"),
        ("options[statement_timeout]=4s&options=-c%20geqo%3Doff", "leasehold", "4s"),
        ("options[STATEMENT_TIMEOUT]=0", "leasehold", "0"),
    ] {
        let found = settings(&format!("{bare}?sslmode=disable&{query}")).await.context(query)?;
        assert_eq!((found.0.as_str(), found.1.as_str()), (name, limit), "{query}");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_for_tls_that_is_not_there_is_named_by_the_server() -> Result<()> {
    let fixture = Engine::Postgres.workspaces().await?;
    for parameter in ["sslrootcert", "sslcert", "sslkey"] {
        let (bare, _) = fixture.url().split_once('?').context("the URL has parameters")?;
        let url = format!("{bare}?sslmode=prefer&{parameter}=/no/such/file.pem");
        let ended = Launch::new(&url)?.run_to_completion()?;
        ensure!(ended.code == Some(1), "{ended:?}");
        for words in ["/no/such/file.pem", parameter, "expected a file", "PEM", "--database"] {
            ensure!(ended.log.contains(words), "no {words:?} in {}", ended.log);
        }
    }
    Ok(())
}
