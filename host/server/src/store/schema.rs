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
pub(super) const VERSION: i64 = 1;
/// Columns that it needs.
const COLUMNS: [&str; 3] = ["id", "auth_token_hash", "platform_inbound_secret"];
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
}

/// State of the schema that a look at the database found.
#[derive(Debug, PartialEq, Eq)]
enum FoundSchema {
    /// The table and its columns.
    Current,
    /// No table.
    Missing,
    /// A table with other columns: these are missing.
    Foreign(Vec<&'static str>),
    /// A version that this server does not know.
    Newer(i64),
}

impl FoundSchema {
    /// Derives the state from the columns of the table, none if there is no such table, and the version if
    /// one is kept.
    fn new(columns: &[String], version: Option<i64>) -> Self {
        if let Some(version) = version.filter(|version| *version > VERSION) {
            return Self::Newer(version);
        }
        if columns.is_empty() {
            return Self::Missing;
        }
        let is_there = |name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let missing: Vec<_> = COLUMNS.into_iter().filter(|name| !is_there(name)).collect();
        if missing.is_empty() { Self::Current } else { Self::Foreign(missing) }
    }

    /// Reports the state, and what is wrong with it.
    fn describe(&self, report: &mut DatabaseReport) {
        let (words, lack) = match self {
            Self::Current => ("is there".to_owned(), None),
            Self::Missing => (
                "is not there".to_owned(),
                Some("the table workspaces is missing (leasehold migrate)".to_owned()),
            ),
            Self::Foreign(missing) => {
                let lack = format!("the table workspaces has no column {}", missing.join(", "));
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

    /// Returns `false` if the schema is to be made.
    fn is_current(&self, shown: &str, how: Migrate) -> anyhow::Result<bool> {
        match self {
            Self::Current => Ok(true),
            Self::Missing if how == Migrate::IfNeeded => Ok(false),
            Self::Missing => anyhow::bail!(
                "the schema of {shown} is not there: it has no table workspaces that this user can see; run \
                 `leasehold migrate --database URL` as a user who may create tables, or serve without \
                 --no-migrate"
            ),
            Self::Foreign(missing) => anyhow::bail!(
                "cannot bring the schema of {shown} up to date: its table workspaces has no column {}; is \
                 it another program's database?",
                missing.join(", ")
            ),
            Self::Newer(version) => anyhow::bail!(
                "the schema of {shown} has version {version}, and this server knows {VERSION} at most: a \
                 newer server has changed it; run that one, or restore a backup from before"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(columns: &[&str], version: Option<i64>) -> FoundSchema {
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        FoundSchema::new(&columns, version)
    }

    #[test]
    fn a_table_is_known_by_its_columns_and_a_newer_version_by_its_number() {
        assert_eq!(found(&COLUMNS, None), FoundSchema::Current);
        assert_eq!(
            found(&["ID", "auth_token_hash", "platform_inbound_secret", "more"], Some(1)),
            FoundSchema::Current
        );
        assert_eq!(found(&[], None), FoundSchema::Missing);
        assert_eq!(
            found(&["id", "auth_token_hash"], None),
            FoundSchema::Foreign(vec!["platform_inbound_secret"])
        );
        assert_eq!(found(&COLUMNS, Some(2)), FoundSchema::Newer(2));
    }
}
