//! What arrives on one link: batches and chunks are checked, put together and handed on, each message once.

use super::Settings;
use crate::compress;
use crate::error::Error;
use crate::frame::{FIRST, Grant, Header, LAST, MAX_BATCH, MAX_CHUNK, Messages, PACKED, URGENT};
use parking_lot::Mutex;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Large messages a sender may have under way on one link.
const MAX_UNDER_WAY: usize = 2 * crate::chunk::ABREAST;
/// Batches that a receiver may have taken and not delivered, before no more is given to it.
const MAX_LATER: usize = 8;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was handed over.
    Delivered,
    /// It was meant for someone who is not there.
    Nobody,
    /// It is no message.
    Malformed,
}

/// Comes when what was taken is delivered: what became of it. Dropped by who will not deliver it.
pub type Promise = oneshot::Receiver<Arrived>;

/// What a receiver did with a message.
#[derive(Debug)]
pub enum Taken {
    /// It delivered it, or did not.
    Now(Verdict),
    /// It delivers it later, after everything that it was given before and before everything after it.
    Later(Promise),
}

/// Takes the messages of one link. Never blocks.
pub trait Receiver: Send + Sync + 'static {
    /// Memory that a large message is put together in.
    type Buffer: AsMut<[u8]> + Send;

    /// Memory of that many bytes, or none.
    fn buffer(&self, length: usize) -> Option<Self::Buffer>;
    /// A batch of so many small messages, whose form was checked, to be delivered after everything that was given
    /// before and before everything that is given from now on. `None`: they are given one by one instead.
    fn batch(&self, _batch: &[u8], _count: u16) -> Option<Promise> {
        None
    }
    /// A small message.
    fn small(&self, bytes: &[u8]) -> Taken;
    /// A large message.
    fn large(&self, buffer: Self::Buffer) -> Taken;
}

/// How far one life of a sender got on one lane; it outlives the links.
#[derive(Debug, Default)]
pub struct Session {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    link: u64,
}

impl Session {
    /// Begins a link, which ends the one before; its number, and the last message delivered.
    pub fn begin(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        state.link += 1;
        (state.link, state.last)
    }

    /// Whether that link is the present one.
    pub fn is_present(&self, link: u64) -> bool {
        self.state.lock().link == link
    }
}

/// What was counted of what arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Messages handed over.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that had been delivered before.
    pub duplicates: u64,
    /// Messages for someone who is not there.
    pub nobody: u64,
    /// Messages that are none.
    pub malformed: u64,
}

impl Arrived {
    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.duplicates += other.duplicates;
        self.nobody += other.nobody;
        self.malformed += other.malformed;
    }

    /// Counts a message of so many bytes.
    pub fn verdict(&mut self, verdict: Verdict, bytes: usize) {
        match verdict {
            Verdict::Delivered => {
                self.messages += 1;
                self.bytes += bytes as u64;
            }
            Verdict::Nobody => self.nobody += 1,
            Verdict::Malformed => self.malformed += 1,
        }
    }
}

struct Assembly<B> {
    buffer: B,
    filled: usize,
}

/// What is delivered with a batch that the receiver took to deliver later.
struct Later {
    done: Promise,
    last: u64,
    urgent: bool,
}

/// Where the bytes of a chunk go.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// They are read into [`Inbox::place`].
    Place,
    /// They are thrown away, and the sender is told that its message is too large.
    Refuse,
    /// They are thrown away.
    Skip,
}

/// The receiving end of a link.
pub struct Inbox<R: Receiver> {
    receiver: R,
    link: u64,
    window: Grant,
    max_message: u64,
    assemblies: HashMap<u16, Assembly<R::Buffer>>,
    refused: Vec<u16>,
    scratch: Vec<u8>,
    taken: Grant,
    told: Grant,
    urgent: bool,
    later: VecDeque<Later>,
    /// What was counted on this link.
    pub arrived: Arrived,
}

impl<R: Receiver> Inbox<R> {
    /// The inbox of a link that began with [`Session::begin`].
    pub fn new(receiver: R, settings: &Settings, (link, last): (u64, u64)) -> Self {
        let taken = Grant {
            delivered: last,
            ..Grant::default()
        };
        let window = Grant {
            delivered: 0,
            bytes: settings.window_bytes,
            messages: settings.window_messages.into(),
        };
        let mut inbox = Self {
            receiver,
            link,
            window,
            max_message: settings.max_message,
            assemblies: HashMap::new(),
            refused: Vec::new(),
            scratch: Vec::new(),
            taken,
            told: taken,
            urgent: false,
            later: VecDeque::new(),
            arrived: Arrived::default(),
        };
        inbox.grant(false);
        inbox
    }

