//! Another writer: one connection of its own, on which it changes rows behind the cache's back.

use std::sync::Arc;

use anyhow::Result;
use leasehold_checker::{Content, Did, ValueId};
use tokio::sync::mpsc::Receiver;

use crate::site::Outside;
use crate::world::{Log, WORKSPACES, World};

/// Beginning of its values, which no minted secret has.
pub(crate) const PREFIX: &str = "another writer's ";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Write {
    /// Another value, where there is a row.
    Update(usize),
    /// NULL or the empty text, where there is a row.
    Clear(usize),
    /// The row is deleted, and the entry removed from the cache, as by a server that deletes a workspace.
    Delete(usize),
    /// A row, where there is none.
    Insert(usize),
    /// One connection of the cache is cut, in the middle of its work.
    Cut,
}

pub(crate) struct Writer {
    pub(crate) outside: Outside,
    pub(crate) world: Arc<World>,
    pub(crate) rows: u64,
    count: u64,
    log: Log,
}

impl Writer {
    pub(crate) fn new(outside: Outside, world: Arc<World>) -> Self {
        Self { outside, world, rows: 0, count: 0, log: Log::default() }
    }

    /// Writes what callers ask for, until the last of them has gone.
    pub(crate) async fn run(mut self, mut asked: Receiver<Write>) -> Result<Self> {
        while let Some(write) = asked.recv().await {
            self.write(write).await?;
        }
        Ok(self)
    }

    pub(crate) fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.log)
    }

    pub(crate) async fn write(&mut self, write: Write) -> Result<()> {
        self.count += 1;
        let (count, world) = (self.count, Arc::clone(&self.world));
        let id = |workspace: usize| world.ids[workspace].as_str();
        let start = world.now();
        match write {
            Write::Update(workspace) => {
                let value = format!("{PREFIX}{count}");
                let has_changed = self.outside.update(id(workspace), Some(&value)).await?;
                self.note(workspace, start, &value, has_changed);
            }
            Write::Clear(workspace) => {
                let nothing = (count % 2 == 0).then_some("");
                if self.outside.update(id(workspace), nothing).await? {
                    self.log.note(workspace, (start, world.now()), Did::Written(Content::Absent));
                }
            }
            Write::Delete(workspace) => {
                if self.outside.delete(id(workspace)).await? {
                    self.rows -= 1;
                    self.log.note(workspace, (start, world.now()), Did::Written(Content::Absent));
                }
                let start = world.now();
                world.cache.remove(&world.ids[workspace]);
                self.log.note(workspace, (start, world.now()), Did::Removed);
            }
            Write::Insert(workspace) => {
                let value = format!("{PREFIX}{count}");
                let is_new = self.outside.insert(id(workspace), &value).await?;
                self.rows += u64::from(is_new);
                self.note(workspace, start, &value, is_new);
            }
            Write::Cut => self.outside.cut().await?,
        }
        Ok(())
    }

    /// Checks that each row is there that was inserted and not deleted, and no other.
    pub(crate) async fn check_rows(&mut self) -> Result<()> {
        let rows = self.outside.count().await?;
        anyhow::ensure!(rows == self.rows, "the table has {rows} rows, and {} were made", self.rows);
        Ok(())
    }

    pub(crate) async fn update_all(&mut self) -> Result<()> {
        for workspace in 0..WORKSPACES {
            self.write(Write::Update(workspace)).await?;
        }
        Ok(())
    }

    fn note(&mut self, workspace: usize, start: u64, value: &str, was_written: bool) {
        if was_written {
            let did = Did::Written(Content::Value(ValueId::of(value)));
            self.log.note(workspace, (start, self.world.now()), did);
            self.world.remember(workspace, value);
        }
    }
}
