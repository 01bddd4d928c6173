//! The end of a process: who is still working, and the word that it is time to stop. Every task of the mesh is spawned here,
//! because a task nobody waits for outlives the drain.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Handle to the drain of a process; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Work in flight. The drain waits until it is dropped.
#[derive(Debug)]
pub struct Guard {
    _token: TaskTrackerToken,
}

impl Drain {
    /// Says that it is time to stop. Tasks notice by [`Drain::stopping`].
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when it is time to stop, at once if it already is.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }

    /// Spawns a task the drain waits for. It must end soon after [`Drain::stopping`] resolves. `name` appears in its span.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that spawns: the task is tracked")]
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        use tracing::Instrument as _;
        tokio::spawn(self.tasks.track_future(task).instrument(tracing::debug_span!("task", name)))
    }

    /// Counts work in flight that is not a task of its own.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard { _token: self.tasks.token() }
    }

    /// Waits until nothing is in flight, at most `grace`. Returns whether everything ended.
    pub async fn finished(&self, grace: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_drain_waits_for_tasks_and_guards() {
        let drain = Drain::default();
        let stopping = drain.stopping();
        let guard = drain.guard();
        let task = drain.spawn("waits", async move {
            stopping.await;
            7
        });
        assert!(!drain.finished(Duration::from_millis(20)).await);
        drain.stop();
        assert_eq!(task.await.unwrap(), 7);
        assert!(!drain.finished(Duration::from_millis(20)).await, "the guard is still held");
        drop(guard);
        assert!(drain.finished(Duration::from_secs(5)).await);
    }
}
