//! The choice of the policy, and the time for which heartbeats are answered while the database is down:
//! twenty minutes and an hour by a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use clap::Parser as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use leasehold::ManualClock;
use serde_json::Value;
use sqlx::Connection as _;

use super::*;
use crate::app::App;
use crate::auth::hex_sha256;
use crate::credentials::AdminCredentials;
use crate::routes;
use crate::state::{Journal, Requested, State};
use crate::store::{Migrate, PoolBounds, Store};
use crate::{Cli, Command};

const MINUTE: Duration = Duration::from_secs(60);
const WORKSPACES: usize = 20;

fn serve(arguments: &[&str]) -> Serve {
    let words = ["leasehold", "serve"].iter().chain(arguments);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Serve(serve) => *serve,
        _ => panic!("it is another command"),
    }
}

fn refused(arguments: &[&str]) -> String {
    format!("{:#}", policy(&serve(arguments)).unwrap_err())
}

/// The server's routes over a database in a file, with the time in the test's hands.
struct TestBed {
    clock: Arc<ManualClock>,
    store: Store,
    router: Router,
    folder: tempfile::TempDir,
}

impl TestBed {
    async fn new(arguments: &[&str]) -> Self {
        let (serve, folder) = (serve(arguments), tempfile::tempdir().unwrap());
        let file = format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display());
        let (store, _) = Store::open(&file, Migrate::IfNeeded, PoolBounds::default()).await.unwrap();
        let clock = Arc::new(ManualClock::new());
        let secrets = store.cache("platform_inbound_secret").await.unwrap().clock(Arc::clone(&clock));
        let secrets = secrets.policy(crate::policy_source::choose(&serve.policy, &serve.settings).unwrap());
        let builder = store.cache("auth_token_hash").await.unwrap().clock(Arc::clone(&clock));
        let tokens = cache(builder, policy(&serve).unwrap()).await.unwrap();
        let state = State::open(&folder.path().join("state")).unwrap();
        let journal = Journal::start(state, Requested::new("resilient", &[], None)).unwrap();
        let app = App {
            secrets: secrets.build().await.unwrap(),
            tokens,
            store: store.clone(),
            layout: crate::store::Layout::own(),
            admin: AdminCredentials::of_one("admin"),
            journal,
            telemetry: Arc::new(crate::telemetry::Telemetry::new(false)),
            is_draining: std::sync::atomic::AtomicBool::new(false),
            rotations: Default::default(),
        };
        Self { clock, store, router: routes::router(Arc::new(app)), folder }
    }

    async fn create(&self) {
        for n in 0..WORKSPACES {
            let hash = hex_sha256(&format!("token-{n}"));
            let row = leasehold::WorkspaceId::new(format!("w-{n}")).unwrap();
            assert!(self.store.insert(&row, &String::from_utf8_lossy(&hash)).await.unwrap());
        }
    }

    /// Returns the status of a heartbeat of each workspace, and whether its secret came along.
    async fn beat(&self) -> Vec<(u16, bool)> {
        let mut answers = Vec::new();
        for n in 0..WORKSPACES {
            let request = Request::post("/registry/heartbeat")
                .header("authorization", format!("Bearer token-{n}"))
                .body(Body::from(format!(r#"{{"workspace_id":"w-{n}"}}"#)))
                .unwrap();
            let answer = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
            let status = answer.status().as_u16();
            let body: Value =
                serde_json::from_slice(&to_bytes(answer.into_body(), 4096).await.unwrap()).unwrap();
            answers.push((status, body["platform_inbound_secret"].is_string()));
        }
        answers
    }

    /// Takes the table away, so that every statement about a workspace fails, or brings it back.
    async fn table(&self, there: bool) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("test.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let (from, to) = if there { ("mislaid", "workspaces") } else { ("workspaces", "mislaid") };
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

fn all(answer: (u16, bool)) -> Vec<(u16, bool)> {
    vec![answer; WORKSPACES]
}

#[tokio::test]
async fn a_database_that_is_down_for_twenty_minutes_costs_no_heartbeat_its_secret() {
    let bench = TestBed::new(&["--policy", "resilient", "--setting", "stale=30m"]).await;
    bench.create().await;
    for _ in 0..7 {
        assert_eq!(bench.beat().await, all((200, true)));
        bench.clock.advance(MINUTE);
    }
    bench.table(false).await;
    for minute in 0..=20 {
        assert_eq!(bench.beat().await, all((200, true)), "after {minute} minutes");
        bench.clock.advance(MINUTE);
    }
    bench.table(true).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.beat().await, all((200, true)));
}

#[tokio::test]
async fn a_token_is_let_in_for_an_hour_since_it_was_read_and_its_end_is_seen_once_the_database_answers() {
    let bench = TestBed::new(&[]).await;
    bench.create().await;
    assert_eq!(bench.beat().await, all((200, true)));
    bench.table(false).await;
    bench.clock.advance(54 * MINUTE);
    assert_eq!(bench.beat().await, all((200, false)), "the secrets' policy is not the tokens'");
    bench.clock.advance(6 * MINUTE);
    assert_eq!(bench.beat().await, all((503, false)));
    bench.table(true).await;
    assert_eq!(bench.beat().await, all((200, true)));
    // Another process deletes them: the database's answer ends a token, however long it might have been kept.
    let rows: Vec<_> = (0..WORKSPACES).map(|n| format!("w-{n}")).collect();
    for row in &rows {
        assert!(bench.store.delete(&leasehold::WorkspaceId::new(row.as_str()).unwrap()).await.unwrap());
    }
    bench.clock.advance(5 * MINUTE);
    assert_eq!(bench.beat().await, all((401, false)));
}

#[test]
fn the_operators_bound_comes_before_the_default_and_another_policy_has_none() {
    let set = |arguments: &[&str]| policy(&serve(arguments)).unwrap().settings().to_vec();
    let stale = |bound: &str| ("stale".to_owned(), bound.to_owned());
    assert_eq!(set(&[]), [stale("55m")]);
    assert_eq!(set(&["--token-setting", "stale=5m"]), [stale("5m")]);
    assert_eq!(set(&["--token-policy", "ttl"]), []);
    assert_eq!(set(&["--setting", "ttl=1s", "--policy", "ttl"]), [stale("55m")], "those are the secrets'");
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_name_of_the_option() {
    for (arguments, words) in [
        (&["--token-setting", "ttl"][..], "--token-setting \"ttl\" is not a setting; expected NAME=VALUE"),
        (&["--token-setting", "ttl=1s", "--token-setting", "ttl=2s"], "--token-setting ttl is given twice"),
        (
            &["--token-policy", "mine.wasm"],
            "\"mine.wasm\" is no bundled policy; expected one of ttl, resilient",
        ),
    ] {
        assert!(refused(arguments).contains(words), "{arguments:?}: {}", refused(arguments));
    }
}
