//! Large messages from the external term format: binaries in them are parts of the memory they came in, not copies.

use rustler::sys::{
    ErlNifTerm, enif_make_list_cell, enif_make_map_from_arrays, enif_make_sub_binary,
    enif_make_tuple_from_array,
};
use rustler::{Binary, Encoder, Env, OwnedBinary, Term};

use super::encode::VERSION;

/// Binaries from this size on stay where they are.
const STAYS: usize = 4 << 10;
/// Levels built here; what lies deeper is built by the VM.
const DEPTH: usize = 64;

/// Most entries of a map that is built on a thread which is not the VM's: to build a larger one the VM sorts, and to
/// sort it takes random numbers from the scheduler that it believes to run on.
const SMALL_MAP: u32 = 32;

/// Whether a short message may hold a map that only a scheduler can build. Says yes for bytes that merely look so.
pub(crate) fn may_need_scheduler(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(116, rest) {
        rest = &rest[at + 1..];
        match rest.first_chunk() {
            Some(size) if u32::from_be_bytes(*size) > SMALL_MAP && u32::from_be_bytes(*size) < 1 << 24 => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Whether a message that is well formed holds a map that only a scheduler can build. A message that is none needs
/// nobody.
pub(crate) fn needs_scheduler(bytes: &[u8]) -> bool {
    let mut seen = Seen::default();
    scan(bytes, 1, &mut seen).is_some() && seen.large_map
}

/// The term that stands in `whole` from `from` on, none when there is none or [`needs_scheduler`]. Peers of the cluster
/// are trusted as peers of distribution are: atoms are made.
pub(crate) fn large(env: Env<'_>, whole: OwnedBinary, from: usize) -> Option<Term<'_>> {
    let whole = Binary::from_owned(whole, env);
    let bytes = whole.as_slice();
    if bytes.get(from) != Some(&VERSION) {
        return None;
    }
    let mut decoder = Decoder {
        env,
        whole: whole.to_term(env),
        bytes,
        at: from + 1,
    };
    let mut seen = Seen::default();
    let end = scan(bytes, decoder.at, &mut seen)?;
    if end != bytes.len() || seen.large_map {
        return None;
    }
    if !seen.stays {
        return small(env, &bytes[from..]);
    }
    decoder.value(0)
}

/// A term with its version byte, and nothing behind it.
pub(crate) fn small<'a>(env: Env<'a>, bytes: &[u8]) -> Option<Term<'a>> {
    // SAFETY: the VM checks the bytes; "trusted" is only that new atoms are made.
    let (term, read) = unsafe { env.binary_to_term_trusted(bytes)? };
    (read == bytes.len()).then_some(term)
}

struct Decoder<'a, 'b> {
    env: Env<'a>,
    whole: Term<'a>,
    bytes: &'b [u8],
    at: usize,
}

impl<'a> Decoder<'a, '_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(taken)
    }

    fn count(&mut self) -> Option<usize> {
        self.take().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn value(&mut self, depth: usize) -> Option<Term<'a>> {
        let begin = self.at;
        if depth > DEPTH {
            return self.by_vm(begin);
        }
        match self.take::<1>()?[0] {
            97 => Some(self.take::<1>()?[0].encode(self.env)),
            98 => Some(i32::from_be_bytes(self.take()?).encode(self.env)),
            104 => {
                let arity = self.take::<1>()?[0].into();
                self.tuple(arity, depth)
            }
            105 => {
                let arity = self.count()?;
                self.tuple(arity, depth)
            }
            106 => Some(Term::list_new_empty(self.env)),
            108 => self.list(depth),
            109 => self.binary(),
            116 => self.map(depth),
            _ => self.by_vm(begin),
        }
    }

    /// So many terms; each takes a byte at least, which bounds what is allocated.
    fn values(&mut self, count: usize, depth: usize) -> Option<Vec<ErlNifTerm>> {
        if count > self.bytes.len() - self.at {
            return None;
        }
        let mut out = Vec::with_capacity(count);
        for _ in 0..count {
            out.push(self.value(depth + 1)?.as_c_arg());
        }
        Some(out)
    }

    fn tuple(&mut self, arity: usize, depth: usize) -> Option<Term<'a>> {
        let items = self.values(arity, depth)?;
        // SAFETY: the terms are of this environment.
        unsafe {
            let tuple = enif_make_tuple_from_array(self.env.as_c_arg(), items.as_ptr(), items.len() as u32);
            Some(Term::new(self.env, tuple))
        }
    }

    fn list(&mut self, depth: usize) -> Option<Term<'a>> {
        let count = self.count()?;
        let items = self.values(count, depth)?;
        let tail = self.value(depth + 1)?.as_c_arg();
        let env = self.env.as_c_arg();
        // SAFETY: the terms are of this environment.
        unsafe {
            let cell = |tail, head: ErlNifTerm| enif_make_list_cell(env, head, tail);
            Some(Term::new(self.env, items.into_iter().rev().fold(tail, cell)))
        }
    }

    fn map(&mut self, depth: usize) -> Option<Term<'a>> {
        let size = self.count()?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for _ in 0..size {
            keys.push(self.value(depth + 1)?.as_c_arg());
            values.push(self.value(depth + 1)?.as_c_arg());
        }
        let mut map = self.whole.as_c_arg();
        // SAFETY: the terms are of this environment; a 0 says that keys are equal, and no map was made.
        unsafe {
            let env = self.env.as_c_arg();
            let made = enif_make_map_from_arrays(env, keys.as_ptr(), values.as_ptr(), size, &raw mut map);
            (made != 0).then(|| Term::new(self.env, map))
        }
    }

    fn binary(&mut self) -> Option<Term<'a>> {
        let length = self.count()?;
        let from = self.at;
        self.bytes.get(from..from.checked_add(length)?)?;
        self.at += length;
        if length < STAYS {
            return self.by_vm(from - 5);
        }
        // SAFETY: the part lies within the binary, which is of this environment.
        unsafe {
            let part = enif_make_sub_binary(self.env.as_c_arg(), self.whole.as_c_arg(), from, length);
            Some(Term::new(self.env, part))
        }
    }

    fn by_vm(&mut self, begin: usize) -> Option<Term<'a>> {
        let end = scan(self.bytes, begin, &mut Seen::default())?;
        let mut alone = Vec::with_capacity(end - begin + 1);
        alone.push(VERSION);
        alone.extend_from_slice(&self.bytes[begin..end]);
        self.at = end;
        small(self.env, &alone)
    }
}

