//! What one node sends on one lane of a channel: each message is made a term, and sent to whom it is for.

use super::body::Body;
use super::queue::Queue;
use super::workspace::{Caller, with_env};
use super::{Shared, atoms};
use crate::fabric::message::{self, Head, Target};
use crate::fabric::names::Meaning;
use crate::key;
use foundation_fabric::channel::inbox::Verdict;
use parking_lot::Mutex;
use rustler::types::tuple::{get_tuple, make_tuple};
use rustler::{Encoder, Env, LocalPid, Term};
use std::collections::HashMap;
use std::sync::Arc;

/// The process that takes frames of engines while none has been named to take them.
const RECEIVER: &[u8] = b"Elixir.Foundation.Distributed.Consensus.Receiver";
/// Names remembered.
const MOST_NAMES: usize = 256;

/// What one node sends on one lane. It outlives the links of the lane.
pub(crate) struct Arrivals {
    pub(super) shared: Arc<Shared>,
    pub(super) node: u64,
    pub(super) channel: u64,
    pub(super) lane: u16,
    peer: Box<str>,
    /// The atoms of names that messages came for: most messages of a lane go to few names.
    names: Mutex<HashMap<Box<[u8]>, u64, ahash::RandomState>>,
    pub(super) queue: Mutex<Queue>,
}

/// Who hands a message over, and what only a process can do of that.
pub(super) struct Hand<'c> {
    pub(super) caller: Caller<'c>,
    /// `{process, message, bytes}`, of the caller's environment: the decoded bytes go where an atom stands in the
    /// message.
    pub(super) orders: Vec<Term<'c>>,
}

/// What a process gets, around the term.
#[derive(Clone, Copy)]
enum Wrap<'b> {
    Bare,
    Channel(bool),
    Call(u64, u32, Target<'b>),
    Answer(bool),
}

impl Arrivals {
    pub(super) fn new(shared: Arc<Shared>, peer: &str, (node, channel, lane): (u64, u64, u16)) -> Self {
        Self {
            shared,
            node,
            channel,
            lane,
            peer: peer.into(),
            names: Mutex::default(),
            queue: Mutex::default(),
        }
    }

