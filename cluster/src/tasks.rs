//! Tasks that somebody waits for: each has a name, a panic in one ends the process, and none outlives its plane.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// The tasks of one plane.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    broken: CancellationToken,
}

impl Tasks {
    /// Starts a task. It should end soon after [`stopping`](Self::stopping) does.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let broken = self.broken.clone();
        self.tracker.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                error!(task = name, "a task panicked: the process must end");
                broken.cancel();
            }
        });
    }

    /// A token that is cancelled when tasks shall end.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until a task has panicked. It need not ever come.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Marks the plane as broken, for threads that are not tasks.
    pub fn mark_broken(&self) {
        self.broken.cancel();
    }

    /// Tells all tasks to end and waits for them.
    ///
    /// Returns whether all have ended within `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_noticed() {
        let tasks = Tasks::default();
        tasks.spawn("panics", async { panic!("on purpose") });
        tasks.broken().await;
    }

    #[tokio::test]
    async fn stopping_waits_for_all_tasks() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping();
        tasks.spawn("waits", async move { stopping.cancelled().await });
        assert!(tasks.stop(Duration::from_secs(5)).await);
    }
}
