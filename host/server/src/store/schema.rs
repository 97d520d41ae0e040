//! The schema: whether it is there, and how it is made.
//!
//! It looks first. Where everything is there, no statement is sent that changes anything and no lock is
//! taken: a role that may create nothing can start a server, and so can one on a standby. The missing parts
//! are made in one transaction, and no lock outlives it, whatever pooler is between. The version is kept in a
//! table of our own, so that another program's migrations in the same schema are no obstacle; a table without
//! a version is the first.

mod postgres;
mod sqlite;

use std::time::Duration;

pub(super) use self::postgres::{describe as describe_postgres, migrate as postgres};
pub(super) use self::sqlite::{check as check_sqlite, describe as describe_sqlite, migrate as sqlite};
use super::DatabaseReport;

/// Version of the schema that this server works with.
pub(super) const VERSION: i64 = 2;
/// Columns of the table of workspaces that it needs.
const COLUMNS: [&str; 2] = ["id", "platform_inbound_secret"];
/// Columns of the table of tokens that it needs.
const TOKEN_COLUMNS: [&str; 8] =
    ["token_hash", "workspace_id", "id", "prefix", "created_ms", "last_used_ms", "expires_ms", "admits"];
/// Column of version 1 that held the hash of a workspace's one token.
const OLD_HASH: &str = "auth_token_hash";
/// Maximum number of workspaces that a refusal names.
const MAX_NAMED: usize = 5;
/// Time to wait for another server that is changing the schema, or for another session that holds a lock on
/// it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Permission to change the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migrate {
    /// The schema is made if it is missing.
    IfNeeded,
    /// The schema has to be there.
    Never,
}

/// Outcome of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migrated {
    /// Nothing was done: the schema was there.
    WasCurrent,
    /// The schema was made.
    Created,
    /// Nothing was done: the tables are another program's, and a server could work with them.
    WasExternal,
    /// The schema was brought here from an older version.
    Upgraded(i64),
}

/// State of the schema that a look at the database found.
#[derive(Debug, PartialEq, Eq)]
enum FoundSchema {
    /// The tables and their columns.
    Current,
    /// No table.
    Missing,
    /// Version 1, in which each workspace had one token.
    Old,
    /// A table with other columns: these are missing.
    Foreign(&'static str, Vec<&'static str>),
    /// A version that this server does not know.
    Newer(i64),
}

/// The columns that a look has found, none of a table that is not there, and the version if one is kept.
struct Columns<'a> {
    workspaces: &'a [String],
    tokens: &'a [String],
    version: Option<i64>,
}

impl FoundSchema {
    fn new(found: &Columns<'_>) -> Self {
        if let Some(version) = found.version.filter(|version| *version > VERSION) {
            return Self::Newer(version);
        }
        if found.workspaces.is_empty() {
            return Self::Missing;
        }
        let lacking = missing(found.workspaces, &COLUMNS);
        if !lacking.is_empty() {
            return Self::Foreign("workspaces", lacking);
        }
        if found.tokens.is_empty() {
            let is_old = has(found.workspaces, OLD_HASH);
            return if is_old { Self::Old } else { Self::Foreign("workspaces", vec![OLD_HASH]) };
        }
        let lacking = missing(found.tokens, &TOKEN_COLUMNS);
        if lacking.is_empty() { Self::Current } else { Self::Foreign("workspace_tokens", lacking) }
    }

    /// Reports the state, and what is wrong with it.
    fn describe(&self, report: &mut DatabaseReport) {
        let (words, lack) = match self {
            Self::Current => ("is there".to_owned(), None),
            Self::Missing => (
                "is not there".to_owned(),
                Some("the table workspaces is missing (leasehold migrate)".to_owned()),
            ),
            Self::Old => (
                "is an older server's".to_owned(),
                Some(format!(
                    "the schema has version 1, and this program needs {VERSION} (leasehold migrate)"
                )),
            ),
            Self::Foreign(table, missing) => {
                let lack = format!("the table {table} has no column {}", missing.join(", "));
                ("is another program's".to_owned(), Some(lack))
            }
            Self::Newer(version) => {
                let lack =
                    format!("the schema has version {version}, and this program knows {VERSION} at most");
                ("is a newer server's".to_owned(), Some(lack))
            }
        };
        report.fact("schema", words);
        lack.into_iter().for_each(|lack| report.lack(lack));
    }

