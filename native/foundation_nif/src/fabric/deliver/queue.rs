//! Messages that a process hands over: those that come thick and fast, and those that only a scheduler can decode.
//!
//! A thread that is not the VM's pays for each message it sends: memory from an allocator that all such threads share,
//! and often a scheduler woken for a single message. A process pays neither. It is told once that there is something,
//! and then takes a share at a time, in turn with other processes, until nothing is left; as long as it has not said
//! so, everything of the lane goes through its hands, so that the order stays.

use super::arrivals::{Arrivals, Hand};
use super::atoms;
use super::body::{Body, Buffer};
use super::workspace::{Caller, with_env};
use crate::fabric::decode;
use crate::fabric::message::{self, ENGINE};
use crate::handle::{self, get, held};
use foundation_fabric::channel::inbox::{Arrived, Promise, Receiver, Taken, Verdict};
use foundation_fabric::frame::Messages;
use rustler::schedule::consume_timeslice;
use rustler::{Encoder, Env, NifResult, OwnedBinary, Term};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Messages from which a batch is left to a process.
const MANY: u16 = 16;
/// What one call hands over: about so many bytes, of which each message counts for some more than it has.
const SHARE: usize = 24_000;
const EACH: usize = 256;
/// What that is of a process's turn, in percent.
const SLICE: i32 = 3;
/// Longest head of a message: two names and some numbers.
const HEAD: usize = 1_200;

/// What a process is to hand over.
#[derive(Default)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    /// Jobs that are not done, that under way included.
    undone: usize,
    /// Whether the process was told, and has not found the queue empty since.
    told: bool,
}

struct Job {
    what: What,
    arrived: Arrived,
    done: oneshot::Sender<Arrived>,
}

enum What {
    /// So many messages, from there on.
    Batch(Vec<u8>, usize, u16),
    Large(Option<OwnedBinary>),
}

/// Takes the messages of one link.
pub(crate) struct Inlet(pub(super) Arc<Arrivals>);

/// What the process that hands messages over knows them by.
pub(crate) struct Errand(Arc<Arrivals>);

held!(Errand, c"foundation_fabric_errand");

impl std::panic::RefUnwindSafe for Errand {}

impl Arrivals {
    fn is_queueing(&self) -> bool {
        self.queue.lock().undone > 0
    }

    /// Leaves messages to the process; says when it has handed them over.
    fn leave(self: &Arc<Self>, what: What) -> Promise {
        let (done, when) = oneshot::channel();
        let arrived = Arrived::default();
        let mut queue = self.queue.lock();
        queue.jobs.push_back(Job { what, arrived, done });
        queue.undone += 1;
        if !queue.told {
            queue.told = true;
            let told = with_env(|env| {
                let errand = handle::make(env, Errand(Arc::clone(self)));
                let process = self.deliverer()?;
                Caller::Thread
                    .send(env, &process, (atoms::foundation_deliver(), errand).encode(env))
                    .then_some(())
            });
            if told.is_none() {
                // The endpoint is about to stop: nobody is told that these were delivered.
                *queue = Queue::default();
            }
        }
        when
    }

    fn deliverer(&self) -> Option<rustler::LocalPid> {
        let deliverers = &self.shared.deliverers;
        let at = (self.channel >> 6) ^ (self.node >> 6) ^ u64::from(self.lane);
        deliverers.get(at as usize % deliverers.len().max(1)).copied()
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        let job = queue.jobs.pop_front();
        queue.told = job.is_some();
        job
    }
}

impl Job {
    /// Hands over what fits into a share; whether that was all of it.
    fn work(&mut self, arrivals: &Arrivals, hand: &mut Hand<'_>, share: &mut usize) -> bool {
        match &mut self.what {
            What::Large(binary) => {
                if let Some(binary) = binary.take() {
                    let length = binary.len();
                    let verdict = take_large(arrivals, hand, binary);
                    self.arrived.verdict(verdict, length);
                }
                true
            }
            What::Batch(bytes, at, left) => {
                let mut messages = Messages::new(&bytes[*at..], *left);
                // They were looked at before they were left to the process.
                while *share > 0
                    && let Some(Ok(message)) = messages.next()
                {
                    *share = share.saturating_sub(EACH + message.len());
                    let verdict = arrivals.take(hand, message, &Body::Small(message));
                    self.arrived.verdict(verdict, message.len());
                }
                let (rest, count) = messages.left();
                let done = rest.is_empty();
                (*at, *left) = (bytes.len() - rest.len(), count);
                done
            }
        }
    }
}

