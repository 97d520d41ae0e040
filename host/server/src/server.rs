//! The server: how its parts are put together, and how it ends.
//!
//! Nothing is half started: what the options name is looked at, and every address is taken, before the
//! database is opened, and no client gets through before all is ready.

mod reload;

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use leasehold::Execution;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::reload::{Reloads, timeouts};
use crate::app::App;
use crate::connection::{Connections, MaxConnections, Service};
use crate::credentials::AdminCredentials;
use crate::front::Front;
use crate::listener::{ListenAddress, Listener, Reserved};
use crate::options::Serve;
use crate::policy_file::{Named, stamp};
use crate::rotations::RotationKeys;
use crate::shutdown::hangups;
use crate::state::Journal;
use crate::store::{DatabaseFile, DatabaseSource, Layout, Migrate, Store};
use crate::telemetry::Telemetry;
use crate::tls::Tls;
use crate::trust::TrustConfig;
use crate::user_signals::UserSignals;
use crate::{notify, policy_source, routes, start, tokens};

/// Maximum number of connections of the operators' listener. They are apart, so that no flood of others keeps
/// a probe or an operator out.
const ADMIN_CONNECTIONS: MaxConnections = MaxConnections { in_all: 256, per_peer: 192 };
/// File descriptors beside those of connections: the database, logs, what an embedded runtime needs.
const OTHER_DESCRIPTORS: u64 = 256;

/// Name of the option of the first listener.
const LISTEN: &str = "--listen";
/// Name of the option of the operators' listener.
const ADMIN_LISTEN: &str = "--admin-listen";

/// A server that is ready: its ports are open, its schema is current, its policies are active.
pub struct Server {
    services: Vec<(&'static str, Service)>,
    app: Arc<App>,
    store: Store,
    journal: Journal,
    shutdown: [Duration; 2],
}

/// The addresses that the options name.
struct Addresses {
    public: ListenAddress,
    admin: Option<ListenAddress>,
}

impl Addresses {
    fn of(serve: &Serve) -> anyhow::Result<Self> {
        let admin = serve.connections.admin_listen.as_deref();
        Ok(Self {
            public: ListenAddress::parse(LISTEN, &serve.listen)?,
            admin: admin.map(|admin| ListenAddress::parse(ADMIN_LISTEN, admin)).transpose()?,
        })
    }
}

/// Checks what can be checked of the options without a database.
pub(crate) fn check(serve: &Serve) -> anyhow::Result<()> {
    policy_source::choose(&serve.policy, &serve.settings)?;
    DatabaseSource::new(&serve.database, serve.existing.database_file.as_deref())?;
    AdminCredentials::check_files(&serve.admin)?;
    Parts::of(serve).map(drop)
}

/// The parts of a server that need nothing but its options.
struct Parts {
    trust: TrustConfig,
    layout: Layout,
    token_policy: leasehold::Policy,
    addresses: Addresses,
    tls: Option<Arc<Tls>>,
}

impl Parts {
    fn of(serve: &Serve) -> anyhow::Result<Self> {
        let trust = TrustConfig::of(serve)?;
        let layout = Layout::new(&serve.existing)?;
        let token_policy = tokens::policy(serve)?;
        anyhow::ensure!(
            !serve.watch_policy || !policy_source::is_bundled(&serve.policy),
            "--watch-policy needs a file, and --policy {:?} is a bundled policy; give the path of a \
             component",
            serve.policy
        );
        let addresses = Addresses::of(serve)?;
        let (cert, key) = (serve.connections.tls_cert.as_deref(), serve.connections.tls_key.as_deref());
        Ok(Self { trust, layout, token_policy, addresses, tls: Tls::load(cert, key)?.map(Arc::new) })
    }
}

impl Server {
    /// Puts the server together and opens its ports. `admin_token` is the value of the environment, if there
    /// is one; `directory` is where the admin token's file is kept otherwise.
    ///
    /// # Errors
    ///
    /// A mistake that the operator has to put right, in words that say how.
    pub async fn start(serve: &Serve, admin_token: Option<String>, directory: &Path) -> anyhow::Result<Self> {
        // From here on SIGHUP ends the process no more.
        let hangups = hangups().context("cannot listen for SIGHUP")?;
        let user_signals = UserSignals::listen().context("cannot listen for SIGUSR1 and SIGUSR2")?;
        let stamp = stamp(&serve.policy);
        let chosen = policy_source::choose(&serve.policy, &serve.settings);
        let Parts { trust, layout, token_policy, addresses, tls } = Parts::of(serve)?;
        if let Some(directory) = &serve.compile_cache {
            leasehold::compile_cache(directory)?;
        }
        let (mode, inherited) = (serve.connections.socket_mode, &serve.inherited);
        let public = addresses.public.reserve(LISTEN, mode, inherited).await?;
        let admin_listener = match addresses.admin {
            Some(address) => Some(address.reserve(ADMIN_LISTEN, mode, inherited).await?),
            None => None,
        };
        let admin = AdminCredentials::load(admin_token, &serve.admin, directory)?;
        let how = if serve.no_migrate { Migrate::Never } else { Migrate::IfNeeded };
        let url = DatabaseSource::new(&serve.database, serve.existing.database_file.as_deref())?;
        let (store, layout, database) = Store::open_as(&url, &layout, how, serve.bounds.pool()).await?;
        let (secrets, journal) = start::secrets(serve, chosen, &trust, &store, &layout).await?;
        let tokens = tokens::open(serve, &store, &layout, token_policy).await?;
        let credentials = admin.current().names();
        tracing::info!(%database, admin_token = %admin.source(), credentials, "starting");
        let kept = journal.clone();
        let app = Arc::new(App {
            secrets,
            tokens,
            store: store.clone(),
            layout,
            admin,
            journal,
            telemetry: Arc::new(Telemetry::new(serve.logs.access_log)),
            is_draining: AtomicBool::new(false),
            rotations: RotationKeys::default(),
        });
        describe(serve, &app);
        let asked = Named { policy: serve.policy.clone(), settings: serve.settings.clone() };
        if serve.watch_policy {
            tokio::spawn(asked.clone().watch(Arc::clone(&app), stamp));
        }
        if let Some(file) = store.file() {
            tokio::spawn(part_from_file(Arc::clone(file), Arc::clone(&app)));
        }
        observe(&app, user_signals);
        // Clients that connect from here on are answered.
        let services = services(serve, &app, tls.as_ref(), public, admin_listener)?;
        let connections = services.iter().map(|(_, service)| Arc::clone(&service.connections)).collect();
        let reloads = Reloads { serve: serve.clone(), app: Arc::clone(&app), tls, asked, connections };
        tokio::spawn(reloads.run(hangups));
        let shutdown = [serve.connections.shutdown_delay, serve.connections.shutdown_timeout];
        Ok(Self { services, app, store, journal: kept, shutdown })
    }

