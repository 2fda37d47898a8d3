//! Messages from the network to processes: decoded in an environment of their own and sent from the runtime's threads.

use super::decode;
use super::message::{self, Head, Target};
use super::names::{Meaning, Names};
use super::pending::Pending;
use crate::handle::{self, held};
use crate::key;
use foundation_fabric::channel::inbox::{Receiver, Verdict};
use foundation_fabric::{Outcome, Sink};
use foundation_overlay::NodeId;
use parking_lot::{Mutex, RwLock};
use rustler::sys::{ErlNifEnv, enif_alloc_env, enif_clear_env, enif_free_env, enif_send};
use rustler::types::tuple::{get_tuple, make_tuple};
use rustler::{Encoder, Env, LocalPid, OwnedBinary, Term};
use std::cell::Cell;
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

mod atoms {
    rustler::atoms! {
        foundation_channel, foundation_call, foundation_cancel, foundation_fabric, foundation_decode,
        foundation_term, peer_up, peer_down,
        ok, error, closed, unreachable, too_large, room,
        in_context = "$foundation_in_context",
        foundation_consensus_frames,
    }
}

/// The process that takes frames of engines while none has been named to take them.
const RECEIVER: &[u8] = b"Elixir.Foundation.Distributed.Consensus.Receiver";

/// Takes frames of the engines of other nodes. Does not block.
pub(crate) trait Frames: Send + Sync {
    /// A frame for a member from a member, which came from that node. False when there is nobody here for it.
    fn take(&self, to: &str, from: &str, peer: &str, frame: &[u8]) -> bool;
}

/// A process, and whether it wants the context of a message.
type Subscriber = (LocalPid, bool);

/// What the endpoint's news need: the processes that want them.
pub(crate) struct Shared {
    pub(crate) pending: Pending,
    /// The subscribers of each channel, by the channel's atom.
    pub(crate) subscribers: RwLock<HashMap<u64, Vec<Subscriber>, ahash::RandomState>>,
    /// The processes that make calls here for callers elsewhere.
    pub(crate) callees: Vec<LocalPid>,
    pub(crate) owner: LocalPid,
    pub(crate) engine: RwLock<Option<Arc<dyn Frames>>>,
    pub(crate) names: Names,
    pub(crate) diverted: Diverted,
}

/// Messages that a process is decoding, by the node and channel they came on. They are acknowledged as soon as that process
/// has them, so a link that takes the place of one that broke goes on with its count: what comes next may not overtake them.
#[derive(Default)]
pub(crate) struct Diverted(Mutex<HashMap<(u64, u64), Weak<AtomicUsize>>>);

impl Diverted {
    fn count(&self, node: u64, channel: u64) -> Arc<AtomicUsize> {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get(&(node, channel)).and_then(Weak::upgrade) {
            return count;
        }
        counts.retain(|_, count| count.strong_count() > 0);
        let count = Arc::default();
        counts.insert((node, channel), Arc::downgrade(&count));
        count
    }
}

/// An environment that messages are made in, one after the other.
struct Workspace(*mut ErlNifEnv);

impl Drop for Workspace {
    fn drop(&mut self) {
        // SAFETY: allocated below, freed once.
        unsafe { enif_free_env(self.0) }
    }
}

thread_local! {
    // SAFETY: an environment may be used by any one thread at a time.
    static WORKSPACE: Workspace = Workspace(unsafe { enif_alloc_env() });
}

/// Calls `make` with an environment that is cleared afterwards. Only on threads that are not the VM's.
pub(crate) fn with_env<T>(make: impl for<'a> FnOnce(Env<'a>) -> T) -> T {
    WORKSPACE.with(|workspace| {
        let lifetime = ();
        // SAFETY: the environment lives as long as the thread, and no term of it outlives this call.
        unsafe {
            let made = make(Env::new(&lifetime, workspace.0));
            enif_clear_env(workspace.0);
            made
        }
    })
}