    /// A batch.
    pub fn batch(&mut self, session: &Session, header: &Header, body: &[u8]) -> Result<(), Error> {
        if !header.has(PACKED) {
            self.charge(header, body.len(), u64::from(header.count))?;
            return self.messages(session, header, body);
        }
        let raw = compress::raw_length(body, MAX_BATCH)?;
        self.charge(header, raw, u64::from(header.count))?;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.resize(raw, 0);
        compress::unpack(body, &mut scratch)?;
        let outcome = self.messages(session, header, &scratch);
        self.scratch = scratch;
        outcome
    }

    fn messages(&mut self, session: &Session, header: &Header, body: &[u8]) -> Result<(), Error> {
        let mut state = session.state.lock();
        if state.link != self.link {
            return Err(Error::Closed);
        }
        let mut messages = Messages::new(body, header.count);
        let mut seq = header.number;
        while seq <= state.last
            && let Some(known) = messages.next()
        {
            known?;
            self.arrived.duplicates += 1;
            seq = seq.saturating_add(1);
        }
        let (rest, count) = messages.left();
        let sound = Messages::new(rest, count).all(|message| message.is_ok());
        if sound
            && count > 0
            && let Some(done) = self.receiver.batch(rest, count)
        {
            state.last = (seq - 1).saturating_add(count.into());
            self.owe(done);
        } else {
            for (seq, message) in (seq..).zip(messages) {
                let message = message?;
                state.last = seq;
                let taken = self.receiver.small(message);
                self.count(taken, message.len());
            }
        }
        self.reached(state.last);
        Ok(())
    }

    fn count(&mut self, taken: Taken, bytes: usize) {
        match taken {
            Taken::Now(verdict) => self.arrived.verdict(verdict, bytes),
            Taken::Later(done) => self.owe(done),
        }
    }

    fn owe(&mut self, done: Promise) {
        let last = self.taken.delivered;
        self.later.push_back(Later {
            done,
            last,
            urgent: false,
        });
    }

    /// Everything up to there is delivered, once that is which the receiver took to deliver later.
    fn reached(&mut self, last: u64) {
        match self.later.back_mut() {
            Some(later) => {
                later.last = last;
                later.urgent |= std::mem::take(&mut self.urgent);
            }
            None => self.taken.delivered = last,
        }
    }

    /// Whether the receiver has so much to deliver that it is given no more.
    pub fn is_behind(&self) -> bool {
        self.later.len() >= MAX_LATER
    }

    /// Whether the receiver has something to deliver.
    pub fn owes_delivery(&self) -> bool {
        !self.later.is_empty()
    }

