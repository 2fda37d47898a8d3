//! Environments that messages are made in, one after the other, and sent from.

use crate::fabric::message::Target;
use crate::key;
use rustler::sys::{ErlNifEnv, enif_alloc_env, enif_clear_env, enif_free_env, enif_send, enif_whereis_pid};
use rustler::{Env, LocalPid, Term};
use std::mem::MaybeUninit;
use std::ptr;

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

/// Calls `make` with an environment that is cleared afterwards.
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

/// Sends a term of the environment that [`with_env`] gave, which holds nothing usable afterwards. Only on threads that
/// are not the VM's.
pub(crate) fn send(env: Env<'_>, to: &LocalPid, message: Term<'_>) -> bool {
    Caller::Thread.send(env, to, message)
}

/// Who sends.
#[derive(Clone, Copy)]
pub(super) enum Caller<'c> {
    /// A thread that is not the VM's.
    Thread,
    /// A process, in a call of a NIF.
    Process(Env<'c>),
}

impl Caller<'_> {
    fn env(self) -> *mut ErlNifEnv {
        match self {
            Caller::Thread => ptr::null_mut(),
            Caller::Process(env) => env.as_c_arg(),
        }
    }

    /// As [`send`], from anywhere.
    pub(super) fn send(self, env: Env<'_>, to: &LocalPid, message: Term<'_>) -> bool {
        // SAFETY: the message is of that environment, which belongs to no process.
        unsafe { enif_send(self.env(), to.as_c_arg(), env.as_c_arg(), message.as_c_arg()) == 1 }
    }

    /// The process of that name.
    pub(super) fn whereis(self, name: Term<'_>) -> Option<LocalPid> {
        let mut pid = MaybeUninit::uninit();
        // SAFETY: without an environment, or with that of the calling process, as the thread demands; the pid is
        // written when the answer is not 0.
        unsafe {
            (enif_whereis_pid(self.env(), name.as_c_arg(), pid.as_mut_ptr()) != 0)
                .then(|| LocalPid::from_c_arg(pid.assume_init()))
        }
    }
}

/// The atom of that name, as a machine word.
pub(crate) fn atom(name: &str) -> Option<u64> {
    let target = Target::Name(name.as_bytes());
    with_env(|env| target.term(env).and_then(|term| key::atom_word(term).ok()))
}
