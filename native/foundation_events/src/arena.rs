//! Where the packed records live: chunks that are filled once, and freed or rewritten as their records go.

use crate::codec::{Reader, put_u64};
use hashbrown::HashMap;

/// Bytes of a chunk; a larger record gets a chunk of its own.
const CHUNK: usize = 256 * 1024;

/// Where a record is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: u32,
    offset: u32,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    live: usize,
}

#[derive(Default)]
pub(crate) struct Arena {
    /// The full ones.
    chunks: HashMap<u32, Chunk, ahash::RandomState>,
    /// The one that records go to, and its number.
    open: Chunk,
    current: u32,
    next: u32,
    live: usize,
    held: usize,
    /// Empty chunks that the next records go to.
    spare: Vec<Vec<u8>>,
}

/// Memory of an empty chunk, every page of it touched: the system gives a page when it is first written to, and takes
/// its time.
pub(crate) fn touched() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHUNK);
    bytes.resize(CHUNK, 1);
    bytes.clear();
    bytes
}

impl Arena {
    /// Bytes of live records, their length prefixes included.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Bytes that the chunks take.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn put(&mut self, record: &[u8]) -> Place {
        let need = prefix_len(record.len()) + record.len();
        if self.open.bytes.capacity() - self.open.bytes.len() < need {
            let next = Chunk {
                bytes: self.fresh(need),
                live: 0,
            };
            let full = std::mem::replace(&mut self.open, next);
            self.shut(full);
            self.current = self.next;
            self.next = self.next.wrapping_add(1);
        }
        let offset = self.open.bytes.len() as u32;
        put_u64(&mut self.open.bytes, record.len() as u64);
        self.open.bytes.extend_from_slice(record);
        self.open.live += need;
        self.live += need;
        Place {
            chunk: self.current,
            offset,
        }
    }

    // What died while the chunk was open was not answered then.
    fn shut(&mut self, full: Chunk) {
        if full.live > 0 {
            self.chunks.insert(self.current, full);
        } else {
            self.held -= full.bytes.capacity();
        }
    }

    fn chunk(&self, number: u32) -> Option<&Chunk> {
        if number == self.current {
            Some(&self.open)
        } else {
            self.chunks.get(&number)
        }
    }

    fn fresh(&mut self, need: usize) -> Vec<u8> {
        if need <= CHUNK
            && let Some(bytes) = self.spare.pop()
        {
            return bytes;
        }
        let bytes = Vec::with_capacity(CHUNK.max(need));
        self.held += bytes.capacity();
        bytes
    }

    /// How many chunks are missing for so many bytes more.
    pub(crate) fn missing(&self, bytes: usize) -> usize {
        let room = self.open.bytes.capacity() - self.open.bytes.len();
        let more = bytes.saturating_sub(room).div_ceil(CHUNK);
        more.saturating_sub(self.spare.len())
    }

    /// Takes an empty chunk for later.
    pub(crate) fn supply(&mut self, chunk: Vec<u8>) {
        self.held += chunk.capacity();
        self.spare.push(chunk);
    }

    /// Writes a record over one that is exactly as long; false when it is not.
    pub(crate) fn overwrite(&mut self, place: Place, record: &[u8]) -> bool {
        if self.get(place).len() != record.len() {
            return false;
        }
        let start = place.offset as usize + prefix_len(record.len());
        let chunk = if place.chunk == self.current {
            Some(&mut self.open)
        } else {
            self.chunks.get_mut(&place.chunk)
        };
        let old = chunk.and_then(|chunk| chunk.bytes.get_mut(start..start + record.len()));
        old.map(|old| old.copy_from_slice(record)).is_some()
    }

    pub(crate) fn get(&self, place: Place) -> &[u8] {
        let Some(chunk) = self.chunk(place.chunk) else {
            return &[];
        };
        let from = chunk.bytes.get(place.offset as usize..).unwrap_or(&[]);
        Reader::new(from).bytes().unwrap_or(&[])
    }

    /// Forgets a record. Answers the chunk when so little of it is left that rewriting the rest pays.
    pub(crate) fn free(&mut self, place: Place) -> Option<u32> {
        let len = self.get(place).len();
        let need = prefix_len(len) + len;
        self.live = self.live.saturating_sub(need);
        if place.chunk == self.current {
            self.open.live = self.open.live.saturating_sub(need);
            return None;
        }
        let chunk = self.chunks.get_mut(&place.chunk)?;
        chunk.live = chunk.live.saturating_sub(need);
        if chunk.live == 0 {
            self.held -= chunk.bytes.capacity();
            self.chunks.remove(&place.chunk);
            return None;
        }
        (chunk.live * 4 < chunk.bytes.len()).then_some(place.chunk)
    }

    /// Takes a sparse chunk out: the caller puts what it still wants of it back in.
    pub(crate) fn take(&mut self, chunk: u32) -> Option<Sparse> {
        let taken = self.chunks.remove(&chunk)?;
        self.held -= taken.bytes.capacity();
        self.live = self.live.saturating_sub(taken.live);
        Some(Sparse {
            bytes: taken.bytes,
            chunk,
            at: 0,
        })
    }
}

/// The records of a chunk that was taken out, live and dead, in order.
pub(crate) struct Sparse {
    bytes: Vec<u8>,
    chunk: u32,
    at: usize,
}

impl Sparse {
    pub(crate) fn next(&mut self) -> Option<(Place, &[u8])> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let record = Reader::new(rest).bytes().ok()?;
        let place = Place {
            chunk: self.chunk,
            offset: self.at as u32,
        };
        self.at += prefix_len(record.len()) + record.len();
        Some((place, record))
    }
}

/// Bytes of the length before a record.
pub(crate) fn prefix_len(len: usize) -> usize {
    (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize
}