    /// Counts what the receiver has delivered of what it took to deliver later. An error when it never will.
    pub fn catch_up(&mut self) -> Result<(), Error> {
        while let Some(first) = self.later.front_mut() {
            match first.done.try_recv() {
                Ok(arrived) => self.caught_up(&arrived),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Closed) => return Err(Error::Closed),
            }
        }
        Ok(())
    }

    /// Waits until the receiver has delivered the first batch of those that it took to deliver later; for ever when
    /// there are none. Cancelling it loses nothing.
    pub async fn delivered(&mut self) -> Result<(), Error> {
        let Some(first) = self.later.front_mut() else {
            return std::future::pending().await;
        };
        let arrived = (&mut first.done).await.map_err(|_| Error::Closed)?;
        self.caught_up(&arrived);
        Ok(())
    }

    fn caught_up(&mut self, arrived: &Arrived) {
        self.arrived.add(arrived);
        if let Some(first) = self.later.pop_front() {
            self.taken.delivered = self.taken.delivered.max(first.last);
            self.urgent |= first.urgent;
        }
    }

    /// Counts against what was granted. A sender goes on while anything is left, so that it may be over by a frame.
    fn charge(&mut self, header: &Header, raw: usize, messages: u64) -> Result<(), Error> {
        if self.taken.bytes >= self.told.bytes || self.taken.messages >= self.told.messages {
            return Err(Error::Malformed);
        }
        self.taken.bytes += raw as u64;
        self.taken.messages += messages;
        self.urgent |= header.has(URGENT);
        Ok(())
    }

    /// A chunk of `raw` bytes, unpacked, is about to come.
    pub fn chunk(&mut self, session: &Session, header: &Header, raw: usize) -> Result<Next, Error> {
        self.charge(header, raw, u64::from(header.has(LAST)))?;
        if raw > MAX_CHUNK {
            return Err(Error::Malformed);
        }
        if header.has(FIRST) {
            let total = if header.has(LAST) {
                raw as u64
            } else {
                header.number
            };
            return self.begin(session, header, total);
        }
        if let Some(at) = self.refused.iter().position(|id| *id == header.count) {
            if header.has(LAST) {
                self.refused.swap_remove(at);
                self.pass_over(session, header.number);
            }
            return Ok(Next::Skip);
        }
        let assembly = self.assemblies.get_mut(&header.count).ok_or(Error::Malformed)?;
        if assembly.filled + raw <= assembly.buffer.as_mut().len() {
            Ok(Next::Place)
        } else {
            Err(Error::Malformed)
        }
    }

    fn begin(&mut self, session: &Session, header: &Header, total: u64) -> Result<Next, Error> {
        let id = header.count;
        if self.assemblies.len() + self.refused.len() >= MAX_UNDER_WAY || self.assemblies.contains_key(&id) {
            return Err(Error::Malformed);
        }
        let length = usize::try_from(total).ok().filter(|_| total <= self.max_message);
        match length.and_then(|length| self.receiver.buffer(length)) {
            Some(buffer) => {
                self.assemblies.insert(id, Assembly { buffer, filled: 0 });
                Ok(Next::Place)
            }
            None if header.has(LAST) => {
                self.pass_over(session, header.number);
                Ok(Next::Refuse)
            }
            None => {
                self.refused.push(id);
                Ok(Next::Refuse)
            }
        }
    }

    /// Counts a message that was not taken as seen.
    fn pass_over(&mut self, session: &Session, seq: u64) {
        let mut state = session.state.lock();
        state.last = state.last.max(seq);
        self.reached(state.last);
    }

    /// Where the bytes of an unpacked chunk belong. Call [`Inbox::placed`] when they are there.
    pub fn place(&mut self, header: &Header) -> &mut [u8] {
        match self.assemblies.get_mut(&header.count) {
            Some(assembly) => {
                let to = assembly.filled + header.length as usize;
                &mut assembly.buffer.as_mut()[assembly.filled..to]
            }
            None => &mut [],
        }
    }

    /// A packed chunk.
    pub fn packed(&mut self, session: &Session, header: &Header, body: &[u8]) -> Result<(), Error> {
        let raw = compress::raw_length(body, MAX_CHUNK)?;
        let Some(assembly) = self.assemblies.get_mut(&header.count) else {
            return Err(Error::Malformed);
        };
        let to = assembly.filled + raw;
        let place = assembly.buffer.as_mut().get_mut(assembly.filled..to);
        compress::unpack(body, place.ok_or(Error::Malformed)?)?;
        self.placed(session, header, raw)
    }

    /// The bytes of an unpacked chunk are in their place.
    pub fn placed(&mut self, session: &Session, header: &Header, length: usize) -> Result<(), Error> {
        let Entry::Occupied(mut there) = self.assemblies.entry(header.count) else {
            return Err(Error::Malformed);
        };
        there.get_mut().filled += length;
        if !header.has(LAST) {
            return Ok(());
        }
        let mut assembly = there.remove();
        let length = assembly.buffer.as_mut().len();
        if assembly.filled != length {
            return Err(Error::Malformed);
        }
        let mut state = session.state.lock();
        if state.link != self.link {
            return Err(Error::Closed);
        }
        if header.number > state.last {
            state.last = header.number;
            let taken = self.receiver.large(assembly.buffer);
            self.count(taken, length);
        } else {
            self.arrived.duplicates += 1;
        }
        self.reached(state.last);
        Ok(())
    }

    /// What to tell the sender now, if anything: at once when it waits or soon could not go on, else when `due`.
    pub fn ack(&mut self, paused: bool, due: bool) -> Option<Grant> {
        let before = self.told;
        let low = |told: u64, taken: u64, window: u64| told.saturating_sub(taken) < window / 4 * 3;
        let wanted = low(before.bytes, self.taken.bytes, self.window.bytes)
            || low(before.messages, self.taken.messages, self.window.messages);
        if !(self.urgent || due || (wanted && !paused)) {
            return None;
        }
        self.grant(paused);
        self.urgent = false;
        (self.told != before).then_some(self.told)
    }

    /// Whether the sender does not know yet what was delivered.
    pub fn owes_ack(&self) -> bool {
        self.taken.delivered != self.told.delivered
    }

    fn grant(&mut self, paused: bool) {
        self.told.delivered = self.taken.delivered;
        if !paused {
            // What was granted is never taken back.
            self.told.bytes = self.told.bytes.max(self.taken.bytes + self.window.bytes);
            self.told.messages = self.told.messages.max(self.taken.messages + self.window.messages);
        }
    }

    /// What the receiver says first.
    pub fn resume(&self) -> Grant {
        self.told
    }
}
