//! Who waits for an answer: a process, and the reference that the answer comes under.

use crate::runtime::runtime;
use rustler::env::SavedTerm;
use rustler::sys::{ErlNifEnv, enif_thread_type};
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};
use std::cell::Cell;
use std::ptr;

thread_local! {
    /// The environment of the call that this thread of the VM is in, while it may answer callers.
    static CALL: Cell<*mut ErlNifEnv> = const { Cell::new(ptr::null_mut()) };
}

/// Forgets the call when it is over, however it ends.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        CALL.set(ptr::null_mut());
    }
}

/// Runs what may answer callers in a call from the VM, with the environment of that call.
pub(super) fn answering<T>(env: Env<'_>, run: impl FnOnce() -> T) -> T {
    let _over = Over;
    CALL.set(env.as_c_arg());
    run()
}

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

    /// Answers, on any thread.
    pub(crate) fn answer_anywhere(self, make: impl for<'a> FnOnce(Env<'a>) -> Term<'a> + Send + 'static) {
        let call = CALL.get();
        // SAFETY: asks only of what kind the thread is.
        let of_the_vm = unsafe { enif_thread_type() } != 0;
        if !of_the_vm {
            self.answer(make);
        } else if !call.is_null() {
            let lifetime = ();
            // SAFETY: the call lasts as long as `answering` does, which this runs in.
            let env = unsafe { Env::new(&lifetime, call) };
            let answer = make(env);
            self.answer_now(env, answer);
        } else if let Ok(runtime) = runtime() {
            runtime.spawn(async move { self.answer(make) });
        }
    }
}
