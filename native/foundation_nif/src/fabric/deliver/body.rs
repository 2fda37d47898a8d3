//! The bytes of a message.

use crate::fabric::decode;
use rustler::{Env, OwnedBinary, Term};
use std::cell::Cell;
use std::mem::MaybeUninit;

/// The bytes of a message.
pub(super) enum Body<'b> {
    Small(&'b [u8]),
    Large(Cell<Option<OwnedBinary>>),
}

impl Body<'_> {
    pub(super) fn with<T>(&self, from: usize, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
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

    /// Whether only a thread of the VM can decode it; says yes for some short ones that others could.
    pub(super) fn needs_scheduler(&self, from: usize) -> bool {
        let needs = match self {
            Body::Small(_) => self.with(from, decode::may_need_scheduler),
            Body::Large(_) => self.with(from, decode::needs_scheduler),
        };
        needs.unwrap_or(false)
    }

    pub(super) fn term<'a>(&self, env: Env<'a>, from: usize) -> Option<Term<'a>> {
        match self {
            Body::Small(bytes) => decode::small(env, bytes.get(from..)?),
            Body::Large(binary) => decode::large(env, binary.take()?, from),
        }
    }

    pub(super) fn binary<'a>(&self, env: Env<'a>, from: usize) -> Option<Term<'a>> {
        match self {
            Body::Small(bytes) => Some(
                OwnedBinary::from_slice(bytes.get(from..)?)
                    .release(env)
                    .to_term(env),
            ),
            Body::Large(binary) => {
                let whole = binary.take()?.release(env);
                let length = whole.len().checked_sub(from)?;
                Some(whole.make_subbinary(from, length).ok()?.to_term(env))
            }
        }
    }

    /// Another use of the same bytes.
    pub(super) fn again(&self) -> Body<'_> {
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

/// Memory of the VM that a large message is put together in.
pub(crate) struct Buffer(pub(super) OwnedBinary);

impl Buffer {
    /// None when the VM has no such memory.
    pub(super) fn new(length: usize) -> Option<Self> {
        let mut binary = MaybeUninit::uninit();
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
