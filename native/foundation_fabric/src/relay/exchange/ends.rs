//! The ends of circuits at this node: asked for, read, written and let go.

use super::{Circuit, End, Exchange, GRANT, Item, Trunk, ours};
use crate::relay::frame::{Frame, MAX_DATA, Open, Why};
use bytes::Bytes;
use std::io;
use std::task::{Context, Poll};

impl Exchange {
    /// Asks for a circuit over a trunk. None when the trunk is gone or full.
    pub(crate) fn open(&mut self, trunk: Trunk, open: &Open) -> Option<Circuit> {
        let circuit = self.number();
        let leg = self.ask(trunk, open, End::Ours(circuit))?;
        self.ours.insert(circuit, ours(leg, None));
        self.counts.opened += 1;
        Some(circuit)
    }

    /// Whether a circuit that was asked for stands.
    pub(crate) fn poll_opened(
        &mut self,
        circuit: Circuit,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Option<Why>>> {
        let Some(ours) = self.ours.get_mut(&circuit) else {
            return Poll::Ready(Err(None));
        };
        match ours.opened {
            Some(answer) => Poll::Ready(answer.map_err(Some)),
            None if ours.gone => Poll::Ready(Err(None)),
            None => {
                ours.writer = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Bytes for the reader of an end, at least one unless it is at its end.
    pub(crate) fn poll_read(
        &mut self,
        circuit: Circuit,
        most: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let Some(ours) = self.ours.get_mut(&circuit) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(front) = ours.inbox.front_mut() else {
            if ours.ended {
                return Poll::Ready(Ok(Bytes::new()));
            }
            if ours.gone {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            ours.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let bytes = front.split_to(most.min(front.len()));
        if front.is_empty() {
            ours.inbox.pop_front();
        }
        ours.read += bytes.len() as u64;
        if ours.read >= GRANT {
            let (leg, more) = (ours.leg, std::mem::take(&mut ours.read));
            if let Some(half) = self.half(leg) {
                half.may_come += more;
                self.say(leg, &Frame::Credit(more as u32));
            }
        }
        Poll::Ready(Ok(bytes))
    }

    /// Takes bytes from the writer of an end; how many.
    pub(crate) fn poll_write(
        &mut self,
        circuit: Circuit,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(ours) = self.ours.get_mut(&circuit) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if ours.gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if ours.may_send == 0 {
            ours.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = bytes.len().min(ours.may_send.min(8 * MAX_DATA as u64) as usize);
        ours.may_send -= length as u64;
        let leg = ours.leg;
        for part in bytes[..length].chunks(MAX_DATA) {
            self.put(leg, Item::Data(Bytes::copy_from_slice(part)));
        }
        Poll::Ready(Ok(length))
    }

    /// The writer of an end is done.
    pub(crate) fn end(&mut self, circuit: Circuit) {
        if let Some(leg) = self.ours.get(&circuit).map(|ours| ours.leg)
            && let Some(half) = self.half(leg)
            && !half.out_ended
            && !matches!(half.queue.back(), Some(Item::End))
        {
            self.put(leg, Item::End);
        }
    }

    /// Nobody reads or writes this end any more.
    pub(crate) fn close(&mut self, circuit: Circuit) {
        let Some(ours) = self.ours.remove(&circuit) else {
            return;
        };
        let Some(half) = self.half(ours.leg) else { return };
        let ends = half.out_ended || matches!(half.queue.back(), Some(Item::End));
        if ends && ours.inbox.is_empty() {
            half.end = End::Left;
        } else {
            self.reset(ours.leg);
        }
    }
}