    fn word<'a>(&self, env: Env<'a>, word: u64) -> Option<Term<'a>> {
        key::atom_from_word(env, word).ok()
    }

    fn process(&self, caller: Caller<'_>, env: Env<'_>, target: Target<'_>) -> Option<LocalPid> {
        let name = match target {
            // A pid of another node, or of an earlier life of this one, is none of ours.
            Target::Pid(_) => return target.term(env)?.decode().ok(),
            Target::Name(name) => name,
        };
        let mut names = self.names.lock();
        let word = match names.get(name) {
            Some(word) => *word,
            None => {
                let word = match self.shared.names.find(name) {
                    Meaning::Itself => key::atom_word(target.term(env)?).ok()?,
                    Meaning::Other(word) => word,
                    Meaning::Nobody => return None,
                };
                if names.len() >= MOST_NAMES {
                    names.clear();
                }
                names.insert(name.into(), word);
                word
            }
        };
        drop(names);
        caller.whereis(self.word(env, word)?)
    }

    /// Hands a message over, of which `head` is the beginning at least. What only a process of the VM can decode must
    /// not come here on another thread.
    pub(super) fn take(&self, hand: &mut Hand<'_>, head: &[u8], body: &Body<'_>) -> Verdict {
        let Some((head, from)) = message::head(head) else {
            return Verdict::Malformed;
        };
        let caller = hand.caller;
        match head {
            Head::Engine { to, from: member } => self.frame(caller, (to, member), body, from),
            Head::Subscribers => self.publish(hand, body, from),
            Head::To(target) => with_env(|env| match self.process(caller, env, target) {
                Some(pid) => self.hand(hand, env, &pid, (Wrap::Bare, None), body, from),
                None => Verdict::Nobody,
            }),
            Head::Call {
                number,
                timeout,
                target,
            } => with_env(|env| match self.callee(number) {
                Some(pid) => {
                    let wrap = (Wrap::Call(number, timeout, target), None);
                    self.hand(hand, env, &pid, wrap, body, from)
                }
                None => Verdict::Nobody,
            }),
            Head::Reply { number, failed } => with_env(|env| match self.shared.pending.take(env, number) {
                Some((pid, reference)) => {
                    let wrap = (Wrap::Answer(failed), Some(reference));
                    self.hand(hand, env, &pid, wrap, body, from)
                }
                None => Verdict::Nobody,
            }),
            Head::Cancel { number } => with_env(|env| {
                let (Some(pid), Some(node)) = (self.callee(number), self.word(env, self.node)) else {
                    return Verdict::Nobody;
                };
                let cancel = (atoms::foundation_cancel(), node, number).encode(env);
                verdict(caller.send(env, &pid, cancel))
            }),
        }
    }

    /// A frame of the engine of another node, to the engine here without a process between. Only threads that are not
    /// the VM's bring any.
    fn frame(&self, caller: Caller<'_>, (to, from): (&str, &str), body: &Body<'_>, start: usize) -> Verdict {
        let engine = self.shared.engine.read().clone();
        let taken = match engine {
            Some(engine) => body.with(start, |frame| engine.take(to, from, &self.peer, frame)),
            None => with_env(|env| {
                let receiver = self.process(caller, env, Target::Name(RECEIVER))?;
                let frame = body.binary(env, start)?;
                let frames = (atoms::foundation_consensus_frames(), from, to, vec![frame]);
                Some(caller.send(env, &receiver, frames.encode(env)))
            }),
        };
        taken.map_or(Verdict::Nobody, verdict)
    }

    fn callee(&self, number: u64) -> Option<LocalPid> {
        let callees = &self.shared.callees;
        callees.get(number as usize % callees.len().max(1)).copied()
    }

    fn publish(&self, hand: &mut Hand<'_>, body: &Body<'_>, from: usize) -> Verdict {
        let subscribers = self.shared.subscribers.read();
        let Some(subscribers) = subscribers.get(&self.channel) else {
            return Verdict::Nobody;
        };
        let mut outcome = Verdict::Nobody;
        for (n, &(pid, context)) in subscribers.iter().enumerate() {
            let verdict = with_env(|env| {
                let wrap = (Wrap::Channel(context), None);
                if n + 1 == subscribers.len() {
                    self.hand(hand, env, &pid, wrap, body, from)
                } else {
                    self.hand(hand, env, &pid, wrap, &body.again(), from)
                }
            });
            match verdict {
                Verdict::Malformed => return verdict,
                Verdict::Delivered => outcome = verdict,
                Verdict::Nobody => {}
            }
        }
        outcome
    }

    /// Sends the message to a process, or orders the caller to decode and send it.
    fn hand<'a>(
        &self,
        hand: &mut Hand<'_>,
        env: Env<'a>,
        pid: &LocalPid,
        (wrap, reference): (Wrap<'_>, Option<Term<'a>>),
        body: &Body<'_>,
        from: usize,
    ) -> Verdict {
        // A call of a NIF may not take as long as a large message may.
        if let (Caller::Process(own), Body::Large(_)) = (hand.caller, body) {
            // The process puts the decoded term where this atom stands.
            let hole = atoms::foundation_term().to_term(env);
            let message = self.wrapped(env, wrap, reference, hole);
            let order = message.zip(body.binary(own, from)).map(|(message, bytes)| {
                let message = message.in_env(own);
                (*pid, message, bytes).encode(own)
            });
            return order.map_or(Verdict::Malformed, |order| {
                hand.orders.push(order);
                Verdict::Delivered
            });
        }
        let made = body
            .term(env, from)
            .and_then(|term| self.wrapped(env, wrap, reference, term));
        made.map_or(Verdict::Malformed, |message| {
            verdict(hand.caller.send(env, pid, message))
        })
    }

    fn wrapped<'a>(
        &self,
        env: Env<'a>,
        wrap: Wrap<'_>,
        reference: Option<Term<'a>>,
        term: Term<'a>,
    ) -> Option<Term<'a>> {
        let from = |word| self.word(env, word);
        Some(match wrap {
            Wrap::Bare => term,
            Wrap::Channel(context) => {
                let (channel, node) = (from(self.channel)?, from(self.node)?);
                let (carrier, message) = in_context(env, term);
                if context {
                    (atoms::foundation_channel(), channel, node, message, carrier).encode(env)
                } else {
                    (atoms::foundation_channel(), channel, node, message).encode(env)
                }
            }
            Wrap::Call(number, timeout, target) => {
                let (node, channel) = (from(self.node)?, from(self.channel)?);
                let tag = atoms::foundation_call().to_term(env);
                let (number, timeout) = (number.encode(env), timeout.encode(env));
                make_tuple(
                    env,
                    &[tag, node, channel, number, timeout, target.term(env)?, term],
                )
            }
            Wrap::Answer(failed) => {
                let tag = if failed { atoms::error() } else { atoms::ok() };
                (reference?, (tag, term)).encode(env)
            }
        })
    }
}

/// What a message was sent in, nil when in nothing, and the message itself.
fn in_context<'a>(env: Env<'a>, term: Term<'a>) -> (Term<'a>, Term<'a>) {
    match get_tuple(term).as_deref() {
        Ok(&[tag, carrier, message]) if tag == atoms::in_context().to_term(env) => (carrier, message),
        _ => (rustler::types::atom::nil().to_term(env), term),
    }
}

fn verdict(sent: bool) -> Verdict {
    if sent { Verdict::Delivered } else { Verdict::Nobody }
}