fn take_large(arrivals: &Arrivals, hand: &mut Hand<'_>, binary: OwnedBinary) -> Verdict {
    // What stands before the term is short; a copy of it lets go of the memory that the term keeps.
    let head = binary.as_slice()[..binary.len().min(HEAD)].to_vec();
    arrivals.take(hand, &head, &Body::Large(Cell::new(Some(binary))))
}

/// Hands over a share of what was left to the calling process: `:done`, `:more`, or a list of
/// `{process, message, bytes}` that it is to decode and send before it asks again.
fn deliver<'a>(env: Env<'a>, [errand]: [Term<'a>; 1]) -> NifResult<Term<'a>> {
    let arrivals = &get::<Errand>(errand)?.0;
    let mut hand = Hand {
        caller: Caller::Process(env),
        orders: Vec::new(),
    };
    let mut share = SHARE;
    consume_timeslice(env, SLICE);
    while share > 0 && hand.orders.is_empty() {
        let Some(mut job) = arrivals.next() else {
            return Ok(atoms::done().to_term(env));
        };
        if job.work(arrivals, &mut hand, &mut share) && hand.orders.is_empty() {
            arrivals.queue.lock().undone -= 1;
            // A link that is gone does not want to know.
            let _ = job.done.send(job.arrived);
        } else {
            arrivals.queue.lock().jobs.push_front(job);
        }
    }
    if hand.orders.is_empty() {
        Ok(atoms::more().to_term(env))
    } else {
        Ok(hand.orders.encode(env))
    }
}

crate::handle::fast_nif!("fabric_deliver", 1, deliver);

impl Receiver for Inlet {
    type Buffer = Buffer;

    fn buffer(&self, length: usize) -> Option<Buffer> {
        Buffer::new(length)
    }

    fn small(&self, bytes: &[u8]) -> Taken {
        let alone = Body::Small(bytes);
        // Frames of engines have no order with messages, and engines no use for a process.
        let engines = bytes.first() == Some(&ENGINE);
        let from = message::head(bytes).map_or(bytes.len(), |(_, from)| from);
        if !engines && (self.0.is_queueing() || alone.needs_scheduler(from)) {
            let mut batch = Vec::with_capacity(4 + bytes.len());
            batch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            batch.extend_from_slice(bytes);
            return Taken::Later(self.0.leave(What::Batch(batch, 0, 1)));
        }
        let mut hand = Hand {
            caller: Caller::Thread,
            orders: Vec::new(),
        };
        Taken::Now(self.0.take(&mut hand, bytes, &alone))
    }

    fn batch(&self, batch: &[u8], count: u16) -> Option<Promise> {
        if count < MANY && !self.0.is_queueing() {
            return None;
        }
        let engines = |message: &[u8]| message.first() == Some(&ENGINE);
        let mut messages = Messages::new(batch, count);
        messages
            .all(|message| message.is_ok_and(|message| !engines(message)))
            .then(|| self.0.leave(What::Batch(batch.to_vec(), 0, count)))
    }

    fn large(&self, buffer: Buffer) -> Taken {
        let binary = buffer.0;
        let from = message::head(binary.as_slice()).map_or(binary.len(), |(_, from)| from);
        if self.0.is_queueing() || decode::needs_scheduler(&binary.as_slice()[from..]) {
            return Taken::Later(self.0.leave(What::Large(Some(binary))));
        }
        let mut hand = Hand {
            caller: Caller::Thread,
            orders: Vec::new(),
        };
        Taken::Now(take_large(&self.0, &mut hand, binary))
    }
}