    /// Returns the address on which it listens, with the port that it was given if the command line has 0.
    /// `None` if it listens on a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.services.first()?.1.listener.address()
    }

    /// Serves until `stop`, then lets the requests in flight finish for as long as the options say, or until
    /// `abort`.
    pub async fn run(self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        announce(&self.services);
        notify::ready();
        let stop = async {
            stop.await;
            notify::stopping();
        };
        self.run_quietly(stop, abort).await;
    }

    /// Does the same, without a word on stdout or to a service manager.
    pub(crate) async fn run_quietly(self, stop: impl Future<Output = ()>, abort: impl Future<Output = ()>) {
        let (tx, rx) = watch::channel(false);
        let connections: Vec<_> =
            self.services.iter().map(|(_, service)| Arc::clone(&service.connections)).collect();
        // Those that accept, and those that keep deadlines, which end with this value.
        let (mut accepting, mut watching) = (JoinSet::new(), JoinSet::new());
        for (_, service) in self.services {
            watching.spawn(Arc::clone(&service.connections).keep_deadlines());
            accepting.spawn(service.accept(rx.clone()));
        }
        let mut abort = pin!(abort);
        stop.await;
        let [delay, timeout] = self.shutdown;
        self.app.drain();
        connections.iter().for_each(|connections| connections.announce_end());
        if !delay.is_zero() {
            tracing::info!(?delay, "answering on while /readyz says that the server goes");
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = &mut abort => tracing::warn!("stopped without the delay"),
            }
        }
        // A receiver that is gone has stopped.
        let _ = tx.send(true);
        while accepting.join_next().await.is_some() {}
        // The ports are free for a successor from here on, and so is the folder of the policies.
        self.journal.close().await;
        let open: usize = connections.iter().map(|connections| connections.count()).sum();
        tracing::info!(connections = open, "stopping");
        tokio::select! {
            () = finished(&connections) => tracing::info!("every request was answered"),
            () = tokio::time::sleep(timeout) => {
                tracing::warn!("requests were still running after {timeout:?}");
            }
            () = &mut abort => {
                tracing::warn!("stopped without waiting");
                return;
            }
        }
        close(&self.app, &self.journal, &self.store, abort).await;
    }
}

async fn close(app: &App, journal: &Journal, store: &Store, abort: Pin<&mut impl Future<Output = ()>>) {
    let closed = async {
        app.tokens.write_last_used(store).await;
        journal.flushed().await;
        store.close().await;
    };
    tokio::select! {
        () = closed => {}
        () = abort => tracing::warn!("stopped without closing the database"),
    }
}

