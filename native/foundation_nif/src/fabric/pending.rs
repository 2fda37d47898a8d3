//! Who waits for an answer: a process, and the reference that the answer comes under.
//!
//! A waiter is taken out by whoever answers it, so that each gets one answer or, once cancelled, none.

use dashmap::DashMap;
use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};
use std::sync::atomic::{AtomicU64, Ordering};

struct Waiter {
    pid: LocalPid,
    reference: Mutex<(OwnedEnv, SavedTerm)>,
    /// The node that the answer is to come from.
    peer: String,
}

/// Everyone who waits.
#[derive(Default)]
pub(crate) struct Pending {
    waiters: DashMap<u64, Waiter, ahash::RandomState>,
    next: AtomicU64,
}

impl Pending {
    /// Enters the calling process; the number that it is found by.
    pub(crate) fn enter(&self, env: Env<'_>, reference: Term<'_>, peer: &str) -> u64 {
        let own = OwnedEnv::new();
        let saved = own.save(reference);
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let waiter = Waiter {
            pid: env.pid(),
            reference: Mutex::new((own, saved)),
            peer: peer.to_owned(),
        };
        self.waiters.insert(id, waiter);
        id
    }

    /// Forgets a waiter; false when it was answered already.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        self.waiters.remove(&id).is_some()
    }

    /// Takes a waiter out: the process, and its reference in that environment.
    pub(crate) fn take<'a>(&self, env: Env<'a>, id: u64) -> Option<(LocalPid, Term<'a>)> {
        let (_, waiter) = self.waiters.remove(&id)?;
        let (own, saved) = waiter.reference.into_inner();
        let reference = own.run(|own| saved.load(own).in_env(env));
        Some((waiter.pid, reference))
    }

    /// Answers `{reference, answer}`, in an environment of [`super::deliver::with_env`].
    pub(crate) fn answer(&self, env: Env<'_>, id: u64, answer: impl Encoder) -> bool {
        match self.take(env, id) {
            Some((pid, reference)) => super::deliver::send(env, &pid, (reference, answer).encode(env)),
            None => false,
        }
    }

    /// Those who wait for an answer of that node.
    pub(crate) fn of_peer(&self, peer: &str) -> Vec<u64> {
        let waiters = self.waiters.iter();
        waiters
            .filter(|waiter| waiter.peer == peer)
            .map(|waiter| *waiter.key())
            .collect()
    }

    /// Everyone.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.waiters.iter().map(|waiter| *waiter.key()).collect()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }
}
