//! Reading a file of the operator's again: when it has changed, and when somebody asks for it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info};

use crate::telemetry::clean;

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);
/// For the file to be read; it may be on a file system that hangs.
const READ: Duration = Duration::from_secs(10);

/// What a file is read into.
pub trait Watched: Send + Sync + 'static {
    /// What is in it, for the log.
    const WHAT: &str;

    fn path(&self) -> &Path;

    /// Takes what the file has now, and says how many.
    ///
    /// # Errors
    /// A sentence that names the file; everything stays as it was.
    fn reload(&self) -> Result<usize, String>;
}

/// What tells one state of a file from another; that of the file a link leads to, so that it shows
/// when a mounted secret is exchanged. `None` where there is none.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;

fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    Some((file.dev(), file.ino(), file.len(), times))
}

/// Keeps what was read as the file is, for ever; whoever changes `asked` has it read at once. A bad
/// file is told once, and changes nothing.
pub async fn watch<W: Watched>(watched: Arc<W>, mut asked: Receiver<()>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // It may have changed between the start and now.
    let mut seen: Stamp = None;
    loop {
        let asked = tokio::select! {
            _ = look.tick() => false,
            Ok(()) = asked.changed() => true,
        };
        let path = watched.path().to_owned();
        let Some(now) = soon(move || stamp(&path)).await else { continue };
        if now == seen && !asked {
            continue;
        }
        let again = Arc::clone(&watched);
        match soon(move || again.reload()).await {
            Some(Ok(count)) => info!(count, "{} read", W::WHAT),
            Some(Err(error)) => {
                error!(error = clean(&error), "the {} stay as they were", W::WHAT);
            }
            // The stamp is not taken as seen, so this is tried again.
            None => {
                error!("the {} stay as they were: reading their file takes too long", W::WHAT);
                continue;
            }
        }
        seen = now;
    }
}

/// Work with files, within its time.
async fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(READ, spawn_blocking(work)).await.ok()?.ok()
}
