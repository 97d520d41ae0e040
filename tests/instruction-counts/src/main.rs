//! Does one thing so many times, for a tool that counts instructions: `counts WHAT TIMES CACHE`, where WHAT
//! is `with`, `get`, `read`, `miss`, `interpreted` or `heartbeat`, and CACHE is a folder for compiled
//! policies.
//!
//! The cost of getting there is the same for any number of times, and cancels out where two runs are
//! compared. All of it is on one thread, so that two runs with the same number differ by next to nothing.

use std::net::SocketAddr;
use std::time::Duration;

use leasehold::{Answer, Builder, Database, IssueMode, Policy, Secret, SecretCache, WorkspaceId};
use leasehold_server::{Cli, Command, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// 43 characters, as a minted secret has.
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WORKSPACES: usize = 1_000;
/// The server's admin token: 32 characters at least.
const ADMIN_TOKEN: &str = "an-admin-token-of-this-run-alone-0123456789";

/// A database that holds a secret for every workspace.
struct Full;

impl Database for Full {
    fn select<'a>(&'a self, _: &'a WorkspaceId) -> Answer<'a, Option<Secret>> {
        Box::pin(async { Ok(Some(Secret::new(SECRET))) })
    }

    fn issue<'a>(
        &'a self,
        _: &'a WorkspaceId,
        _: IssueMode,
        minted: Secret,
        _: tokio::time::Instant,
    ) -> Answer<'a, Secret> {
        Box::pin(async { Ok(minted) })
    }

    fn statements(&self) -> u64 {
        0
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: counts with|get|read|miss|interpreted|heartbeat TIMES CACHE";
    let [what, times, cache] = words.as_slice() else { panic!("{usage}") };
    let times: usize = times.parse().expect(usage);
    leasehold::compile_cache(cache).expect("a folder of this user's alone");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match what.as_str() {
            "with" => {
                let cache = warm("1h").await;
                each(times, async |id| assert_eq!(cache.with(id, |secret| secret.expose().len()), Some(43)))
                    .await;
            }
            "get" => {
                let cache = warm("1h").await;
                each(times, async |id| assert_eq!(cache.get(id).expect("a hit").expose().len(), 43)).await;
            }
            "read" => {
                let cache = warm("1h").await;
                each(times, async |id| drop(cache.read(id).await.expect("a hit"))).await;
            }
            "miss" => {
                let cache = warm("0s").await;
                each(times, async |id| drop(cache.read(id).await.expect("it has a row"))).await;
            }
            // A miss whose policy the interpreter runs.
            "interpreted" => {
                let cache = warm_by(SecretCache::builder().interpreter(true), "0s").await;
                each(times, async |id| drop(cache.read(id).await.expect("it has a row"))).await;
            }
            "heartbeat" => heartbeats(times).await,
            _ => panic!("{usage}"),
        }
    });
}

/// Returns a cache that has read every workspace, under leases that are so long.
async fn warm(ttl: &str) -> SecretCache {
    warm_by(SecretCache::builder(), ttl).await
}

async fn warm_by(builder: Builder, ttl: &str) -> SecretCache {
    let policy = Policy::from_bytes(leasehold_policies::TTL).setting("ttl", ttl);
    // Under valgrind, on a busy machine, the compiler takes its time.
    let builder = builder.policy_compile_limit(Duration::from_secs(120));
    let cache = builder.database(Full).policy(policy.clone()).build().await;
    let cache = cache.expect("the default policy");
    let read_all = async || each(WORKSPACES, async |id| drop(cache.read(id).await.expect("a row"))).await;
    read_all().await;
    // Once more into the same places: a table that has just grown is still being copied, and slower to read.
    cache.swap(policy).await.expect("the same policy again");
    read_all().await;
    cache
}

/// Runs an action so many times, for one workspace after the other.
async fn each(times: usize, action: impl AsyncFn(&WorkspaceId)) {
    let id = |number: usize| format!("{number:08x}-0000-4000-8000-{:012x}", number * 7919);
    let ids: Vec<WorkspaceId> =
        (0..WORKSPACES).map(|number| WorkspaceId::new(id(number)).expect("a usable id")).collect();
    for id in ids.iter().cycle().take(times) {
        action(id).await;
    }
}

/// Runs a server and its client: one workspace, whose heartbeats all hit.
async fn heartbeats(times: usize) {
    use clap::Parser as _;
    let folder = tempfile::tempdir().expect("a folder");
    let within = |name: &str| folder.path().join(name).display().to_string();
    let database = format!("sqlite://{}?mode=rwc", within("leasehold.db"));
    let words = ["leasehold", "serve", "--listen", "127.0.0.1:0", "--database", &database, "--state-dir"];
    let cli = Cli::parse_from(words.into_iter().chain([within("state").as_str()]));
    let Command::Serve(serve) = cli.command else { panic!("it is another command") };
    let server = Server::start(&serve, Some(ADMIN_TOKEN.to_owned()), folder.path()).await.expect("it starts");
    let address = server.address().expect("it has a port");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { drop(stopped.await) }, std::future::pending()));
    talk(address, times).await;
    drop(stop);
    serving.await.expect("it ends");
}

async fn talk(address: SocketAddr, times: usize) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let create = format!(
        "POST /workspaces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\n\r\n{{\"id\":\"w\"}}"
    );
    let created = ask(&mut stream, create.as_bytes(), "HTTP/1.1 201").await;
    let token = created.split("\"auth_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.unwrap_or_else(|| panic!("no token in {created}"));
    let heartbeat = format!(
        "POST /registry/heartbeat HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 20\r\n\r\n{{\"workspace_id\":\"w\"}}"
    );
    for _ in 0..=times {
        ask(&mut stream, heartbeat.as_bytes(), "HTTP/1.1 200").await;
    }
}

/// Sends a request, and returns the answer, which is small and arrives whole.
async fn ask(stream: &mut TcpStream, request: &[u8], expected: &str) -> String {
    stream.write_all(request).await.expect("it is sent");
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).await.expect("it answers");
    let answer = String::from_utf8_lossy(&buffer[..length]);
    assert!(answer.starts_with(expected), "{answer}");
    answer.into_owned()
}
