//! Immediate terms read off their machine word: small integers and atoms, without a call into the VM.
//!
//! How the VM tags its words has not changed since 64-bit machines came, but it is no promise: the layout is tried
//! once, when the library is loaded, and not relied upon where it is another.

use rustler::sys::{ErlNifTerm, enif_get_int64, enif_is_atom};
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, NewBinary, Term};
use std::sync::atomic::{AtomicBool, Ordering};

const SMALL_MASK: u64 = 0xf;
const SMALL: u64 = 0xf;
const ATOM_MASK: u64 = 0x3f;
const ATOM: u64 = 0xb;
/// The largest integer that is an immediate.
const LARGEST: i64 = (1 << 59) - 1;

static KNOWN: AtomicBool = AtomicBool::new(false);

mod atoms {
    rustler::atoms! { ok, error, foundation_word }
}

/// The machine word of a term: equal words are equal terms, as long as the terms live.
#[inline]
pub(crate) fn of(term: Term<'_>) -> u64 {
    // SAFETY: `ErlNifTerm` is a transparent wrapper of one machine word.
    unsafe { std::mem::transmute::<ErlNifTerm, usize>(term.as_c_arg()) as u64 }
}

/// The integer, when the term is one and known to be an immediate.
#[inline]
pub(crate) fn small(term: Term<'_>) -> Option<i64> {
    let word = of(term);
    (word & SMALL_MASK == SMALL && KNOWN.load(Ordering::Relaxed)).then_some(word as i64 >> 4)
}

/// The integer, when the term is one that fits 64 bits.
#[inline]
pub(crate) fn integer(term: Term<'_>) -> Option<i64> {
    small(term).or_else(|| asked(term))
}

#[inline(never)]
fn asked(term: Term<'_>) -> Option<i64> {
    let mut n = 0;
    // SAFETY: the term belongs to its environment; `n` is written when the call says so.
    let is = unsafe { enif_get_int64(term.get_env().as_c_arg(), term.as_c_arg(), &raw mut n) };
    (is == 1).then_some(n)
}

/// Whether the term is an atom.
#[inline]
pub(crate) fn is_atom(term: Term<'_>) -> bool {
    if KNOWN.load(Ordering::Relaxed) {
        return of(term) & ATOM_MASK == ATOM;
    }
    // SAFETY: the term belongs to its environment.
    unsafe { enif_is_atom(term.get_env().as_c_arg(), term.as_c_arg()) == 1 }
}

/// Tries the layout; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) {
    let integers = [0, 1, -1, 255, -256, 1 << 40, LARGEST, -LARGEST - 1]
        .into_iter()
        .all(|n: i64| of(n.encode(env)) == (n as u64) << 4 | SMALL);
    let atoms = [atoms::ok(), atoms::error(), atoms::foundation_word()]
        .into_iter()
        .all(|atom| of(atom.encode(env)) & ATOM_MASK == ATOM);
    let others = [
        (LARGEST + 1).encode(env),
        u64::MAX.encode(env),
        1.5.encode(env),
        Term::list_new_empty(env),
        vec![1].encode(env),
        Term::map_new(env),
        make_tuple(env, &[]),
        make_tuple(env, &[1.encode(env)]),
        NewBinary::new(env, 1).into(),
        env.make_ref().encode(env),
    ]
    .into_iter()
    .all(|term| {
        let word = of(term);
        word & SMALL_MASK != SMALL && word & ATOM_MASK != ATOM
    });
    KNOWN.store(
        size_of::<usize>() == 8 && integers && atoms && others,
        Ordering::Relaxed,
    );
}