/// What a scan saw.
#[derive(Default)]
struct Seen {
    /// A binary that stays where it is.
    stays: bool,
    /// A map of more than [`SMALL_MAP`] entries.
    large_map: bool,
}

/// Where the term that begins at `at` ends.
fn scan(bytes: &[u8], mut at: usize, seen: &mut Seen) -> Option<usize> {
    let byte = |at: usize| bytes.get(at).copied();
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let half = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    // Every pending term takes a byte at least.
    let mut pending: usize = 1;
    while pending > 0 {
        pending -= 1;
        let tag = byte(at)?;
        at += 1;
        let (length, more) = match tag {
            97 => (1, 0),
            98 => (4, 0),
            70 => (8, 0),
            100 | 118 => (2 + half(at)?, 0),
            115 | 119 => (1 + byte(at)? as usize, 0),
            104 => (1, byte(at)? as usize),
            105 => (4, word(at)?),
            106 => (0, 0),
            107 => (2 + half(at)?, 0),
            108 => (4, word(at)?.checked_add(1)?),
            109 => {
                let length = word(at)?;
                seen.stays |= length >= STAYS;
                (4usize.checked_add(length)?, 0)
            }
            77 => (5usize.checked_add(word(at)?)?, 0),
            110 => (2 + byte(at)? as usize, 0),
            111 => (5usize.checked_add(word(at)?)?, 0),
            116 => {
                seen.large_map |= word(at)? > SMALL_MAP as usize;
                (4, word(at)?.checked_mul(2)?)
            }
            113 => (0, 3),
            112 => (word(at)?, 0),
            // Pids, ports and references: the node's name, then numbers.
            88 | 120 => (name(bytes, at)? + 12, 0),
            89 => (name(bytes, at)? + 8, 0),
            90 => (2 + name(bytes, at + 2)? + 4 + 4 * half(at)?, 0),
            _ => return None,
        };
        at = at.checked_add(length)?;
        pending = pending.checked_add(more)?;
        if at > bytes.len() || pending > bytes.len() {
            return None;
        }
    }
    Some(at)
}

/// The length of the atom at `at`.
fn name(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        100 | 118 => {
            let length = u16::from_be_bytes(*bytes.get(at + 1..)?.first_chunk()?);
            Some(3 + usize::from(length))
        }
        115 | 119 => Some(2 + usize::from(*bytes.get(at + 1)?)),
        _ => None,
    }
}
