//! Small messages in batches, and the frames that batches and chunks become.

use super::outbox::Token;
use crate::chunk::Large;
use crate::frame::{FIRST, Header, Kind, LAST};
use bytes::Bytes;

/// Bytes from which a batch takes no more.
const FULL: usize = 64 << 10;

/// Small messages, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u16,
    pub(super) since: u64,
    pub(super) tokens: Vec<(u16, Token)>,
}

impl Batch {
    pub(super) fn takes(&self, length: usize) -> bool {
        self.count == 0 || (self.bytes.len() + length + 4 <= FULL && self.count < u16::MAX)
    }

    pub(super) fn push(&mut self, message: &[u8], token: Option<Token>, now: u64) {
        if self.count == 0 {
            self.since = now;
        }
        self.tokens.extend(token.map(|token| (self.count, token)));
        self.count += 1;
        self.bytes
            .extend_from_slice(&(message.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(message);
    }
}

/// A frame to be written.
#[derive(Debug)]
pub struct Frame {
    /// Its header, without [`crate::frame::PACKED`].
    pub header: Header,
    /// Its bytes.
    pub parts: Vec<Bytes>,
}

pub(super) fn batch_frame(bytes: Bytes, count: u16, first: u64, flags: u8) -> Frame {
    let header = Header {
        kind: Kind::Batch,
        flags,
        count,
        length: bytes.len() as u32,
        number: first,
    };
    Frame {
        header,
        parts: vec![bytes],
    }
}

pub(super) fn chunk_frame(large: &mut Large, seq: u64) -> Frame {
    let first = if large.sent == 0 { FIRST } else { 0 };
    let last = if large.ends() { LAST } else { 0 };
    let number = match (first, last) {
        (_, LAST) => seq,
        (FIRST, _) => large.total,
        _ => 0,
    };
    let header = Header {
        kind: Kind::Chunk,
        flags: first | last,
        count: large.id,
        length: large.next_length() as u32,
        number,
    };
    Frame {
        header,
        parts: large.cut(),
    }
}
