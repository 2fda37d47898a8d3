//! The frames of a link.
//!
//! Every frame begins with a header of sixteen bytes; numbers are little-endian:
//!
//! ```text
//! kind u8 │ flags u8 │ count u16 │ length u32 │ number u64 │ then `length` bytes
//! batch   number: sequence number of its first message; count messages, each `length u32 │ bytes`
//! chunk   number: total length of the message on the first chunk, sequence number on the last one, in full on a
//!         message of one chunk (`total u64` stands before the bytes then); count: which of the messages under way
//! ack     number: last sequence number delivered; bytes: granted bytes u64, granted messages u64, all time
//! resume  number: last sequence number delivered; bytes: as ack, then the largest message taken u64
//! refuse  count: which of the messages under way is too large
//! bye     nothing more follows
//! ```
//! A batch or chunk with [`PACKED`] carries `raw length u32 │ zstd` instead of its bytes.

use crate::error::Error;

/// Bytes of a header.
pub const HEADER: usize = 16;
/// Most bytes behind the header of a batch, packed or not.
pub const MAX_BATCH: usize = 256 << 10;
/// Most bytes of a message that are sent in one chunk.
pub const MAX_CHUNK: usize = 96 << 10;
/// Bytes of a chunk that is not the last.
pub const CHUNK: usize = 64 << 10;

/// The bytes are compressed.
pub const PACKED: u8 = 1;
/// The sender waits for the acknowledgement.
pub const URGENT: u8 = 2;
/// The first chunk of a message.
pub const FIRST: u8 = 4;
/// The last chunk of a message.
pub const LAST: u8 = 8;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Small messages, one after the other.
    Batch,
    /// A part of a large message.
    Chunk,
    /// What was delivered, and how much more may come.
    Ack,
    /// The first word of the receiver on a new link.
    Resume,
    /// A message is too large for the receiver.
    Refuse,
    /// The link closes.
    Bye,
}

/// The sixteen bytes before every frame's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// [`PACKED`], [`URGENT`], [`FIRST`], [`LAST`].
    pub flags: u8,
    /// Messages in a batch; which message a chunk belongs to.
    pub count: u16,
    /// Bytes that follow.
    pub length: u32,
    /// A sequence number or a length, by kind.
    pub number: u64,
}

impl Header {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0] = match self.kind {
            Kind::Batch => 1,
            Kind::Chunk => 2,
            Kind::Ack => 3,
            Kind::Resume => 4,
            Kind::Refuse => 5,
            Kind::Bye => 6,
        };
        out[1] = self.flags;
        out[2..4].copy_from_slice(&self.count.to_le_bytes());
        out[4..8].copy_from_slice(&self.length.to_le_bytes());
        out[8..].copy_from_slice(&self.number.to_le_bytes());
        out
    }

    /// Reads a header and checks it against the bounds of its kind.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, Error> {
        let (kind, bounds) = match bytes[0] {
            1 => (Kind::Batch, 4..=MAX_BATCH),
            2 => (Kind::Chunk, 0..=MAX_CHUNK + 16),
            3 => (Kind::Ack, 16..=16),
            4 => (Kind::Resume, 24..=24),
            5 => (Kind::Refuse, 0..=0),
            6 => (Kind::Bye, 0..=0),
            _ => return Err(Error::Malformed),
        };
        let header = Self {
            kind,
            flags: bytes[1],
            count: u16::from_le_bytes([bytes[2], bytes[3]]),
            length: u32_at(bytes, 4),
            number: u64_at(bytes, 8),
        };
        if !bounds.contains(&(header.length as usize)) || header.flags > 15 {
            return Err(Error::Malformed);
        }
        Ok(header)
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The number at `at`, whose four bytes the caller knows to be there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The number at `at`, whose eight bytes the caller knows to be there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// The messages of a batch, checked as they come.
pub struct Messages<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Messages<'a> {
    /// Reads `count` messages from `bytes`.
    pub fn new(bytes: &'a [u8], count: u16) -> Self {
        Self {
            rest: bytes,
            left: count,
        }
    }

    /// The bytes that were not read yet, and how many messages they are.
    pub fn left(&self) -> (&'a [u8], u16) {
        (self.rest, self.left)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return (!self.rest.is_empty()).then(|| {
                self.rest = &[];
                Err(Error::Malformed)
            });
        }
        self.left -= 1;
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
            (self.left, self.rest) = (0, &[]);
            return Some(Err(Error::Malformed));
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else {
            (self.left, self.rest) = (0, &[]);
            return Some(Err(Error::Malformed));
        };
        self.rest = rest;
        Some(Ok(message))
    }
}

/// What a receiver says of one lane: the last message it delivered, and how much it takes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Last sequence number delivered.
    pub delivered: u64,
    /// Bytes the sender may have sent since the link was opened.
    pub bytes: u64,
    /// Messages the sender may have sent since the link was opened.
    pub messages: u64,
}

impl Grant {
    /// The frame that says it.
    pub fn ack(&self) -> [u8; HEADER + 16] {
        let mut out = [0; HEADER + 16];
        self.write(Kind::Ack, 16, &mut out);
        out
    }

    /// The receiver's first frame on a link.
    pub fn resume(&self, max_message: u64) -> [u8; HEADER + 24] {
        let mut out = [0; HEADER + 24];
        self.write(Kind::Resume, 24, &mut out);
        out[HEADER + 16..].copy_from_slice(&max_message.to_le_bytes());
        out
    }

    fn write(&self, kind: Kind, length: u32, out: &mut [u8]) {
        let header = Header {
            kind,
            flags: 0,
            count: 0,
            length,
            number: self.delivered,
        };
        out[..HEADER].copy_from_slice(&header.encode());
        out[HEADER..HEADER + 8].copy_from_slice(&self.bytes.to_le_bytes());
        out[HEADER + 8..HEADER + 16].copy_from_slice(&self.messages.to_le_bytes());
    }

    /// Reads the bytes behind the header of an ack or resume, whose length was checked with the header.
    pub fn read(header: &Header, body: &[u8]) -> Self {
        Self {
            delivered: header.number,
            bytes: u64_at(body, 0),
            messages: u64_at(body, 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: [u8; HEADER]) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn any_batch_is_read_or_refused(bytes: Vec<u8>, count: u16) {
            let mut messages = 0;
            let mut broken = false;
            for message in Messages::new(&bytes, count) {
                prop_assert!(!broken, "nothing follows what is malformed");
                match message {
                    Ok(_) => messages += 1,
                    Err(_) => broken = true,
                }
            }
            prop_assert!(broken || messages == count);
        }

        #[test]
        fn batches_come_back(messages: Vec<Vec<u8>>) {
            let mut bytes = Vec::new();
            for message in &messages {
                bytes.extend_from_slice(&(message.len() as u32).to_le_bytes());
                bytes.extend_from_slice(message);
            }
            let read: Vec<_> = Messages::new(&bytes, messages.len() as u16).map(Result::unwrap).collect();
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn grants_come_back(delivered: u64, bytes: u64, messages: u64) {
            let grant = Grant { delivered, bytes, messages };
            let frame = grant.ack();
            let header = Header::decode(frame.first_chunk().unwrap()).unwrap();
            prop_assert_eq!(Grant::read(&header, &frame[HEADER..]), grant);
        }
    }
}
