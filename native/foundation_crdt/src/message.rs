//! Messages between replicas, and the records of the journal: a header and any number of items.
//!
//! The header has a version, a hash of the type and the number of shards, and the ids of the replicas that the items
//! name by their place in that table.

use crate::Error;
use crate::context::{Context, Runs};
use crate::wire::{self, Reader};

const VERSION: u8 = 1;

/// Entries with all of their dots, and the dots that the sender has seen go.
pub(crate) const DELTA: u8 = 1;
/// What the sender has seen of a shard, for the receiver to send what is missing.
pub(crate) const WANT: u8 = 2;
/// Says that what was wanted has been sent, or that there is more.
pub(crate) const GIVEN: u8 = 3;
/// A sum over the live dots of a range.
pub(crate) const CHECK: u8 = 4;
/// The live dots of a range.
pub(crate) const LIVE: u8 = 5;
/// A hash of every shard.
pub(crate) const ROOTS: u8 = 6;
/// An answer to roots that were all equal.
pub(crate) const EQUAL: u8 = 7;

/// A message that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    schema: u64,
    ids: Vec<u64>,
    pub(crate) body: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(schema: u64) -> Self {
        Writer {
            schema,
            ids: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.body.len() + 8 * self.ids.len() + 12
    }

    /// The place of a replica in the table.
    pub(crate) fn place(&mut self, id: u64) -> u64 {
        let known = self.ids.iter().position(|known| *known == id);
        known.unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        }) as u64
    }

    pub(crate) fn item(&mut self, tag: u8, shard: usize) {
        self.body.push(tag);
        wire::put_u64(&mut self.body, shard as u64);
    }

    pub(crate) fn number(&mut self, n: u64) {
        wire::put_u64(&mut self.body, n);
    }

    pub(crate) fn word(&mut self, n: u64) {
        wire::put_word(&mut self.body, n);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        wire::put_bytes(&mut self.body, bytes);
    }

    pub(crate) fn id(&mut self, id: u64) {
        let place = self.place(id);
        self.number(place);
    }

    pub(crate) fn runs(&mut self, runs: &Runs) {
        runs.encode(&mut self.body);
    }

    pub(crate) fn context(&mut self, context: &Context) {
        self.number(context.iter().count() as u64);
        for (id, runs) in context.iter() {
            self.id(id);
            self.runs(runs);
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.push(VERSION);
        wire::put_word(&mut bytes, self.schema);
        wire::put_u64(&mut bytes, self.ids.len() as u64);
        for id in self.ids {
            wire::put_word(&mut bytes, id);
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A message that is being read.
#[derive(Clone)]
pub(crate) struct Message<'a> {
    ids: Vec<u64>,
    pub(crate) items: Reader<'a>,
}

impl<'a> Message<'a> {
    pub(crate) fn open(bytes: &'a [u8], schema: u64) -> Result<Self, Error> {
        let mut items = Reader::new(bytes);
        if items.u8()? != VERSION {
            return Err(Error::Malformed);
        }
        if items.word()? != schema {
            return Err(Error::Mismatch);
        }
        let count = items.count(8)?;
        let ids: Vec<u64> = (0..count).map(|_| items.word()).collect::<Result<_, _>>()?;
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Malformed);
        }
        Ok(Message { ids, items })
    }

    pub(crate) fn number(&mut self) -> Result<u64, Error> {
        self.items.u64()
    }

    pub(crate) fn shard(&mut self, shards: usize) -> Result<usize, Error> {
        let shard = usize::try_from(self.items.u64()?).map_err(|_| Error::Malformed)?;
        if shard < shards {
            Ok(shard)
        } else {
            Err(Error::Malformed)
        }
    }

    pub(crate) fn place(&self, reader: &mut Reader<'_>) -> Result<usize, Error> {
        let place = usize::try_from(reader.u64()?).map_err(|_| Error::Malformed)?;
        if place < self.ids.len() {
            Ok(place)
        } else {
            Err(Error::Malformed)
        }
    }

    pub(crate) fn ids(&self) -> &[u64] {
        &self.ids
    }

    pub(crate) fn id(&mut self) -> Result<u64, Error> {
        let place = usize::try_from(self.items.u64()?).map_err(|_| Error::Malformed)?;
        self.ids.get(place).copied().ok_or(Error::Malformed)
    }

    pub(crate) fn runs(&mut self) -> Result<Runs, Error> {
        Runs::decode(&mut self.items)
    }

    pub(crate) fn context(&mut self) -> Result<Context, Error> {
        let mut context = Context::default();
        for _ in 0..self.items.count(2)? {
            let id = self.id()?;
            let runs = self.runs()?;
            context.insert_runs(id, &runs);
        }
        Ok(context)
    }
}
