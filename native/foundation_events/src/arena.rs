//! Where the packed records live: chunks that are filled once, and freed or rewritten as their records go.

use hashbrown::HashMap;

/// Bytes of a chunk; a larger record gets a chunk of its own.
const CHUNK: usize = 256 * 1024;

/// Where a record is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: u32,
    offset: u32,
}

struct Chunk {
    bytes: Vec<u8>,
    live: usize,
}

#[derive(Default)]
pub(crate) struct Arena {
    chunks: HashMap<u32, Chunk, ahash::RandomState>,
    current: u32,
    next: u32,
    live: usize,
    held: usize,
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
        let need = record.len() + 4;
        let full = self
            .chunks
            .get(&self.current)
            .is_none_or(|c| c.bytes.capacity() - c.bytes.len() < need);
        if full {
            self.current = self.next;
            self.next = self.next.wrapping_add(1);
            let bytes = Vec::with_capacity(CHUNK.max(need));
            self.held += bytes.capacity();
            self.chunks.insert(self.current, Chunk { bytes, live: 0 });
        }
        let current = self.current;
        let Some(chunk) = self.chunks.get_mut(&current) else {
            return Place::default();
        };
        let offset = chunk.bytes.len() as u32;
        chunk
            .bytes
            .extend_from_slice(&(record.len() as u32).to_le_bytes());
        chunk.bytes.extend_from_slice(record);
        chunk.live += need;
        self.live += need;
        Place {
            chunk: current,
            offset,
        }
    }

    /// Writes a record over one that is exactly as long; false when it is not.
    pub(crate) fn overwrite(&mut self, place: Place, record: &[u8]) -> bool {
        if self.get(place).len() != record.len() {
            return false;
        }
        let start = place.offset as usize + 4;
        let old = self
            .chunks
            .get_mut(&place.chunk)
            .and_then(|chunk| chunk.bytes.get_mut(start..start + record.len()));
        old.map(|old| old.copy_from_slice(record)).is_some()
    }

    pub(crate) fn get(&self, place: Place) -> &[u8] {
        let Some(chunk) = self.chunks.get(&place.chunk) else {
            return &[];
        };
        let at = place.offset as usize;
        let Some(prefix) = chunk.bytes.get(at..at + 4).and_then(|p| p.try_into().ok()) else {
            return &[];
        };
        let len = u32::from_le_bytes(prefix) as usize;
        chunk.bytes.get(at + 4..at + 4 + len).unwrap_or(&[])
    }

    /// Forgets a record. Answers the chunk when so little of it is left that rewriting the rest pays.
    pub(crate) fn free(&mut self, place: Place) -> Option<u32> {
        let need = self.get(place).len() + 4;
        let chunk = self.chunks.get_mut(&place.chunk)?;
        chunk.live = chunk.live.saturating_sub(need);
        self.live = self.live.saturating_sub(need);
        if place.chunk == self.current {
            return None;
        }
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
        let prefix = self.bytes.get(self.at..self.at + 4)?.try_into().ok()?;
        let len = u32::from_le_bytes(prefix) as usize;
        let place = Place {
            chunk: self.chunk,
            offset: self.at as u32,
        };
        let start = self.at + 4;
        self.at = start + len;
        Some((place, self.bytes.get(start..start + len)?))
    }
}
