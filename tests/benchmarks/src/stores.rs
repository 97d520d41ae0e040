//! The databases of a benchmark: real ones, with a row for each workspace.

use anyhow::Result;
use leasehold::{Column, Postgres, Sqlite, WorkspaceId};
use leasehold_tests::{postgres, sqlite};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::fleet::SECRET;

pub(crate) fn column() -> Column {
    Column::new("workspaces", "id", "platform_inbound_secret").expect("plain names")
}

/// Creates a SQLite file, and the cache's connection to it.
pub(crate) async fn sqlite(ids: &[WorkspaceId]) -> Result<(sqlite::TestDatabase, Sqlite)> {
    let file = sqlite::TestDatabase::create().await?;
    let column = {
        sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(file.pool()).await?;
        column()
    };
    let mut filling = file.pool().begin().await?;
    for id in ids {
        let sql = "INSERT INTO workspaces (id, platform_inbound_secret) VALUES (?1, ?2)";
        sqlx::query(sql).bind(id.as_str()).bind(SECRET).execute(&mut *filling).await?;
    }
    filling.commit().await?;
    let database = Sqlite::connect(file.url(), column).await?;
    Ok((file, database))
}

/// Creates a database of the cluster that `tests/run` starts, and the cache's connections to it over the
/// server's Unix socket.
pub(crate) async fn postgres(ids: &[WorkspaceId]) -> Result<(postgres::TestDatabase, Postgres)> {
    let database = postgres::TestDatabase::create().await?;
    sqlx::raw_sql(leasehold_tests::WORKSPACES).execute(database.pool()).await?;
    let keys: Vec<&str> = ids.iter().map(WorkspaceId::as_str).collect();
    let fill =
        "INSERT INTO workspaces (id, platform_inbound_secret) SELECT id, $2 FROM unnest($1::text[]) AS id";
    sqlx::query(fill).bind(&keys).bind(SECRET).execute(database.pool()).await?;
    sqlx::raw_sql("ANALYZE workspaces").execute(database.pool()).await?;
    let folder: String =
        sqlx::query_scalar("SHOW unix_socket_directories").fetch_one(database.pool()).await?;
    let options: PgConnectOptions = database.options().socket(folder);
    let inside = Postgres::connect(options.to_url_lossy().as_str(), column()).await?;
    Ok((database, inside))
}
