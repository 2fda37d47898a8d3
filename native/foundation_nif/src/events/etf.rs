//! Writes the usual terms in external form, byte for byte as `term_to_binary` does, but into memory that is there
//! already and with the names of atoms at hand. What is unusual is left to the VM.

use crate::etf::integer;
use crate::{term, word};
use rustler::Term;
use rustler::sys::{
    ErlNifBinary, ErlNifTerm, enif_get_double, enif_get_list_cell, enif_get_tuple, enif_inspect_binary,
};
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// What external terms start with.
pub(super) const VERSION: u8 = 131;
/// Levels below which a term is left to the VM.
const DEPTH: u32 = 8;
/// Entries up to which the VM keeps a map in one order.
const SMALL_MAP: usize = 32;
/// Elements up to which a list is looked through here.
const SHORT_LIST: usize = 256;
/// Atoms whose names a thread has at hand, a power of two.
const ATOMS: usize = 256;

thread_local! {
    static NAMES: RefCell<Names> = RefCell::default();
}

/// External forms of atoms, each where its word says.
#[derive(Default)]
pub(super) struct Names(Vec<(u64, Box<[u8]>)>);

impl Names {
    fn put(&mut self, atom: Term<'_>, out: &mut Vec<u8>) -> Option<()> {
        if self.0.is_empty() {
            self.0.resize_with(ATOMS, Default::default);
        }
        let word = word::of(atom);
        let at = (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % ATOMS;
        if self.0[at].0 != word {
            let whole = atom.to_binary();
            self.0[at] = (word, whole.as_slice().get(1..)?.into());
        }
        out.extend_from_slice(&self.0[at].1);
        Some(())
    }
}

/// Calls `f` with the names this thread has at hand.
pub(super) fn with_names<R>(f: impl FnOnce(&mut Names) -> R) -> R {
    NAMES.with_borrow_mut(f)
}

/// Appends the external form of a term.
pub(super) fn write(term: Term<'_>, names: &mut Names, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(VERSION);
    if item(term, names, out, DEPTH).is_none() {
        out.truncate(start);
        out.extend_from_slice(term.to_binary().as_slice());
    }
}

fn item(term: Term<'_>, names: &mut Names, out: &mut Vec<u8>, depth: u32) -> Option<()> {
    if let Some(n) = word::small(term) {
        integer(n, out);
        return Some(());
    }
    if word::is_atom(term) {
        return names.put(term, out);
    }
    let env = term.get_env().as_c_arg();
    let mut binary: MaybeUninit<ErlNifBinary> = MaybeUninit::uninit();
    // SAFETY: the term belongs to the environment; the binary is written when the call says so, and its bytes stay
    // where they are until this call of the VM returns.
    unsafe {
        if enif_inspect_binary(env, term.as_c_arg(), binary.as_mut_ptr()) == 1 {
            let binary = binary.assume_init();
            sized(109, binary.size, out)?;
            out.extend_from_slice(std::slice::from_raw_parts(binary.data, binary.size));
            return Some(());
        }
    }
    if let Some(size) = term::map_size(term) {
        return map(term, size, names, out, depth.checked_sub(1)?);
    }
    compound(term, names, out, depth.checked_sub(1)?)
}

fn compound(term: Term<'_>, names: &mut Names, out: &mut Vec<u8>, depth: u32) -> Option<()> {
    let env = term.get_env();
    let (mut x, mut arity, mut items) = (0.0, 0, std::ptr::null());
    // SAFETY: the term belongs to the environment; each place is written when its call says so, and `items` points to
    // `arity` terms then.
    unsafe {
        if enif_get_double(env.as_c_arg(), term.as_c_arg(), &raw mut x) == 1 {
            out.push(70);
            out.extend_from_slice(&x.to_be_bytes());
            return Some(());
        }
        if enif_get_tuple(env.as_c_arg(), term.as_c_arg(), &mut arity, &mut items) == 1 {
            let arity = usize::try_from(arity).ok()?;
            match u8::try_from(arity) {
                Ok(small) => out.extend_from_slice(&[104, small]),
                Err(_) => sized(105, arity, out)?,
            }
            return (0..arity).try_for_each(|i| item(Term::new(env, *items.add(i)), names, out, depth));
        }
    }
    list(term, names, out, depth)
}

fn list(term: Term<'_>, names: &mut Names, out: &mut Vec<u8>, depth: u32) -> Option<()> {
    let env = term.get_env();
    let mut items: smallvec::SmallVec<[ErlNifTerm; 16]> = smallvec::SmallVec::new();
    let mut rest = term.as_c_arg();
    let (mut head, mut tail) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the terms belong to the environment; head and tail are written when the call says so.
    unsafe {
        while enif_get_list_cell(env.as_c_arg(), rest, head.as_mut_ptr(), tail.as_mut_ptr()) == 1 {
            if items.len() == SHORT_LIST {
                return None;
            }
            items.push(head.assume_init());
            rest = tail.assume_init();
        }
    }
    // SAFETY: the tail belongs to the environment of the list.
    let nil = unsafe { Term::new(env, rest) };
    nil.is_empty_list().then_some(())?;
    // SAFETY: so do its elements.
    let mut terms = items.iter().map(|item| unsafe { Term::new(env, *item) });
    let bytes: Option<smallvec::SmallVec<[u8; 64]>> = terms
        .clone()
        .map(|term| word::small(term).and_then(|n| u8::try_from(n).ok()))
        .collect();
    match bytes {
        Some(bytes) if !bytes.is_empty() => {
            out.push(107);
            out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            out.extend_from_slice(&bytes);
            return Some(());
        }
        Some(_) => {}
        None => {
            sized(108, items.len(), out)?;
            terms.try_for_each(|term| item(term, names, out, depth))?;
        }
    }
    out.push(106);
    Some(())
}

fn map(term: Term<'_>, size: usize, names: &mut Names, out: &mut Vec<u8>, depth: u32) -> Option<()> {
    if size > SMALL_MAP {
        return None;
    }
    sized(116, size, out)?;
    term::pairs_of(term, size, |k, v| {
        item(k, names, out, depth)
            .and_then(|()| item(v, names, out, depth))
            .ok_or(())
    })
    .ok()
}

fn sized(tag: u8, len: usize, out: &mut Vec<u8>) -> Option<()> {
    let [a, b, c, d] = u32::try_from(len).ok()?.to_be_bytes();
    out.extend_from_slice(&[tag, a, b, c, d]);
    Some(())
}
