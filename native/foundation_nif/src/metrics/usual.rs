//! The key of a usual series, written in one pass: a name that is an atom, a binary or a list of these, tags between
//! these or numbers. Anything else, and anything long, is left to [`crate::key`], whose bytes these are.

use crate::key::{ATOM, BINARY, FLOAT, INT, LIST, MAP, NIL};
use crate::word;
use rustler::Term;
use rustler::sys::{
    ErlNifBinary, ErlNifMapIteratorEntry, enif_get_double, enif_get_list_cell, enif_get_map_size,
    enif_inspect_binary, enif_map_iterator_create, enif_map_iterator_destroy, enif_map_iterator_get_pair,
    enif_map_iterator_next,
};
use std::mem::MaybeUninit;

/// Bytes of the longest key written here.
const ROOM: usize = 248;

/// A key on the stack.
pub(super) struct Usual {
    bytes: [MaybeUninit<u8>; ROOM],
    len: usize,
    name_len: usize,
    hash: u64,
}

/// Spreads a word over the upper bits of a product.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Usual {
    /// Room for a key. It is filled where it stands: moving it would wait for every byte just written.
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            bytes: [const { MaybeUninit::uninit() }; ROOM],
            len: 0,
            name_len: 0,
            hash: 0,
        }
    }

    /// Writes the key of the series of that name and tags, once; None when it is not a usual one.
    #[inline]
    pub(super) fn write(&mut self, name: Term<'_>, tags: Term<'_>) -> Option<()> {
        self.name(name)?;
        self.name_len = self.len;
        self.tags(tags)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes have been written.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }

    /// A hash of what was written, taken on the way: the bytes themselves are too fresh to be read again at once.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }

    /// How much of it is the name's.
    pub(super) fn name_len(&self) -> usize {
        self.name_len
    }

    #[inline]
    fn name(&mut self, name: Term<'_>) -> Option<()> {
        let env = name.get_env();
        let (mut head, mut tail) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let mut cell = name.as_c_arg();
        // SAFETY: the terms belong to the environment; head and tail are written when the call says so.
        unsafe {
            if enif_get_list_cell(env.as_c_arg(), cell, head.as_mut_ptr(), tail.as_mut_ptr()) == 0 {
                return self.item(name);
            }
            self.put([LIST])?;
            loop {
                self.item(Term::new(env, head.assume_init()))?;
                cell = tail.assume_init();
                if enif_get_list_cell(env.as_c_arg(), cell, head.as_mut_ptr(), tail.as_mut_ptr()) == 0 {
                    break;
                }
            }
            let rest = Term::new(env, cell);
            rest.is_empty_list().then_some(())?;
        }
        self.put([NIL])
    }

    #[inline]
    fn tags(&mut self, tags: Term<'_>) -> Option<()> {
        let mut size = 0;
        // SAFETY: the term belongs to its environment; the size is written when the call says so.
        let is_map = unsafe { enif_get_map_size(tags.get_env().as_c_arg(), tags.as_c_arg(), &raw mut size) };
        if is_map != 1 || size > 32 {
            return None;
        }
        self.sized(MAP, size)?;
        if size > 0 {
            self.pairs(tags, size)
        } else {
            Some(())
        }
    }

    // As `MapPairs` does, with an iterator that never moves.
    #[inline]
    fn pairs(&mut self, tags: Term<'_>, size: usize) -> Option<()> {
        let env = tags.get_env();
        let first = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
        let mut iterator = MaybeUninit::uninit();
        let at = iterator.as_mut_ptr();
        let (mut k, mut v) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the iterator is written by the first call, used while it stands and destroyed once; key and value
        // are written when the call says so, terms of this environment.
        unsafe {
            if enif_map_iterator_create(env.as_c_arg(), tags.as_c_arg(), at, first) == 0 {
                return None;
            }
            let mut done = Some(());
            for _ in 0..size {
                let has = enif_map_iterator_get_pair(env.as_c_arg(), at, k.as_mut_ptr(), v.as_mut_ptr());
                enif_map_iterator_next(env.as_c_arg(), at);
                done = (has == 1).then_some(());
                done = done.and_then(|()| self.item(Term::new(env, k.assume_init())));
                done = done.and_then(|()| self.item(Term::new(env, v.assume_init())));
                if done.is_none() {
                    break;
                }
            }
            enif_map_iterator_destroy(env.as_c_arg(), at);
            done
        }
    }

    #[inline]
    fn item(&mut self, term: Term<'_>) -> Option<()> {
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

    #[inline]
    fn word(&mut self, tag: u8, word: u64) -> Option<()> {
        self.mix(word);
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&word.to_le_bytes());
        self.put(bytes)
    }

    #[inline]
    fn sized(&mut self, tag: u8, len: usize) -> Option<()> {
        self.mix(len as u64);
        let [a, b, c, d] = u32::try_from(len).ok()?.to_le_bytes();
        self.put([tag, a, b, c, d])
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Option<()> {
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

    #[inline]
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
