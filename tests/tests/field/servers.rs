//! A URL with several servers, as libpq has it: tried in order at the start and at each reconnect, so that a
//! failover to another server of the list is followed; and a server at an IPv6 address.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leasehold_tests::cluster::{Cluster, Stop};
use leasehold_tests::server::{Ended, Launch, Server};
use sqlx::{ConnectOptions as _, query_scalar};

use super::pooler::tail;
use super::ready::{Ready, becomes};

/// Time within which a server of the list has to be found once it can be used.
const FOUND: Duration = Duration::from_secs(2);

/// Returns the URL that names these places in this order, with the login of the cluster.
fn url(cluster: &Cluster, places: &[String], wanted: &str) -> String {
    let url = cluster.options().to_url_lossy().to_string();
    let own = place(cluster);
    let url = url.replace(&own, &places.join(","));
    if wanted.is_empty() { url } else { format!("{url}&target_session_attrs={wanted}") }
}

fn place(cluster: &Cluster) -> String {
    let options = cluster.options();
    format!("{}:{}", options.get_host(), options.get_port())
}

/// Returns a place where nothing listens.
fn dead() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Creates a primary with the schema, and a standby that has it too.
async fn pair() -> Result<(Cluster, Cluster)> {
    let primary = Cluster::create(&[])?;
    let url = primary.options().to_url_lossy().to_string();
    let made = Launch::alone(["migrate", "--database", &url])?.run_to_completion()?;
    ensure!(made.code == Some(0), "{made:?}");
    let standby = primary.standby()?;
    standby.caught_up_with(&primary).await?;
    Ok((primary, standby))
}

fn refused(url: &str) -> Result<Ended> {
    let ended = Launch::new(url)?.run_to_completion()?;
    ensure!(ended.code == Some(1), "{ended:?}");
    Ok(ended)
}

async fn stored(cluster: &Cluster, id: &str) -> Result<String> {
    let mut connection = cluster.options().connect().await?;
    let sql = "SELECT platform_inbound_secret FROM workspaces WHERE id = $1";
    Ok(query_scalar(sql).bind(id).fetch_one(&mut connection).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_the_other_server_of_the_url_is_followed() -> Result<()> {
    let (primary, standby) = pair().await?;
    for wanted in ["read-write", "primary"] {
        // The standby comes first once, and is passed over.
        let places = [place(&standby), place(&primary)];
        let server = Server::start(&url(&primary, &places, wanted))?;
        server.create(wanted)?;
        let rotated = server.rotate(wanted)?;
        ensure!(stored(&primary, wanted).await? == rotated, "{wanted}: another server was written");
        server.stop()?;
    }
    let server = Server::start(&url(&primary, &[place(&primary), place(&standby)], "read-write"))?;
    let token = server.create("w")?;
    let secret = server.delivered("w", &token)?;
    standby.caught_up_with(&primary).await?;
    primary.stop(Stop::Fast)?;
    becomes(&server, Ready::Unavailable, FOUND).await?;
    ensure!(server.delivered("w", &token)? == secret, "a leased secret");
    standby.promote()?;
    becomes(&server, Ready::Ok, FOUND).await.with_context(|| tail(&server))?;
    let rotated = server.rotate("w").with_context(|| tail(&server))?;
    ensure!(server.delivered("w", &token)? == rotated, "what was rotated is delivered");
    ensure!(stored(&standby, "w").await? == rotated, "the new primary holds it");
    for number in 0..20 {
        server.create(&format!("after-{number}")).with_context(|| tail(&server))?;
    }
    server.stop()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_session_is_found_and_none_that_is_another_is_used() -> Result<()> {
    let (primary, standby) = pair().await?;
    let both = [place(&primary), place(&standby)];
    for (wanted, places, ready) in [
        ("", &both, Ready::Ok),
        ("any", &[place(&standby), place(&primary)], Ready::ReadOnly),
        ("standby", &both, Ready::ReadOnly),
        ("read-only", &both, Ready::ReadOnly),
        ("prefer-standby", &both, Ready::ReadOnly),
        ("prefer-standby", &[place(&primary), dead()?], Ready::Ok),
        ("primary", &[dead()?, place(&primary)], Ready::Ok),
    ] {
        let server = Server::start(&url(&primary, places, wanted)).with_context(|| wanted.to_owned())?;
        let says = Ready::of(&server)?;
        ensure!(says == ready, "{wanted:?}: {says:?}");
        server.stop()?;
    }
    let none = refused(&url(&primary, &[place(&primary), dead()?], "standby"))?;
    for words in ["no server is standby", "is a primary", "connection refused"] {
        ensure!(none.log.contains(words), "no {words:?} in {}", none.log);
    }
    let password = primary.options().to_url_lossy().password().context("no password")?.to_owned();
    let wrong = refused(&url(&primary, &both, "master"))?;
    let words = "expected one of any, read-write, read-only, primary, standby, prefer-standby";
    ensure!(wrong.log.contains("target_session_attrs") && wrong.log.contains(words), "{}", wrong.log);
    ensure!(!format!("{}{}", none.log, wrong.log).contains(&password), "the password is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferred_standby_that_goes_is_followed_by_the_primary() -> Result<()> {
    let (primary, standby) = pair().await?;
    let both = [place(&primary), place(&standby)];
    let server = Server::start(&url(&primary, &both, "prefer-standby"))?;
    ensure!(Ready::of(&server)? == Ready::ReadOnly, "it is on the standby");
    standby.stop(Stop::Immediate)?;
    becomes(&server, Ready::Ok, FOUND).await.with_context(|| tail(&server))?;
    server.create("w")?;
    server.stop()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_at_an_ipv6_address_is_reached() -> Result<()> {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("this machine has no IPv6: only the unit test of the URL has run");
        return Ok(());
    }
    let cluster = Cluster::create(&["listen_addresses=127.0.0.1,::1"])?;
    let port = cluster.options().get_port();
    let server = Server::start(&url(&cluster, &[format!("[::1]:{port}")], ""))?;
    let token = server.create("w")?;
    server.delivered("w", &token)?;
    ensure!(server.log()?.contains(&format!("@[::1]:{port}/")), "{}", server.log()?);
    let mut connection = cluster.options().connect().await?;
    let by =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leasehold' AND client_addr = '::1'";
    let sessions: i64 = query_scalar(by).fetch_one(&mut connection).await?;
    ensure!(sessions > 0, "no session has come over IPv6");
    server.stop()?;
    Ok(())
}
