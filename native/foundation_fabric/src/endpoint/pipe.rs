//! The writing end of a lane's link. Whoever finds it free writes: the lane's task or, where all that waits is a few
//! small messages, the thread that queued the last of them, which saves waking another one.

use super::remote::Lane;
use super::wire::Outgoing;
use crate::channel::outbox::{Frame, Settled};
use bytes::Buf;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::AsyncWrite;

/// Bytes taken from the queue at a time; then other tasks have their turn.
const BUDGET: usize = 256 << 10;
/// Most bytes that are written by the thread that queued them.
const AT_ONCE: usize = 8 << 10;
/// A lane written less than so many microseconds ago is left to its task, which gathers what comes thick and fast.
const PACE: u64 = 40;
/// Pieces that one system call takes.
const PIECES: usize = 64;

/// Where a link's bytes go.
pub(crate) type Write = Box<dyn AsyncWrite + Send + Unpin>;

/// A link's writing end, and what was taken from the queue for it.
pub(crate) struct Pipe {
    write: Write,
    frames: Vec<Frame>,
    outgoing: Outgoing,
    /// Frames from this many bytes on are compressed.
    above: Option<u32>,
    failed: Option<io::Error>,
}

impl Pipe {
    pub(crate) fn new(write: Write, above: Option<u32>) -> Self {
        Self {
            write,
            frames: Vec::new(),
            outgoing: Outgoing::default(),
            above,
            failed: None,
        }
    }

    pub(crate) fn into_write(self) -> Write {
        self.write
    }

    /// Takes frames of about that many bytes; false when there are none.
    fn take(&mut self, lane: &Lane, budget: usize, settle: &mut impl FnMut(Settled)) -> bool {
        let now = lane.now();
        lane.wrote.store(now, Ordering::Relaxed);
        settle(lane.outbox.lock().take(budget, now, &mut self.frames));
        let any = !self.frames.is_empty();
        for frame in self.frames.drain(..) {
            self.outgoing.push(frame, self.above);
        }
        any
    }

    /// Hands over what was taken, and what the link itself still holds.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while self.outgoing.has_remaining() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.outgoing.chunks_vectored(&mut pieces);
            let written = ready!(Pin::new(&mut self.write).poll_write_vectored(context, &pieces[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
        }
        Pin::new(&mut self.write).poll_flush(context)
    }
}

impl Lane {
    /// Writes until nothing is left to write; called by the lane's task only.
    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        mut settle: impl FnMut(Settled),
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe.lock();
        let Some(pipe) = pipe.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        ready!(pipe.poll_out(context))?;
        if !pipe.take(self, BUDGET, &mut settle) {
            return Poll::Ready(Ok(()));
        }
        ready!(pipe.poll_out(context))?;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// After something was queued: writes it, if all that waits is little and the link is idle; else wakes the task.
    pub(crate) fn push_out(&self) {
        if self.asleep.load(Ordering::SeqCst) && !self.write_at_once(self.now()) {
            self.rouse();
        }
    }

    fn write_at_once(&self, now: u64) -> bool {
        let before = self.wrote.swap(now, Ordering::Relaxed);
        if !self.at_once || now.saturating_sub(before) < PACE {
            return false;
        }
        let Some(mut pipe) = self.pipe.try_lock() else {
            return false;
        };
        let Some(pipe) = pipe.as_mut() else {
            return false;
        };
        let most = pipe.above.map_or(AT_ONCE, |above| AT_ONCE.min(above as usize));
        if !self.outbox.lock().is_light(most) {
            return false;
        }
        // Only queues that keep nothing settle anything here, and theirs are not written at once.
        pipe.take(self, 1, &mut drop);
        let done = match pipe.poll_out(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                pipe.failed = Some(error);
                false
            }
            Poll::Pending => false,
        };
        if !done {
            self.stuck.store(true, Ordering::SeqCst);
        }
        done
    }
}
