//! Who waits for an answer: a process, and the reference that the answer comes under.

use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

/// Gets one message, `{reference, answer}`.
pub(crate) struct Caller {
    pid: LocalPid,
    env: OwnedEnv,
    reference: SavedTerm,
}

impl Caller {
    /// The calling process.
    pub(crate) fn new(env: Env<'_>, reference: Term<'_>) -> Self {
        let own = OwnedEnv::new();
        let reference = own.save(reference);
        Self {
            pid: env.pid(),
            env: own,
            reference,
        }
    }

    /// Answers while the call that made this is still running, in its environment.
    pub(crate) fn answer_now<'a>(self, env: Env<'a>, answer: Term<'a>) {
        let reference = self.env.run(|own| self.reference.load(own).in_env(env));
        // As below.
        let _ = env.send(&self.pid, (reference, answer));
    }

    /// Answers; on a thread that is none of the VM's.
    pub(crate) fn answer(mut self, make: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        let reference = self.reference;
        // It fails when the process is gone, which then needs no answer.
        let _ = self.env.send_and_clear(&self.pid, |env| {
            let answer = make(env);
            (reference.load(env), answer).encode(env)
        });
    }
}
