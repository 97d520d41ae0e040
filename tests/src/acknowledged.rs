//! The log on disk of what clients were answered: each acknowledgement is there, and synced, before it is
//! counted.
//!
//! It knows no server and no database. A database is compared with what [`Log::fresh`] reads back from the
//! file, never with what a client remembers: a test that forgets an acknowledgement would find that nothing
//! was lost.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The row of a workspace, as far as its secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// There is no row.
    Gone,
    /// The row has no secret: NULL or the empty text.
    Empty,
    /// The row holds this secret.
    Holds(String),
}

/// The last answer that a client was given about a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its number among the workspace's acknowledgements.
    pub sequence: u64,
    /// The row that the answer speaks of.
    pub row: Row,
}

/// The log. Threads append to it at the same time.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// Number of bytes that were read back.
    read: u64,
}

/// The acknowledgements that were read back from a log.
#[derive(Debug, Default)]
pub struct Responses {
    /// The last acknowledgement of each workspace.
    pub last: HashMap<String, Acknowledged>,
    /// Every secret of the rows, the replaced ones too.
    pub secrets: Vec<String>,
    /// Number of acknowledgements.
    pub count: u64,
}

impl Log {
    /// Creates a new log in this folder.
    pub fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("acknowledged.log");
        let file = OpenOptions::new()
            .append(true)
            .read(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { file, read: 0 })
    }

    /// Writes one acknowledgement down. It is on the disk when this returns.
    pub fn append(&self, workspace: &str, sequence: u64, row: &Row) -> Result<()> {
        // One write, so that lines of several threads do not mix.
        let line = format!("{workspace} {sequence} {row}\n");
        (&self.file).write_all(line.as_bytes()).context("writing to the log")?;
        self.file.sync_data().context("syncing the log")
    }

    /// Reads back what was appended since the last time. No thread may be appending.
    pub fn fresh(&mut self) -> Result<Responses> {
        self.file.seek(SeekFrom::Start(self.read)).context("reading the log")?;
        let mut text = String::new();
        self.read += self.file.read_to_string(&mut text).context("reading the log")? as u64;
        let mut responses = Responses::default();
        for line in text.lines() {
            let (workspace, acknowledged) = parse(line).with_context(|| format!("the log says {line:?}"))?;
            if let Row::Holds(secret) = &acknowledged.row {
                responses.secrets.push(secret.clone());
            }
            if let Some(earlier) = responses.last.get(workspace)
                && earlier.sequence >= acknowledged.sequence
            {
                bail!("the log says {line:?} after {earlier:?}");
            }
            responses.last.insert(workspace.to_owned(), acknowledged);
            responses.count += 1;
        }
        Ok(responses)
    }
}

fn parse(line: &str) -> Result<(&str, Acknowledged)> {
    let mut fields = line.split(' ');
    let (workspace, sequence) = (fields.next().context("no id")?, fields.next().context("no number")?);
    let row = match (fields.next(), fields.next(), fields.next()) {
        (Some("gone"), None, None) => Row::Gone,
        (Some("empty"), None, None) => Row::Empty,
        (Some("holds"), Some(secret), None) => Row::Holds(secret.to_owned()),
        _ => bail!("no row"),
    };
    Ok((workspace, Acknowledged { sequence: sequence.parse()?, row }))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("gone"),
            Self::Empty => f.write_str("empty"),
            Self::Holds(secret) => write!(f, "holds {secret}"),
        }
    }
}
