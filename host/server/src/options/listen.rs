//! Where the server listens, and how long and how many connections may be, as options.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::span;

/// Listeners, TLS, and the bounds of connections.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct Listen {
    /// Where to listen for operators, apart from the heartbeats: the other routes are there only, and so is
    /// /metrics; HOST:PORT, unix:FILE or systemd:N as for --listen
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,

    /// The mode of Unix sockets, in octal: 600 for this user alone, 660 for its group
    #[arg(long, value_name = "MODE", default_value = "660", value_parser = mode)]
    pub socket_mode: u32,

    /// Speak TLS on TCP with this certificate, a PEM file with its chain; SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// How long a connection may be idle between two requests: longer than the balancer in front keeps it
    #[arg(long, value_name = "SPAN", default_value = "75s", value_parser = timeout)]
    pub keep_alive: Duration,

    /// How long a client may take for the headers of a request, and for TLS's handshake
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = timeout)]
    pub header_timeout: Duration,

    /// How long an answer may wait for a client that does not read
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = timeout)]
    pub write_timeout: Duration,

    /// How long to go on after SIGTERM while /readyz says 503, so that a balancer finds out first
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = span)]
    pub shutdown_delay: Duration,

    /// How long requests in flight may take after that
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    pub shutdown_timeout: Duration,

    /// How many connections at most; a new one then takes the place of one that is idle or slow
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = count)]
    pub max_connections: usize,

    /// How many of them from one address, or from one /64 of IPv6 [default: three quarters]
    #[arg(long, value_name = "N", value_parser = count)]
    pub max_connections_per_peer: Option<usize>,
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected a mode in octal, such as 600 or 660".to_owned())
}

/// Reads a span that is some time: a connection without any would be closed before it is used.
fn timeout(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    let within = span(text)?;
    if range.contains(&within) { Ok(within) } else { Err("expected between 100ms and 1day".to_owned()) }
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (16..=1_000_000).contains(number));
    number.ok_or_else(|| "expected a number between 16 and 1000000".to_owned())
}
