//! A policy file that is applied whenever it changes: by a rename over it, by writing into it, or by a link
//! that is turned.
//!
//! The file is looked at a few times a second, which works on every file system, and applied once it has been
//! the same for two looks. A file that is missing or refused leaves the policy that is active, and is tried
//! again when it changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::policy_source::{choose, signature_file};
use crate::state::Requested;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_millis(200);

/// The command line's choice of a policy.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) policy: String,
    pub(crate) settings: Vec<String>,
}

/// Distinguishes the states of a component and of the signature beside it without reading them.
pub(crate) type Stamp = [Option<[i128; 5]>; 2];

/// Returns the state now. To be called before anything is read: all that is written after that is then seen
/// to be new.
pub(crate) fn stamp(path: &str) -> Stamp {
    [stamp_of(Path::new(path)), stamp_of(&signature_file(path))]
}

/// Returns the state of one file; `None` if it cannot be looked at.
fn stamp_of(path: &Path) -> Option<[i128; 5]> {
    let metadata = fs::metadata(path).ok()?;
    let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some([
        metadata.dev().into(),
        metadata.ino().into(),
        metadata.len().into(),
        time(metadata.mtime(), metadata.mtime_nsec()),
        time(metadata.ctime(), metadata.ctime_nsec()),
    ])
}

impl Named {
    /// Reads the policy that the command line names, and makes it active. `by` is the author for the record.
    pub(crate) async fn apply(&self, app: &App, by: &str) {
        let requested = self.clone();
        let chosen =
            tokio::task::spawn_blocking(move || choose(&requested.policy, &requested.settings)).await;
        match chosen {
            Ok(Ok(policy)) => {
                let requested = Requested::new(&self.policy, &self.settings, Some(&policy));
                // A refusal is in the log and in the record already. The next start tries the policy again,
                // and reports that.
                if app.swap(policy, by).await.is_ok() {
                    app.journal.note_asked(requested);
                }
            }
            Ok(Err(error)) => {
                let error = format!("{error:#}");
                app.journal.note_refused(by, &self.policy, "read", &error);
                tracing::error!(by, error, "no policy was read; the active one serves on");
            }
            Err(failure) => tracing::error!(by, %failure, "the policy was not read"),
        }
    }

    /// Applies the file whenever it is no longer as it was when it was `applied`. It never ends.
    pub(crate) async fn watch(self, app: Arc<App>, mut applied: Stamp) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = |path: String| async {
            tokio::task::spawn_blocking(move || stamp(&path)).await.unwrap_or_default()
        };
        let mut last = applied;
        loop {
            looks.tick().await;
            let seen = look(self.policy.clone()).await;
            // Still being written, or gone for a moment.
            let is_settled = seen == last;
            last = seen;
            if !is_settled || seen == applied {
                continue;
            }
            applied = seen;
            self.apply(&app, &format!("--watch-policy {}", self.policy)).await;
        }
    }
}