/// Sends a term of the environment that [`with_env`] gave, which holds nothing usable afterwards.
pub(crate) fn send(env: Env<'_>, to: &LocalPid, message: Term<'_>) -> bool {
    // SAFETY: the thread is not the VM's, and the message is of that environment.
    unsafe { enif_send(ptr::null_mut(), to.as_c_arg(), env.as_c_arg(), message.as_c_arg()) == 1 }
}

/// The atom of that name, as a machine word.
pub(crate) fn atom(name: &str) -> Option<u64> {
    let target = Target::Name(name.as_bytes());
    with_env(|env| target.term(env).and_then(|term| key::atom_word(term).ok()))
}

/// Takes the messages of one link.
pub(crate) struct Inlet {
    shared: Arc<Shared>,
    peer: Box<str>,
    node: u64,
    channel: u64,
    /// The name that came last, and its atom: most messages of a link go to few names.
    last_name: Mutex<(Vec<u8>, u64)>,
    /// Messages of this channel that a process is decoding; while there are any, all go that way, to stay in order.
    diverted: Arc<AtomicUsize>,
}

/// The bytes of a message.
enum Body<'b> {
    Small(&'b [u8]),
    Large(Cell<Option<OwnedBinary>>),
}

impl Body<'_> {
    fn with<T>(&self, from: usize, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match self {
            Body::Small(bytes) => bytes.get(from..).map(with),
            Body::Large(binary) => {
                let whole = binary.take()?;
                let given = whole.as_slice().get(from..).map(with);
                binary.set(Some(whole));
                given
            }
        }
    }

    fn term<'a>(&self, env: Env<'a>, from: usize) -> Option<Term<'a>> {
        match self {
            Body::Small(bytes) => decode::small(env, &bytes[from..]),
            Body::Large(binary) => decode::large(env, binary.take()?, from),
        }
    }

    fn binary<'a>(&self, env: Env<'a>, from: usize) -> Option<Term<'a>> {
        match self {
            Body::Small(bytes) => Some(OwnedBinary::from_slice(&bytes[from..]).release(env).to_term(env)),
            Body::Large(binary) => {
                let whole = binary.take()?.release(env);
                let length = whole.len().checked_sub(from)?;
                Some(whole.make_subbinary(from, length).ok()?.to_term(env))
            }
        }
    }

    /// Another use of the same bytes.
    fn again(&self) -> Body<'_> {
        match self {
            Body::Small(bytes) => Body::Small(bytes),
            Body::Large(binary) => {
                let whole = binary.take();
                let copy = whole
                    .as_ref()
                    .map(|whole| OwnedBinary::from_slice(whole.as_slice()));
                binary.set(whole);
                Body::Large(Cell::new(copy))
            }
        }
    }
}

/// What a process gets, around the term.
#[derive(Clone, Copy)]
enum Wrap<'b> {
    Bare,
    Channel(bool),
    Call(u64, u32, Target<'b>),
    Answer(bool),
}

