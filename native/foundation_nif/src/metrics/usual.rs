//! The key of a usual series, written in one pass: a name that is an atom, a binary or a list of these, tags between
//! these or numbers. Anything else, and anything long, is left to [`crate::key`], whose bytes these are.

use crate::brief::Brief;
use crate::key::{LIST, MAP, NIL};
use crate::term;
use rustler::Term;
use rustler::sys::enif_get_list_cell;
use std::mem::MaybeUninit;

/// Bytes of the longest key written here.
const ROOM: usize = 248;

/// A key on the stack.
pub(super) struct Usual {
    key: Brief<ROOM>,
    name_len: usize,
}

impl Usual {
    /// Room for a key.
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            key: Brief::new(),
            name_len: 0,
        }
    }

    /// Writes the key of the series of that name and tags, once; None when it is not a usual one.
    #[inline]
    pub(super) fn write(&mut self, name: Term<'_>, tags: Term<'_>) -> Option<()> {
        self.name(name)?;
        self.name_len = self.key.len();
        self.tags(tags)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.key.bytes()
    }

    /// As [`Brief::hash`].
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.key.hash()
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
                return self.key.item(name);
            }
            self.key.put([LIST])?;
            loop {
                self.key.item(Term::new(env, head.assume_init()))?;
                cell = tail.assume_init();
                if enif_get_list_cell(env.as_c_arg(), cell, head.as_mut_ptr(), tail.as_mut_ptr()) == 0 {
                    break;
                }
            }
            let rest = Term::new(env, cell);
            rest.is_empty_list().then_some(())?;
        }
        self.key.put([NIL])
    }

    #[inline]
    fn tags(&mut self, tags: Term<'_>) -> Option<()> {
        let size = term::map_size(tags).filter(|size| *size <= 32)?;
        self.key.sized(MAP, size)?;
        term::pairs_of(tags, size, |k, v| {
            self.key.item(k).and_then(|()| self.key.item(v)).ok_or(())
        })
        .ok()
    }
}