    /// Returns `false` if the schema is to be made, or brought up to date.
    fn is_current(&self, shown: &str, how: Migrate) -> anyhow::Result<bool> {
        match self {
            Self::Current => Ok(true),
            Self::Missing | Self::Old if how == Migrate::IfNeeded => Ok(false),
            Self::Missing => anyhow::bail!(
                "the schema of {shown} is not there: it has no table workspaces that this user can see; run \
                 `leasehold migrate --database URL` as a user who may create tables, or serve without \
                 --no-migrate"
            ),
            Self::Old => anyhow::bail!(
                "the schema of {shown} has version 1, and this server needs version {VERSION}; run \
                 `leasehold migrate --database URL` as a user who may create tables, or serve without \
                 --no-migrate. \
                 Older servers are refused from then on: make a backup first"
            ),
            Self::Foreign(table, missing) => anyhow::bail!(
                "cannot bring the schema of {shown} up to date: its table {table} has no column {}; is it \
                 another program's database?",
                missing.join(", ")
            ),
            Self::Newer(version) => anyhow::bail!(
                "the schema of {shown} has version {version}, and this server knows {VERSION} at most: a \
                 newer server has changed it; run that one, or restore a backup from before"
            ),
        }
    }
}

fn has(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column.eq_ignore_ascii_case(name))
}

fn missing(columns: &[String], needed: &[&'static str]) -> Vec<&'static str> {
    needed.iter().copied().filter(|name| !has(columns, name)).collect()
}

/// Tokens of version 1 that cannot be taken over as they are.
#[derive(Default)]
struct OldTokens {
    /// Workspaces with the token of another one, a few of them.
    sharing: Vec<String>,
    /// Number of workspaces whose hash is no SHA-256 in hexadecimal, which no token has ever matched.
    unusable: i64,
}

impl OldTokens {
    /// Refuses tokens that open several workspaces.
    fn check(&self, shown: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.sharing.is_empty(),
            "cannot bring the schema of {shown} up to date: several workspaces have the same \
             {OLD_HASH}, and from version 2 on a token opens one workspace; give each one of its own, or \
             delete those that are not needed, and start again. Among them: {:?}",
            self.sharing
        );
        Ok(())
    }

    /// Logs that the schema is up to date, and which workspaces were left without a token.
    fn report(&self, shown: &str) {
        tracing::info!(
            database = shown,
            "the schema was brought from version 1 to version {VERSION}: each workspace may have several \
             tokens, and older servers are refused"
        );
        if self.unusable > 0 {
            tracing::warn!(
                workspaces = self.unusable,
                "these workspaces had an {OLD_HASH} that is no SHA-256 in hexadecimal: no token has ever \
                 opened them, and none was taken over; make one with POST /workspaces/ID/tokens"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(workspaces: &[&str], tokens: &[&str], version: Option<i64>) -> FoundSchema {
        let owned = |columns: &[&str]| columns.iter().map(|&column| column.to_owned()).collect::<Vec<_>>();
        FoundSchema::new(&Columns { workspaces: &owned(workspaces), tokens: &owned(tokens), version })
    }

    #[test]
    fn a_table_is_known_by_its_columns_and_a_newer_version_by_its_number() {
        let old = ["id", "auth_token_hash", "platform_inbound_secret"];
        assert_eq!(found(&COLUMNS, &TOKEN_COLUMNS, None), FoundSchema::Current);
        assert_eq!(
            found(&["ID", "platform_inbound_secret", "more"], &TOKEN_COLUMNS, Some(2)),
            FoundSchema::Current
        );
        assert_eq!(found(&[], &[], None), FoundSchema::Missing);
        assert_eq!(found(&old, &[], None), FoundSchema::Old);
        assert_eq!(found(&old, &[], Some(1)), FoundSchema::Old);
        assert_eq!(
            found(&["id", "auth_token_hash"], &[], None),
            FoundSchema::Foreign("workspaces", vec!["platform_inbound_secret"])
        );
        assert_eq!(found(&COLUMNS, &[], None), FoundSchema::Foreign("workspaces", vec!["auth_token_hash"]));
        assert_eq!(
            found(&COLUMNS, &TOKEN_COLUMNS[1..], None),
            FoundSchema::Foreign("workspace_tokens", vec!["token_hash"])
        );
        assert_eq!(found(&COLUMNS, &TOKEN_COLUMNS, Some(3)), FoundSchema::Newer(3));
    }
}
