//! A web server that lets a workspace in by its secret: `cargo run -p leasehold --features testing
//! --example axum_verify`, then
//!
//! ```sh
//! curl -i -H 'x-secret: correct' http://127.0.0.1:3000/acme     # 200
//! curl -i -H 'x-secret: wrong' http://127.0.0.1:3000/acme       # 403
//! ```
//!
//! A secret that matches the cached one costs no statement. One that does not is held against the database,
//! once a second for a workspace at most: another process may have issued it a moment ago.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use leasehold::testing::InMemory;
use leasehold::{SecretCache, WorkspaceId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A database in memory, so that the example runs by itself. Yours: Postgres::connect(url, column).
    let database = InMemory::new();
    database.store("acme", "correct");
    let cache = SecretCache::builder().database(database).build().await?;

    let routes = Router::new().route("/{workspace}", get(enter)).with_state(cache);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

async fn enter(
    State(cache): State<SecretCache>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
) -> Result<&'static str, StatusCode> {
    let workspace = WorkspaceId::new(workspace).map_err(|_| StatusCode::BAD_REQUEST)?;
    let presented = headers.get("x-secret").ok_or(StatusCode::UNAUTHORIZED)?;
    match cache.verify(&workspace, presented.as_bytes()).await {
        Ok(true) => Ok("come in\n"),
        Ok(false) => Err(StatusCode::FORBIDDEN),
        // Nothing is known of the workspace, and the database does not answer.
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}
