//! The workspaces as rows for an operator: a page of them in the order of their ids, or one. Never a secret,
//! and never a token's hash.
//!
//! A table that another program has made may have no `created_at`: the name then means a column of the
//! statement's own, which is NULL.

use std::sync::LazyLock;

use leasehold::{PostgresQuery, WorkspaceId};
use sqlx::SqlitePool;

use super::{DatabaseFile, Store, StoreError, in_time};

/// A workspace as an operator is shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkspaceRow {
    pub(crate) id: String,
    /// When it was made, in the database's own words; `None` if the table does not say.
    pub(crate) created_at: Option<String>,
    pub(crate) has_secret: bool,
}

/// Choice of the workspaces that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    All,
    WithoutSecret,
}

/// A page of the list.
pub(crate) struct WorkspacePage {
    pub(crate) workspaces: Vec<WorkspaceRow>,
    /// Last id of the page, if there are more behind it.
    pub(crate) next: Option<String>,
}

const HAS_SECRET: &str = "platform_inbound_secret IS NOT NULL AND platform_inbound_secret <> ''";

/// The condition for one workspace, and those for a page: for each what is listed, and where it begins. The
/// first parameter is an id, the second the number of rows.
fn conditions(id: &str, listed: Listed) -> [String; 2] {
    let wanted = match listed {
        Listed::All => "true".to_owned(),
        Listed::WithoutSecret => format!("NOT ({HAS_SECRET})"),
    };
    // The first page has no id to begin behind, and the parameter has a type all the same.
    [format!("{id} = '' AND {wanted}"), format!("id > {id} AND {wanted}")]
}

fn postgres(purpose: &str, condition: &str) -> PostgresQuery {
    PostgresQuery::read(purpose, 3, |guard| {
        format!(
            "SELECT CAST(page.id AS text), \
             (SELECT to_json(created_at) #>> '{{}}' FROM workspaces AS kept WHERE kept.id = page.id), \
             page.has_secret \
             FROM (SELECT id, CAST({HAS_SECRET} AS text) AS has_secret, CAST(NULL AS text) \
             AS created_at FROM workspaces WHERE {condition} AND {guard} ORDER BY id LIMIT CAST($5 AS \
             bigint)) AS page ORDER BY page.id"
        )
    })
}

fn sqlite(condition: &str) -> String {
    format!(
        "SELECT page.id, (SELECT CAST(created_at AS TEXT) FROM workspaces AS kept WHERE kept.id = page.id), \
         page.has_secret FROM (SELECT id, {HAS_SECRET} AS has_secret, NULL AS created_at FROM workspaces \
         WHERE {condition} ORDER BY id LIMIT CAST(?2 AS INTEGER)) AS page ORDER BY page.id"
    )
}

/// The statements of one kind of list: its first page, and a page behind an id.
struct ListStatements {
    postgres: [PostgresQuery; 2],
    sqlite: [String; 2],
}

impl ListStatements {
    fn new(purpose: &str, listed: Listed) -> Self {
        let [first, next] = conditions("$4", listed);
        let postgres =
            [postgres(&format!("{purpose}-first"), &first), postgres(&format!("{purpose}-next"), &next)];
        Self { postgres, sqlite: conditions("?1", listed).map(|condition| sqlite(&condition)) }
    }
}

static ALL: LazyLock<ListStatements> = LazyLock::new(|| ListStatements::new("list", Listed::All));
static WITHOUT_SECRET: LazyLock<ListStatements> =
    LazyLock::new(|| ListStatements::new("list-without-secret", Listed::WithoutSecret));
static ONE: LazyLock<(PostgresQuery, String)> =
    LazyLock::new(|| (postgres("look", "id = $4"), sqlite("id = ?1")));

impl Store {
    /// Returns the workspaces behind `after` in the order of their ids, `limit` at most.
    pub(crate) async fn list(
        &self,
        after: Option<&WorkspaceId>,
        limit: usize,
        listed: Listed,
    ) -> Result<WorkspacePage, StoreError> {
        let statements: &'static ListStatements = match listed {
            Listed::All => &ALL,
            Listed::WithoutSecret => &WITHOUT_SECRET,
        };
        let [first, next] = &statements.postgres;
        let [sqlite_first, sqlite_next] = &statements.sqlite;
        let (postgres, sqlite) = if after.is_some() { (next, sqlite_next) } else { (first, sqlite_first) };
        // One more than asked for says whether there are more.
        let after = after.map_or("", WorkspaceId::as_str);
        let mut workspaces = self.rows(postgres, sqlite, after, limit.saturating_add(1)).await?;
        let has_more = workspaces.len() > limit;
        workspaces.truncate(limit);
        let next = workspaces.last().filter(|_| has_more).map(|last| last.id.clone());
        Ok(WorkspacePage { workspaces, next })
    }

    /// Returns one workspace, if there is such a row.
    pub(crate) async fn look(&self, workspace: &WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
        let (postgres, sqlite) = &*ONE;
        Ok(self.rows(postgres, sqlite, workspace.as_str(), 1).await?.pop())
    }

    async fn rows(
        &self,
        postgres: &PostgresQuery,
        sqlite: &'static str,
        id: &str,
        limit: usize,
    ) -> Result<Vec<WorkspaceRow>, StoreError> {
        let limit = limit.to_string();
        let read = async {
            match self {
                Self::Sqlite(pool, file) => read_file(pool, file, sqlite, &[id, &limit]).await,
                Self::Postgres(pool) => {
                    let rows = pool.query(postgres, &[id, &limit]).await?;
                    Ok(rows.into_iter().filter_map(row_of_texts).collect())
                }
            }
        };
        // Nothing is in doubt after a read.
        in_time(read).await.map_err(|error| match error {
            StoreError::OutcomeUnknown(reason) => StoreError::Unavailable(reason),
            other => other,
        })
    }
}

async fn read_file(
    pool: &SqlitePool,
    file: &DatabaseFile,
    statement: &'static str,
    parameters: &[&str],
) -> Result<Vec<WorkspaceRow>, StoreError> {
    file.check().map_err(StoreError::FileChanged)?;
    let query = sqlx::query_as(statement);
    let query = parameters.iter().fold(query, |query, &value| query.bind(value));
    let rows: Vec<(String, Option<String>, bool)> = query.fetch_all(pool).await?;
    file.check().map_err(StoreError::FileChanged)?;
    let row = |(id, created_at, has_secret)| WorkspaceRow { id, created_at, has_secret };
    Ok(rows.into_iter().map(row).collect())
}

fn row_of_texts(texts: Vec<Option<String>>) -> Option<WorkspaceRow> {
    let [id, created_at, has_secret] = <[Option<String>; 3]>::try_from(texts).ok()?;
    Some(WorkspaceRow { id: id?, created_at, has_secret: has_secret? == "true" })
}
