//! Short keys, written in one pass on the stack: atoms, binaries, numbers, and what lists and tuples of these need.
//! The bytes are those of [`crate::key`], to which anything else is left.

use crate::key::{ATOM, BINARY, FLOAT, INT, TUPLE};
use crate::{term, word};
use rustler::Term;
use rustler::sys::{ErlNifBinary, enif_get_double, enif_inspect_binary};
use std::mem::MaybeUninit;

/// Tuples below this depth are left.
const DEPTH: u32 = 3;
/// Spreads a word over the upper bits of a product.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A key of at most `ROOM` bytes. What is written when there is an answer other than `Some` is of no use.
pub(crate) struct Brief<const ROOM: usize> {
    bytes: [MaybeUninit<u8>; ROOM],
    len: usize,
    hash: u64,
}

impl<const ROOM: usize> Brief<ROOM> {
    /// Room for a key. It is filled where it stands: moving it would wait for every byte just written.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            bytes: [const { MaybeUninit::uninit() }; ROOM],
            len: 0,
            hash: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes have been written.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }

    /// A hash of what was written, taken on the way: the bytes themselves are too fresh to be read again at once.
    #[inline(always)]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }

    /// An atom, a binary, a number or a tuple of these.
    #[inline(always)]
    pub(crate) fn key(&mut self, term: Term<'_>) -> Option<()> {
        if word::is_atom(term) {
            return self.word(ATOM, word::of(term));
        }
        match word::small(term) {
            Some(n) => self.word(INT, n as u64),
            None => self.nested(term, 0),
        }
    }

    fn nested(&mut self, term: Term<'_>, depth: u32) -> Option<()> {
        let Ok(items) = term::elements(term) else {
            return self.item(term);
        };
        if depth == DEPTH {
            return None;
        }
        self.sized(TUPLE, items.len())?;
        for item in items {
            if word::is_atom(item) {
                self.word(ATOM, word::of(item))?;
            } else if let Some(n) = word::small(item) {
                self.word(INT, n as u64)?;
            } else {
                self.nested(item, depth + 1)?;
            }
        }
        Some(())
    }

    /// An atom, a binary or a number.
    #[inline(always)]
    pub(crate) fn item(&mut self, term: Term<'_>) -> Option<()> {
        if word::is_atom(term) {
            return self.word(ATOM, word::of(term));
        }
        let env = term.get_env().as_c_arg();
        let mut binary: MaybeUninit<ErlNifBinary> = MaybeUninit::uninit();
        // SAFETY: the term belongs to the environment; the binary is written when the call says so, and its bytes stay
        // where they are until this call of the VM returns.
        unsafe {
            if enif_inspect_binary(env, term.as_c_arg(), binary.as_mut_ptr()) == 1 {
                let binary = binary.assume_init();
                self.sized(BINARY, binary.size)?;
                return self.copy(binary.data, binary.size);
            }
        }
        if let Some(n) = word::integer(term) {
            return self.word(INT, n as u64);
        }
        let mut x = 0.0;
        // SAFETY: the term belongs to the environment; the number is written when the call says so.
        let is_float = unsafe { enif_get_double(env, term.as_c_arg(), &raw mut x) } == 1;
        is_float.then_some(())?;
        self.word(FLOAT, x.to_bits())
    }

    #[inline(always)]
    pub(crate) fn word(&mut self, tag: u8, word: u64) -> Option<()> {
        self.mix(word);
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&word.to_le_bytes());
        self.put(bytes)
    }

    #[inline(always)]
    pub(crate) fn sized(&mut self, tag: u8, len: usize) -> Option<()> {
        self.mix(len as u64);
        let [a, b, c, d] = u32::try_from(len).ok()?.to_le_bytes();
        self.put([tag, a, b, c, d])
    }

    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Option<()> {
        if self.len + N > ROOM {
            return None;
        }
        // SAFETY: there is room for N bytes behind `len`.
        unsafe {
            let end = self.bytes.as_mut_ptr().cast::<u8>().add(self.len);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), end, N);
        }
        self.len += N;
        Some(())
    }

    #[inline(always)]
    fn copy(&mut self, from: *const u8, len: usize) -> Option<()> {
        if len > ROOM - self.len {
            return None;
        }
        // SAFETY: there is room for `len` bytes behind the last; they are the caller's to read.
        unsafe {
            for chunk in std::slice::from_raw_parts(from, len).chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.mix(u64::from_le_bytes(word));
            }
            let end = self.bytes.as_mut_ptr().cast::<u8>().add(self.len);
            std::ptr::copy_nonoverlapping(from, end, len);
        }
        self.len += len;
        Some(())
    }
}
