//! The arguments of `leasehold serve`. Their values are checked where they are used.

mod admin;
mod bounds;
mod database;
mod listen;
mod logs;
mod reread;
mod state;
mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub use self::admin::AdminOptions;
pub use self::bounds::Bounds;
pub(crate) use self::bounds::PoolBounds;
pub use self::database::DatabaseOptions;
pub use self::listen::Listen;
pub use self::logs::{LogFormat, LogOptions};
pub use self::reread::ConfigFile;
pub(crate) use self::reread::{CONFIG, ConfigSource};
pub use self::state::StateOptions;
pub use self::tokens::TokenOptions;
use crate::listener::Inherited;
use crate::policy_source::bundled_names;
use crate::values::Values;

/// Default database.
pub(crate) const DATABASE: &str = "sqlite://leasehold.db?mode=rwc";

/// Default policy of the tokens' cache.
pub(crate) const TOKEN_POLICY: &str = "resilient";

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where to listen for HTTP: HOST:PORT, unix:FILE, or systemd:N for the Nth socket that systemd hands
    /// over, from 0 on; port 0 takes a free one, and the line on stdout says which
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// sqlite://FILE?mode=rwc, or postgres://USER@HOST:PORT/NAME with the password in PGPASSWORD or ~/.pgpass
    #[arg(long, value_name = "URL", default_value = DATABASE)]
    pub database: String,

    /// Change no schema: say what is missing where it is not up to date; `leasehold migrate` makes it
    #[arg(long)]
    pub no_migrate: bool,

    /// The policy of the secrets' cache
    #[arg(long, value_name = "NAME|FILE", default_value = "ttl", help = policy_help())]
    pub policy: String,

    /// A setting for the policy, such as ttl=30s; may be given once for each setting
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// The policy of the tokens' cache, a bundled one by name; it is never swapped
    #[arg(long, value_name = "NAME", default_value = TOKEN_POLICY)]
    pub token_policy: String,

    /// A setting for the tokens' policy, such as stale=15m (default 55m): how long tokens outlast a database
    /// that is down
    #[arg(long = "token-setting", value_name = "NAME=VALUE")]
    pub token_settings: Vec<String>,

    /// Apply the policy file whenever it changes; SIGHUP applies what --policy names in any case
    #[arg(long)]
    pub watch_policy: bool,

    /// Where the active policy, those to go back to and the record of changes are kept from one run to the
    /// next
    #[arg(long, value_name = "DIR", default_value = "leasehold.state")]
    pub state_dir: PathBuf,

    /// How long a policy is on probation after a swap, such as 5m; 0s for not at all
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = span)]
    pub probation: Duration,

    /// At which failed call a policy on probation is replaced by the last good one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub probation_faults: u32,

    /// The mean processor time of a call at which a policy on probation is replaced
    #[arg(long, value_name = "SPAN", default_value = "2ms", value_parser = span)]
    pub probation_call_time: Duration,

    /// How many times the SELECTs per second of the policy before a policy on probation may send [default: no
    /// limit]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub probation_loads: Option<f64>,
    /// Take policies that are signed by this key only, besides the bundled ones; may be given for each of
    /// several keys
    #[arg(long = "trusted-key", value_name = "BASE64")]
    pub trusted_keys: Vec<String>,

    /// Refuse signed policies of a lower revision than this; the highest that was active is remembered in any
    /// case
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub revision_floor: u64,

    /// Take the component with this digest only, besides the bundled ones; may be given for each of several
    #[arg(long = "pin-digest", value_name = "SHA256")]
    pub pinned_digests: Vec<String>,

    /// Run policies by an interpreter in place of machine code; chosen by itself where the system forbids
    /// executable memory
    #[arg(long)]
    pub interpreter: bool,

    /// Keep compiled policies here between starts; what is in it is run, so nobody else may write to it
    #[arg(long, value_name = "DIR")]
    pub compile_cache: Option<PathBuf>,

    /// Workspace tokens.
    #[command(flatten)]
    pub tokens: TokenOptions,

    /// Where the URL is, and a table that is there already
    #[command(flatten)]
    pub existing: DatabaseOptions,
    /// The folder that one server at a time uses
    #[command(flatten)]
    pub state: StateOptions,

    /// What is logged, and in which form
    #[command(flatten)]
    pub logs: LogOptions,
    /// The admin credentials.
    #[command(flatten)]
    pub admin: AdminOptions,
    /// Listeners, TLS, and the bounds of connections.
    #[command(flatten)]
    pub connections: Listen,

    /// The bounds of both caches.
    #[command(flatten)]
    pub bounds: Bounds,

    /// The file to read.
    #[command(flatten)]
    pub config: ConfigFile,

    /// The way to read the configuration again.
    #[arg(skip)]
    pub(crate) reread: Option<ConfigSource>,

    /// The values of all options, as they were read.
    #[arg(skip)]
    pub(crate) values: Values,

    /// The sockets that a service manager hands over.
    #[arg(skip)]
    pub inherited: Inherited,
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as 2ms, 30s, 5m or 0s".to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio > 0.0);
    ratio.ok_or_else(|| "expected a number above zero, such as 3 or 1.5".to_owned())
}

fn policy_help() -> String {
    format!(
        "The policy of the secrets' cache: a bundled one by name ({}), or a component file",
        bundled_names()
    )
}