async fn finished(connections: &[Arc<Connections>]) {
    for connections in connections {
        connections.finished().await;
    }
}

/// Opens the listeners, each with its routes.
fn services(
    serve: &Serve,
    app: &Arc<App>,
    tls: Option<&Arc<Tls>>,
    public: Reserved,
    admin: Option<Reserved>,
) -> anyhow::Result<Vec<(&'static str, Service)>> {
    let in_all = serve.connections.max_connections;
    let per_peer = serve.connections.max_connections_per_peer.unwrap_or(in_all / 4 * 3);
    allow_descriptors(in_all + ADMIN_CONNECTIONS.in_all);
    let timeouts = timeouts(serve);
    let service = |option, reserved: Reserved, routes, max| {
        let listener = reserved.open(option)?;
        warn_of_plain_text(&listener, tls.is_some());
        let tls = tls.filter(|_| listener.address().is_some()).cloned();
        let connections = Connections::new(max, timeouts, Arc::clone(&app.telemetry.connections));
        let front = Front::new(routes, Arc::clone(&app.telemetry));
        Ok::<_, anyhow::Error>(Service { listener, front, tls, connections })
    };
    let max = MaxConnections { in_all, per_peer };
    let routes = match admin {
        Some(_) => routes::public(Arc::clone(app)),
        None => routes::router(Arc::clone(app)),
    };
    let mut services = vec![(LISTEN, service(LISTEN, public, routes, max)?)];
    if let Some(admin) = admin {
        let routes = routes::operators(Arc::clone(app));
        services.push((ADMIN_LISTEN, service(ADMIN_LISTEN, admin, routes, ADMIN_CONNECTIONS)?));
    }
    Ok(services)
}

/// Raises the number of file descriptors that this process may have, as far as it may.
fn allow_descriptors(connections: usize) {
    let wanted = connections as u64 + OTHER_DESCRIPTORS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_some_and(|current| current < allowed) {
        // What follows tells whether that is too few.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    }
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "this process may have too few file descriptors for --max-connections; raise its limit \
             (ulimit -n, LimitNOFILE)"
        );
    }
}

fn warn_of_plain_text(listener: &Listener, is_tls: bool) {
    if let Some(address) = listener.address().filter(|address| !is_tls && !address.ip().is_loopback()) {
        tracing::warn!(
            %address,
            "listening beyond this machine in plain HTTP: give --tls-cert and --tls-key or put TLS in front, \
             and keep /metrics private"
        );
    }
}

/// Logs the policies that the server begins with.
fn describe(serve: &Serve, app: &App) {
    let active = app.secrets.policy();
    tracing::info!(
        policy = format!("{} {}", active.name, active.version),
        digest = active.digest,
        generation = active.generation,
        execution = active.execution.as_str(),
        "the policy is active"
    );
    let who = app.tokens.policy();
    tracing::info!(
        policy = format!("{} {}", who.name, who.version),
        settings = ?who.settings,
        "the tokens' policy is active"
    );
    if active.execution == Execution::Interpreter && !serve.interpreter {
        tracing::warn!(
            "this system forbids executable memory: policies are run by an interpreter, and a miss takes \
             longer"
        );
    }
}

/// Starts what tells of the state of the server, by itself or when it is asked.
fn observe(app: &Arc<App>, user_signals: UserSignals) {
    tokio::spawn(user_signals.answer(Arc::clone(app)));
    let app = Arc::clone(app);
    tokio::spawn(async move { app.telemetry.outages.watch(&app.store).await });
}

/// Waits until the database's file has lost its path; from then on no lease is honoured and no statement
/// sent.
async fn part_from_file(file: Arc<DatabaseFile>, app: Arc<App>) {
    file.change().await;
    app.secrets.reset();
    app.tokens.reset();
    app.store.part_from_file().await;
}

/// Prints a line for each listener on stdout: a program that started us waits for them.
fn announce(services: &[(&'static str, Service)]) {
    let mut stdout = std::io::stdout().lock();
    for (option, service) in services {
        let scheme = match (service.listener.address(), &service.tls) {
            (None, _) => "",
            (Some(_), None) => "http://",
            (Some(_), Some(_)) => "https://",
        };
        let who = if *option == ADMIN_LISTEN { " for operators" } else { "" };
        let listener = &service.listener;
        tracing::info!(address = %listener, option, "listening");
        if let Err(error) =
            writeln!(stdout, "listening{who} on {scheme}{listener}").and_then(|()| stdout.flush())
        {
            tracing::warn!(%error, "nobody reads stdout");
        }
    }
}
