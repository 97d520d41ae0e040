//! The choice of the policy, the end of a token by the clock on the wall, and the time for which heartbeats
//! are answered while the database is down: twenty minutes and an hour by a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use clap::Parser as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use leasehold::{Instant, ManualClock};
use serde_json::Value;
use sqlx::Connection as _;

use super::*;
use crate::app::App;
use crate::auth::TokenHash;
use crate::credentials::AdminCredentials;
use crate::options::PoolBounds;
use crate::routes;
use crate::state::{Journal, Requested, State};
use crate::store::{Deleted, Layout, Migrate, NewToken, Store};
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

/// A clock whose time of day is in the test's hands as well.
#[derive(Default)]
struct WallClock {
    manual: ManualClock,
    wall_ms: AtomicU64,
}

impl Clock for WallClock {
    fn now(&self) -> Instant {
        self.manual.now()
    }

    fn now_coarse(&self) -> Instant {
        self.manual.now()
    }

    fn suspended(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.wall_ms.load(Ordering::SeqCst))
    }
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
        let secrets = store.cache_of(&Layout::own().secrets).await.unwrap().clock(Arc::clone(&clock));
        let secrets = secrets.policy(crate::policy_source::choose(&serve.policy, &serve.settings).unwrap());
        let builder = store.token_cache().await.unwrap().clock(Arc::clone(&clock));
        let tokens = cache(builder, policy(&serve).unwrap()).await.unwrap();
        let tokens = Arc::new(Tokens::new(tokens, Arc::clone(&clock) as Arc<dyn Clock>, None));
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
            let row = leasehold::WorkspaceId::new(format!("w-{n}")).unwrap();
            assert!(add(&self.store, &row, &format!("token-{n}"), None).await);
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

    /// Takes the tables away, so that every statement about a workspace fails, or brings them back.
    async fn table(&self, there: bool) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("test.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let (from, to) = if there { ("mislaid", "workspace") } else { ("workspace", "mislaid") };
        let sql =
            format!("ALTER TABLE {from}s RENAME TO {to}s; ALTER TABLE {from}_tokens RENAME TO {to}_tokens");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

/// Makes a workspace with this token.
async fn add(store: &Store, row: &WorkspaceId, token: &str, expires_ms: Option<u64>) -> bool {
    let hash = TokenHash::of(token).hex();
    let stored = NewToken { id: "first", hash: hash.as_str(), prefix: "", created_ms: 1, expires_ms: None };
    let inserted = store.insert(row, &stored).await.unwrap();
    if expires_ms.is_some() {
        let hash = TokenHash::of("ends").hex();
        let stored = NewToken { id: "ends", hash: hash.as_str(), prefix: "", created_ms: 1, expires_ms };
        store.add_token(row, &stored, None).await.unwrap();
    }
    inserted
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
        let deleted = bench.store.delete(&WorkspaceId::new(row.as_str()).unwrap()).await.unwrap();
        assert!(matches!(deleted, Deleted::Gone(hashes) if hashes.len() == 1));
    }
    bench.clock.advance(5 * MINUTE);
    assert_eq!(bench.beat().await, all((401, false)));
}

#[tokio::test]
async fn a_cached_token_ends_on_time_by_the_clock_on_the_wall_without_a_statement() {
    let bench = TestBed::new(&[]).await;
    let clock = Arc::new(WallClock::default());
    clock.wall_ms.store(1_000, Ordering::SeqCst);
    let cache = cache(bench.store.token_cache().await.unwrap(), policy(&serve(&[])).unwrap()).await.unwrap();
    let tokens = Tokens::new(cache, Arc::clone(&clock) as Arc<dyn Clock>, None);
    let (own, other) = (WorkspaceId::new("own").unwrap(), WorkspaceId::new("other").unwrap());
    assert!(add(&bench.store, &own, "stays", Some(5_000)).await);
    assert!(add(&bench.store, &other, "others", None).await);
    for token in ["stays", "ends"] {
        assert_eq!(tokens.judge(&own, token).await.unwrap(), TokenVerdict::Admitted);
        assert_eq!(tokens.judge(&other, token).await.unwrap(), TokenVerdict::Refused, "it is another one's");
    }
    let statements = tokens.stats().statements;
    clock.wall_ms.store(4_999, Ordering::SeqCst);
    assert_eq!(tokens.judge(&own, "ends").await.unwrap(), TokenVerdict::Admitted);
    clock.wall_ms.store(5_000, Ordering::SeqCst);
    assert_eq!(tokens.judge(&own, "ends").await.unwrap(), TokenVerdict::Refused);
    assert_eq!(tokens.judge(&own, "stays").await.unwrap(), TokenVerdict::Admitted);
    assert_eq!(tokens.stats().statements, statements);
}

#[tokio::test]
async fn what_is_malformed_admits_nobody() {
    let bench = TestBed::new(&[]).await;
    let cache = cache(bench.store.token_cache().await.unwrap(), policy(&serve(&[])).unwrap()).await.unwrap();
    let tokens = Tokens::new(cache, Arc::new(ManualClock::new()), None);
    let workspace = WorkspaceId::new("w").unwrap();
    let judged = |text: &str| tokens.compare(&Secret::new(text), &workspace);
    assert_eq!(judged(" w"), TokenVerdict::Admitted);
    for text in ["", "w", " ", "  w", " w ", " W", "soon w", "-1 w", "1 w", "99999999999999999999999 w"] {
        assert_eq!(judged(text), TokenVerdict::Refused, "{text:?}");
    }
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