impl Inlet {
    fn word<'a>(&self, env: Env<'a>, word: u64) -> Option<Term<'a>> {
        key::atom_from_word(env, word).ok()
    }

    fn process(&self, env: Env<'_>, target: Target<'_>) -> Option<LocalPid> {
        match target {
            // A pid of another node, or of an earlier life of this one, is none of ours.
            Target::Pid(_) => target.term(env)?.decode().ok(),
            Target::Name(name) => {
                let mut last = self.last_name.lock();
                let atom = if last.0 == name {
                    self.word(env, last.1)?
                } else {
                    let atom = match self.shared.names.find(name) {
                        Meaning::Itself => target.term(env)?,
                        Meaning::Other(word) => self.word(env, word)?,
                        Meaning::Nobody => return None,
                    };
                    *last = (name.to_vec(), key::atom_word(atom).ok()?);
                    atom
                };
                env.whereis_pid(atom)
            }
        }
    }

    fn take(&self, head: &[u8], body: &Body<'_>, needs_scheduler: impl Fn(usize) -> bool) -> Verdict {
        let Some((head, from)) = message::head(head) else {
            return Verdict::Malformed;
        };
        if let Head::Engine { to, from: member } = head {
            return self.frame(to, member, body, from);
        }
        let divert = self.diverted.load(Ordering::Acquire) > 0 || needs_scheduler(from);
        match head {
            Head::Engine { .. } => Verdict::Nobody,
            Head::To(target) => with_env(|env| match self.process(env, target) {
                Some(pid) => self.hand(env, &pid, Wrap::Bare, None, body, from, divert),
                None => Verdict::Nobody,
            }),
            Head::Subscribers => self.publish(body, from, divert),
            Head::Call {
                number,
                timeout,
                target,
            } => with_env(|env| match self.callee(number) {
                Some(pid) => self.hand(
                    env,
                    &pid,
                    Wrap::Call(number, timeout, target),
                    None,
                    body,
                    from,
                    divert,
                ),
                None => Verdict::Nobody,
            }),
            Head::Reply { number, failed } => with_env(|env| match self.shared.pending.take(env, number) {
                Some((pid, reference)) => self.hand(
                    env,
                    &pid,
                    Wrap::Answer(failed),
                    Some(reference),
                    body,
                    from,
                    divert,
                ),
                None => Verdict::Nobody,
            }),
            Head::Cancel { number } => with_env(|env| {
                let (Some(pid), Some(node)) = (self.callee(number), self.word(env, self.node)) else {
                    return Verdict::Nobody;
                };
                let cancel = (atoms::foundation_cancel(), node, number).encode(env);
                verdict(send(env, &pid, cancel))
            }),
        }
    }

    /// A frame of the engine of another node, to the engine here without a process between.
    fn frame(&self, to: &str, from: &str, body: &Body<'_>, start: usize) -> Verdict {
        let engine = self.shared.engine.read().clone();
        let taken = match engine {
            Some(engine) => body.with(start, |frame| engine.take(to, from, &self.peer, frame)),
            None => with_env(|env| {
                let receiver = self.process(env, Target::Name(RECEIVER))?;
                let frame = body.binary(env, start)?;
                let frames = (atoms::foundation_consensus_frames(), from, to, vec![frame]);
                Some(send(env, &receiver, frames.encode(env)))
            }),
        };
        taken.map_or(Verdict::Nobody, verdict)
    }

    fn callee(&self, number: u64) -> Option<LocalPid> {
        let callees = &self.shared.callees;
        callees.get(number as usize % callees.len().max(1)).copied()
    }

    fn publish(&self, body: &Body<'_>, from: usize, divert: bool) -> Verdict {
        let subscribers = self.shared.subscribers.read();
        let Some(subscribers) = subscribers.get(&self.channel) else {
            return Verdict::Nobody;
        };
        let mut outcome = Verdict::Nobody;
        for (n, &(pid, context)) in subscribers.iter().enumerate() {
            let wrap = Wrap::Channel(context);
            let verdict = with_env(|env| {
                if n + 1 == subscribers.len() {
                    self.hand(env, &pid, wrap, None, body, from, divert)
                } else {
                    self.hand(env, &pid, wrap, None, &body.again(), from, divert)
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

    /// Sends the message to a process, decoded here, or by a process when `divert` says so.
    #[allow(clippy::too_many_arguments, reason = "each is a part of one message")]
    fn hand<'a>(
        &self,
        env: Env<'a>,
        pid: &LocalPid,
        wrap: Wrap<'_>,
        reference: Option<Term<'a>>,
        body: &Body<'_>,
        from: usize,
        divert: bool,
    ) -> Verdict {
        if !divert {
            let made = body
                .term(env, from)
                .and_then(|term| self.wrapped(env, wrap, reference, term));
            return made.map_or(Verdict::Malformed, |message| verdict(send(env, pid, message)));
        }
        let Some(decoder) = self.callee(self.channel >> 6 ^ self.node >> 6) else {
            return Verdict::Nobody;
        };
        // The process puts the decoded term where this atom stands.
        let hole = atoms::foundation_term().to_term(env);
        let made = self
            .wrapped(env, wrap, reference, hole)
            .zip(body.binary(env, from));
        let Some((message, bytes)) = made else {
            return Verdict::Malformed;
        };
        self.diverted.fetch_add(1, Ordering::AcqRel);
        let ticket = handle::make(env, Ticket(Arc::clone(&self.diverted), AtomicBool::new(false)));
        let order = (atoms::foundation_decode(), ticket, *pid, message, bytes).encode(env);
        verdict(send(env, &decoder, order))
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

impl Receiver for Inlet {
    type Buffer = Buffer;

    fn buffer(&self, length: usize) -> Option<Buffer> {
        Buffer::new(length)
    }

    fn small(&self, bytes: &[u8]) -> Verdict {
        self.take(bytes, &Body::Small(bytes), |from| {
            decode::may_need_scheduler(&bytes[from..])
        })
    }

    fn large(&self, buffer: Buffer) -> Verdict {
        let binary = buffer.0;
        // What stands before the term is short; a copy of it lets go of the memory that the term keeps.
        let head = binary.as_slice()[..binary.len().min(1_200)].to_vec();
        let from = message::head(&head).map_or(0, |(_, from)| from);
        let divert = decode::needs_scheduler(&binary.as_slice()[from..]);
        self.take(&head, &Body::Large(Cell::new(Some(binary))), |_| divert)
    }
}

/// A message that a process decodes for an [`Inlet`]; counted until the process says that it is done, or is gone.
pub(crate) struct Ticket(Arc<AtomicUsize>, AtomicBool);

held!(Ticket, c"foundation_fabric_ticket");

impl Ticket {
    pub(crate) fn done(&self) {
        if !self.1.swap(true, Ordering::AcqRel) {
            self.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.done();
    }
}

/// Memory of the VM that a large message is put together in.
pub(crate) struct Buffer(OwnedBinary);

impl Buffer {
    /// None when the VM has no such memory.
    fn new(length: usize) -> Option<Self> {
        let mut binary = std::mem::MaybeUninit::uninit();
        // SAFETY: a 0 says that nothing was allocated or written.
        unsafe {
            if rustler::sys::enif_alloc_binary(length, binary.as_mut_ptr()) == 0 {
                return None;
            }
            Some(Self(OwnedBinary::from_raw(binary.assume_init())))
        }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }
}

/// Where the endpoint's news go.
pub(crate) struct ToProcesses(pub(crate) Arc<Shared>);

impl Sink for ToProcesses {
    type Receiver = Inlet;

    fn receiver(&self, from: &NodeId, channel: &str) -> Inlet {
        let node = atom(from.name.as_str()).unwrap_or(0);
        let channel = atom(channel).unwrap_or(0);
        Inlet {
            shared: Arc::clone(&self.0),
            peer: from.name.as_str().into(),
            node,
            channel,
            last_name: Mutex::default(),
            diverted: self.0.diverted.count(node, channel),
        }
    }

    fn settled(&self, token: u64, outcome: Outcome) {
        with_env(|env| {
            let answer = match outcome {
                Outcome::Delivered => atoms::ok().encode(env),
                Outcome::Room => atoms::room().encode(env),
                Outcome::Failed => (atoms::error(), atoms::closed()).encode(env),
                Outcome::TooLarge => (atoms::error(), atoms::too_large()).encode(env),
            };
            self.0.pending.answer(env, token, answer);
        });
    }

    fn peer(&self, peer: &NodeId, up: bool) {
        let Some(node) = atom(peer.name.as_str()) else {
            return;
        };
        with_env(|env| {
            let what = if up { atoms::peer_up() } else { atoms::peer_down() };
            if let Ok(node) = key::atom_from_word(env, node) {
                let news = (atoms::foundation_fabric(), what, node, peer.boot).encode(env);
                send(env, &self.0.owner, news);
            }
        });
        if !up {
            for id in self.0.pending.of_peer(peer.name.as_str()) {
                let answer = (atoms::error(), atoms::unreachable());
                with_env(|env| self.0.pending.answer(env, id, answer));
            }
        }
    }
}

/// Tells everyone who waits that nothing more comes.
pub(crate) fn close(shared: &Shared) {
    for id in shared.pending.all() {
        with_env(|env| shared.pending.answer(env, id, (atoms::error(), atoms::closed())));
    }
}
