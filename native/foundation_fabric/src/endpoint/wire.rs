//! Reading frames from a link and writing them to it, with few and large system calls.

use crate::channel::outbox::Frame;
use crate::compress;
use crate::error::Error;
use crate::frame::{HEADER, Header, MAX_BATCH, PACKED};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a reader begins with, and what it grows to.
const FIRST: usize = 16 << 10;
const MOST: usize = HEADER + MAX_BATCH;

/// Bytes that came and were not used yet.
pub(crate) struct Incoming<R> {
    read: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(crate) fn new(read: R) -> Self {
        Self {
            read,
            bytes: vec![0; FIRST],
            start: 0,
            end: 0,
        }
    }

    /// What is there.
    pub(crate) fn there(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes the first bytes off.
    pub(crate) fn used(&mut self, length: usize) {
        self.start += length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The header of the next frame, if it is there.
    pub(crate) fn header(&self) -> Result<Option<Header>, Error> {
        self.there().first_chunk().map(Header::decode).transpose()
    }

    /// Reads once, so that `wanted` bytes, at most [`MOST`], fit behind each other. Cancelling it loses nothing.
    pub(crate) async fn more(&mut self, wanted: usize) -> Result<(), Error> {
        if self.end == self.bytes.len() && self.start == 0 {
            // The last read filled all of it: there is more where that came from.
            self.bytes.resize((self.bytes.len() * 4).clamp(wanted, MOST), 0);
        } else if self.start + wanted > self.bytes.len() || self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if wanted > self.bytes.len() {
                self.bytes.resize(wanted.next_power_of_two().min(MOST), 0);
            }
        }
        match self.read.read(&mut self.bytes[self.end..]).await? {
            0 => Err(Error::Closed),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    /// Moves what is there into `out`, at most all of it; how much it was.
    pub(crate) fn take_into(&mut self, out: &mut [u8]) -> usize {
        let length = out.len().min(self.end - self.start);
        out[..length].copy_from_slice(&self.bytes[self.start..self.start + length]);
        self.used(length);
        length
    }

    /// Fills `out` from the link itself; only when nothing is there any more.
    pub(crate) async fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.read.read_exact(out).await?;
        Ok(())
    }
}

/// Pieces that are written as one.
#[derive(Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Bytes>,
    left: usize,
}

impl Outgoing {
    /// Appends a frame, compressed when it has at least `above` bytes and shrinks.
    pub(crate) fn push(&mut self, frame: Frame, above: Option<u32>) {
        let Frame { mut header, parts } = frame;
        if above.is_some_and(|above| header.length >= above)
            && let Some(packed) = pack(&parts)
        {
            header.flags |= PACKED;
            header.length = packed.len() as u32;
            self.piece(Bytes::copy_from_slice(&header.encode()));
            self.piece(Bytes::from(packed));
            return;
        }
        self.piece(Bytes::copy_from_slice(&header.encode()));
        parts.into_iter().for_each(|part| self.piece(part));
    }

    /// Appends bytes as they are.
    pub(crate) fn piece(&mut self, piece: Bytes) {
        self.left += piece.len();
        self.pieces.push_back(piece);
    }
}

fn pack(parts: &[Bytes]) -> Option<Vec<u8>> {
    match parts {
        [one] => compress::pack(one),
        several => compress::pack(&several.concat()),
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter().filter(|piece| !piece.is_empty());
        out.iter_mut()
            .zip(pieces)
            .map(|(slot, piece)| *slot = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        self.left -= count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

/// Whether an error is only that the other side is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
    )
}
