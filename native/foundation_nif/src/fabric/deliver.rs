//! Messages from the network to processes: decoded in an environment of their own and sent from the runtime's threads.

use super::decode;
use super::message::{self, Head, Target};
use super::pending::Pending;
use crate::key;
use foundation_fabric::channel::inbox::{Receiver, Verdict};
use foundation_fabric::{Outcome, Sink};
use foundation_overlay::NodeId;
use parking_lot::{Mutex, RwLock};
use rustler::sys::{ErlNifEnv, enif_alloc_env, enif_clear_env, enif_free_env, enif_send};
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, LocalPid, OwnedBinary, Term};
use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

mod atoms {
    rustler::atoms! {
        foundation_channel, foundation_call, foundation_cancel, foundation_fabric, peer_up, peer_down,
        ok, error, closed, unreachable, too_large, room,
    }
}

/// What the endpoint's news need: the processes that want them.
pub(crate) struct Shared {
    pub(crate) pending: Pending,
    /// The subscribers of each channel, by the channel's atom.
    pub(crate) subscribers: RwLock<HashMap<u64, Vec<LocalPid>, ahash::RandomState>>,
    /// The processes that make calls here for callers elsewhere.
    pub(crate) callees: Vec<LocalPid>,
    pub(crate) owner: LocalPid,
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
    node: u64,
    channel: u64,
    /// The name that came last, and its atom: most messages of a link go to few names.
    last_name: Mutex<(Vec<u8>, u64)>,
}

impl Inlet {
    fn word<'a>(&self, env: Env<'a>, word: u64) -> Option<Term<'a>> {
        key::atom_from_word(env, word).ok()
    }

    fn process(&self, env: Env<'_>, target: Target<'_>) -> Option<LocalPid> {
        let term = match target {
            Target::Pid(_) => target.term(env)?,
            Target::Name(name) => {
                let mut last = self.last_name.lock();
                if last.0 == name {
                    self.word(env, last.1)?
                } else {
                    let atom = target.term(env)?;
                    *last = (name.to_vec(), key::atom_word(atom).ok()?);
                    atom
                }
            }
        };
        match target {
            // A pid of another node, or of an earlier life of this one, is none of ours.
            Target::Pid(_) => term.decode().ok(),
            Target::Name(_) => env.whereis_pid(term),
        }
    }

    fn take(&self, bytes: &[u8], body: impl for<'a> Fn(Env<'a>, usize) -> Option<Term<'a>>) -> Verdict {
        let Some((head, from)) = message::head(bytes) else {
            return Verdict::Malformed;
        };
        match head {
            Head::To(target) => with_env(|env| {
                let Some(pid) = self.process(env, target) else {
                    return Verdict::Nobody;
                };
                match body(env, from) {
                    Some(message) => verdict(send(env, &pid, message)),
                    None => Verdict::Malformed,
                }
            }),
            Head::Subscribers => self.publish(from, body),
            Head::Call {
                number,
                timeout,
                target,
            } => with_env(|env| {
                let Some(pid) = self.callee(number) else {
                    return Verdict::Nobody;
                };
                let made = (|| {
                    let target = target.term(env)?;
                    let (node, channel) = (self.word(env, self.node)?, self.word(env, self.channel)?);
                    let request = body(env, from)?;
                    let (number, timeout) = (number.encode(env), timeout.encode(env));
                    let tag = atoms::foundation_call().to_term(env);
                    Some(make_tuple(
                        env,
                        &[tag, node, channel, number, timeout, target, request],
                    ))
                })();
                match made {
                    Some(call) => verdict(send(env, &pid, call)),
                    None => Verdict::Malformed,
                }
            }),
            Head::Reply { number, failed } => self.reply(number, failed, from, body),
            Head::Cancel { number } => with_env(|env| {
                let (Some(pid), Some(node)) = (self.callee(number), self.word(env, self.node)) else {
                    return Verdict::Nobody;
                };
                let cancel = (atoms::foundation_cancel(), node, number).encode(env);
                verdict(send(env, &pid, cancel))
            }),
        }
    }

    fn callee(&self, number: u64) -> Option<LocalPid> {
        let callees = &self.shared.callees;
        callees.get(number as usize % callees.len().max(1)).copied()
    }

    fn publish(&self, from: usize, body: impl for<'a> Fn(Env<'a>, usize) -> Option<Term<'a>>) -> Verdict {
        let subscribers = self.shared.subscribers.read();
        let Some(subscribers) = subscribers.get(&self.channel).filter(|pids| !pids.is_empty()) else {
            return Verdict::Nobody;
        };
        let mut outcome = Verdict::Nobody;
        for pid in subscribers {
            let sent = with_env(|env| {
                let (node, channel) = (self.word(env, self.node)?, self.word(env, self.channel)?);
                let message = (atoms::foundation_channel(), channel, node, body(env, from)?).encode(env);
                Some(send(env, pid, message))
            });
            match sent {
                None => return Verdict::Malformed,
                Some(true) => outcome = Verdict::Delivered,
                Some(false) => {}
            }
        }
        outcome
    }

    fn reply(
        &self,
        number: u64,
        failed: bool,
        from: usize,
        body: impl for<'a> Fn(Env<'a>, usize) -> Option<Term<'a>>,
    ) -> Verdict {
        with_env(|env| {
            let Some(term) = body(env, from) else {
                return Verdict::Malformed;
            };
            let tag = if failed { atoms::error() } else { atoms::ok() };
            verdict(self.shared.pending.answer(env, number, (tag, term)))
        })
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
        self.take(bytes, |env, from| decode::small(env, &bytes[from..]))
    }

    fn large(&self, buffer: Buffer) -> Verdict {
        let binary = buffer.0;
        // The head is short; a copy of it lets go of the memory that the term keeps.
        let head = binary.as_slice()[..binary.len().min(600)].to_vec();
        let whole = Mutex::new(Some(binary));
        let several = matches!(message::head(&head), Some((Head::Subscribers, _)));
        self.take(&head, |env, from| {
            let mut whole = whole.lock();
            if several {
                let copy = OwnedBinary::from_slice(whole.as_ref()?.as_slice());
                return decode::large(env, copy, from);
            }
            decode::large(env, whole.take()?, from)
        })
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
        Inlet {
            shared: Arc::clone(&self.0),
            node: atom(from.name.as_str()).unwrap_or(0),
            channel: atom(channel).unwrap_or(0),
            last_name: Mutex::default(),
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
