//! The tasks of something that can be stopped.

use parking_lot::Mutex;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Tasks that end with their owner.
pub(crate) struct Tasks {
    runtime: Handle,
    running: Mutex<JoinSet<()>>,
    stopped: AtomicBool,
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            running: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Runs a task, unless everything has been stopped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(None, task);
    }

    /// As [`Tasks::spawn`], on another runtime where one is given.
    pub(crate) fn spawn_on(&self, runtime: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock();
        while running.try_join_next().is_some() {}
        if !self.is_stopped() {
            running.spawn_on(task, runtime.unwrap_or(&self.runtime));
        }
    }

    /// Ends every task; false when that was done before.
    pub(crate) fn stop(&self) -> bool {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return false;
        }
        let mut running = std::mem::take(&mut *self.running.lock());
        running.abort_all();
        // A set that is dropped aborts too; detached, its tasks end on their own threads.
        running.detach_all();
        true
    }
}
