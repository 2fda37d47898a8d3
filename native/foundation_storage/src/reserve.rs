//! Space for the records to come: zeroes behind those that are there, brought to the disk by a thread of their own.
//!
//! A sync of records that take the place of zeroes stores the records and nothing else. One that makes the file longer
//! also has the file system note where the new blocks are, and waits for that too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::Disk;

/// Zeroes that are written and synced at a time.
const PIECE: u64 = 1 << 20;

/// How far the file of the active segment is written. What lies before that is the writer's, what lies behind it the
/// thread's as long as there is one.
pub(crate) struct Reserve {
    state: Mutex<State>,
    /// The thread is done, or a piece further.
    moved: Condvar,
}

struct State {
    /// Records or zeroes reach to here.
    end: u64,
    /// Zeroes are to reach to here.
    to: u64,
    /// A thread sees to that.
    working: bool,
    /// There was no room, or worse: the segment goes on without.
    failed: bool,
}

impl Reserve {
    /// Of a file that is written to `end`.
    pub(crate) fn new(end: u64) -> Arc<Reserve> {
        Arc::new(Reserve {
            state: Mutex::new(State {
                end,
                to: end,
                working: false,
                failed: false,
            }),
            moved: Condvar::new(),
        })
    }

    /// Where records or zeroes reach to.
    pub(crate) fn end(&self) -> u64 {
        self.state.lock().end
    }

    /// Gives the writer, who is about to write there, the file up to `end`. Waits for the thread when that is about to
    /// write there too.
    pub(crate) fn claim(&self, end: u64) {
        let mut state = self.state.lock();
        while state.working && state.end < end {
            self.moved.wait(&mut state);
        }
        state.end = state.end.max(end);
    }

    /// Waits until there is no thread; answers where records or zeroes reach to.
    pub(crate) fn settle(&self) -> u64 {
        self.rest(self.state.lock()).end
    }

    /// The file was cut to `end`.
    pub(crate) fn cut(&self, end: u64) {
        self.rest(self.state.lock()).end = end;
    }

    fn rest<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.working {
            state.to = state.end;
            self.moved.wait(&mut state);
        }
        state
    }

    /// Has zeroes written to the file from its end to `to`.
    pub(crate) fn extend(self: &Arc<Self>, disk: &Arc<dyn Disk>, path: &Path, to: u64) {
        let mut state = self.state.lock();
        if state.failed || to <= state.end {
            return;
        }
        state.to = to;
        if !state.working {
            let (disk, path, reserve) = (disk.clone(), path.to_path_buf(), self.clone());
            let thread = std::thread::Builder::new().name("foundation-ahead".into());
            let started = thread.spawn(move || Work { reserve, disk, path }.run());
            state.working = started.is_ok();
        }
    }

    /// From where to where the thread writes next. When there is nothing more to do, it is none any more.
    fn next(&self) -> Option<(u64, u64)> {
        let mut state = self.state.lock();
        if state.end < state.to {
            return Some((state.end, state.to.min(state.end + PIECE)));
        }
        state.working = false;
        self.moved.notify_all();
        None
    }
}

/// What the thread does.
struct Work {
    reserve: Arc<Reserve>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Drop for Work {
    /// After a panic, nobody must wait for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail();
        }
    }
}

impl Work {
    fn run(self) {
        // A file of its own: through the writer's, a sync here would hear of a failure that the writer has to hear of.
        let Ok(file) = self.disk.open(&self.path) else {
            return self.fail();
        };
        while let Some((from, end)) = self.reserve.next() {
            let zeroes = vec![0; (end - from) as usize];
            if file.write_at(&zeroes, from).and_then(|()| file.sync()).is_err() {
                // The room is the records' and that of others; when the cut fails too, what stays is zeroes.
                let _ = file.set_len(from);
                return self.fail();
            }
            self.reserve.state.lock().end = end;
            self.reserve.moved.notify_all();
        }
    }

    fn fail(&self) {
        let mut state = self.reserve.state.lock();
        (state.failed, state.working) = (true, false);
        self.reserve.moved.notify_all();
    }
}
