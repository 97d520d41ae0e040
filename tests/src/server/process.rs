//! A child process whose output is kept and whose end is waited for, with a bound on every wait.
//!
//! stderr goes to a file: what the process wrote before it answered is there when the answer is. stdout is
//! read by a thread, which ends with it; the end of stdout shows the end of the process without polling.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::NamedTempFile;

/// Time limit: longer than any start or stop takes on a busy machine, and short enough to notice that one
/// hangs.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The end of a process, and its output.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Output on stdout that was not read before.
    pub stdout: String,
    /// Output on stderr.
    pub log: String,
}

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: NamedTempFile,
}

impl Process {
    pub(super) fn start<'a>(
        binary: &Path,
        arguments: &[String],
        variables: impl Iterator<Item = (&'a str, &'a str)>,
        folder: &Path,
    ) -> Result<Self> {
        let log = NamedTempFile::new().context("creating a file for stderr")?;
        let mut child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .envs(variables)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen()?)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stdout = child.stdout.take().context("stdout is not piped")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // No thread listens once the process was killed.
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, lines, log })
    }

    /// Returns the next line of stdout; `None` at its end.
    pub(super) fn next_line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(MAX_WAIT) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("silent for {MAX_WAIT:?}; its log:\n{}", self.log()?),
        }
    }

    /// Waits for the next line of stdout for this long at most. Where there is none by then, that is no
    /// error.
    pub(super) fn line_within(&mut self, span: Duration) {
        let _ = self.lines.recv_timeout(span);
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> Result<String> {
        fs::read_to_string(self.log.path()).context("reading stderr")
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("sending a signal")
    }

    pub(super) fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        // The hard limit stays as it is: without privileges it cannot be raised again.
        let pid = Pid::from_child(&self.child);
        let old = prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None });
        old.map(drop).context("setting the limit of file sizes")
    }

    pub(super) fn limit_memory(&self, more: Option<u64>) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).context("reading its size")?;
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).context("it has no size")?;
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().context("its size is no number")?;
        let current = more.map(|more| kib * 1024 + more);
        let old =
            prlimit(Some(Pid::from_child(&self.child)), Resource::As, Rlimit { current, maximum: None });
        old.map(drop).context("setting the limit of its address space")
    }

    pub(super) fn wait(&mut self) -> Result<Ended> {
        let mut stdout = String::new();
        while let Some(line) = self.next_line()? {
            stdout.push_str(&line);
            stdout.push('\n');
        }
        let code = self.child.wait()?.code();
        Ok(Ended { code, stdout, log: self.log()? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or ends now; there is nothing to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
