//! Terms as bytes that are the same on every node for the same term: the external term format with one form for each.
//!
//! The VM's own encoder is nearly that, but its form of an atom depends on its release, and the order of a map on the
//! atom table. Atoms are always in UTF-8 here, lists are never packed, and maps are in the order of their keys' bytes.
//! What reads back is the same term.

use crate::etf::integer;
use crate::word;
use rustler::{Binary, Env, MapIterator, Term, TermType};
use std::cell::RefCell;

const VERSION: u8 = 131;
/// Deepest nesting.
const DEPTH: usize = 64;
/// Atoms whose bytes a thread has at hand, a power of two.
const ATOMS: usize = 256;

/// Why a term was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It takes longer than the caller's bound.
    Bound,
    /// It nests too deep, or is no proper list.
    Invalid,
}

/// What may be written before a `Bound`.
pub(crate) struct Room {
    /// Terms left.
    pub(crate) terms: usize,
    /// Bytes that the output may have.
    pub(crate) bytes: usize,
}

/// The bytes of an atom, and the word that it is the atom of.
type Known = Vec<(u64, Box<[u8]>)>;

thread_local! {
    static NAMES: RefCell<Known> = const { RefCell::new(Vec::new()) };
}

/// Appends the bytes of a term, without a version.
pub(crate) fn write(term: Term<'_>, out: &mut Vec<u8>, room: &mut Room) -> Result<(), Stop> {
    item(term, out, room, 0)
}

/// The term of such bytes. Members of a cluster trust each other as far as distribution does: atoms are made.
pub(crate) fn read<'a>(env: Env<'a>, bytes: &[u8]) -> Option<Term<'a>> {
    let mut whole: smallvec::SmallVec<[u8; 128]> = smallvec::SmallVec::new();
    whole.push(VERSION);
    whole.extend_from_slice(bytes);
    // SAFETY: the VM checks the bytes; "trusted" is only that new atoms are made.
    let (term, read) = unsafe { env.binary_to_term_trusted(&whole)? };
    (read == whole.len()).then_some(term)
}

fn item(term: Term<'_>, out: &mut Vec<u8>, room: &mut Room, depth: usize) -> Result<(), Stop> {
    room.terms = room.terms.checked_sub(1).ok_or(Stop::Bound)?;
    if out.len() > room.bytes {
        return Err(Stop::Bound);
    }
    if depth > DEPTH {
        return Err(Stop::Invalid);
    }
    if let Some(n) = word::small(term) {
        integer(n, out);
        return Ok(());
    }
    match term.get_type() {
        TermType::Atom => atom(term, out),
        TermType::Binary if term.is_binary() => {
            let bytes = Binary::from_term(term).map_err(|_| Stop::Invalid)?;
            if out.len() + bytes.len() > room.bytes {
                return Err(Stop::Bound);
            }
            sized(109, bytes.len(), out)?;
            out.extend_from_slice(bytes.as_slice());
            Ok(())
        }
        TermType::Tuple => {
            let items = crate::term::elements(term).map_err(|_| Stop::Invalid)?;
            match u8::try_from(items.len()) {
                Ok(small) => out.extend_from_slice(&[104, small]),
                Err(_) => sized(105, items.len(), out)?,
            }
            for element in items {
                item(element, out, room, depth + 1)?;
            }
            Ok(())
        }
        TermType::List => list(term, out, room, depth),
        TermType::Map => map(term, out, room, depth),
        TermType::Float => {
            let number = term.decode::<f64>().map_err(|_| Stop::Invalid)?;
            out.push(70);
            out.extend_from_slice(&number.to_bits().to_be_bytes());
            Ok(())
        }
        // Large integers, bit strings, pids, references and functions: one form each.
        _ => {
            let whole = term.to_binary();
            let bytes = whole.as_slice().get(1..).ok_or(Stop::Invalid)?;
            if out.len() + bytes.len() > room.bytes {
                return Err(Stop::Bound);
            }
            out.extend_from_slice(bytes);
            Ok(())
        }
    }
}

fn atom(term: Term<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    NAMES.with_borrow_mut(|known| {
        if known.is_empty() {
            known.resize_with(ATOMS, Default::default);
        }
        let word = word::of(term);
        let at = (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % ATOMS;
        if known[at].0 != word {
            known[at] = (word, named(term).ok_or(Stop::Invalid)?);
        }
        out.extend_from_slice(&known[at].1);
        Ok(())
    })
}

/// The atom in UTF-8, with the short form where it fits.
fn named(term: Term<'_>) -> Option<Box<[u8]>> {
    let whole = term.to_binary();
    let name = match whole.as_slice() {
        [VERSION, 119, _, name @ ..] | [VERSION, 118, _, _, name @ ..] => name.to_vec(),
        [VERSION, 115, _, name @ ..] | [VERSION, 100, _, _, name @ ..] => name
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .into_bytes(),
        _ => return None,
    };
    let mut bytes = Vec::with_capacity(name.len() + 3);
    match u8::try_from(name.len()) {
        Ok(len) => bytes.extend_from_slice(&[119, len]),
        Err(_) => {
            bytes.push(118);
            bytes.extend_from_slice(&u16::try_from(name.len()).ok()?.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&name);
    Some(bytes.into_boxed_slice())
}

fn list(term: Term<'_>, out: &mut Vec<u8>, room: &mut Room, depth: usize) -> Result<(), Stop> {
    if term.is_empty_list() {
        out.push(106);
        return Ok(());
    }
    let start = out.len();
    sized(108, 0, out)?;
    let mut rest = term;
    let mut len = 0u32;
    while let Ok((head, tail)) = rest.list_get_cell() {
        item(head, out, room, depth + 1)?;
        len = len.checked_add(1).ok_or(Stop::Invalid)?;
        rest = tail;
    }
    out[start + 1..start + 5].copy_from_slice(&len.to_be_bytes());
    // The tail of an improper list is any other term.
    item(rest, out, room, depth + 1)
}

fn map(term: Term<'_>, out: &mut Vec<u8>, room: &mut Room, depth: usize) -> Result<(), Stop> {
    let mut pairs: Vec<(Vec<u8>, Term<'_>)> = Vec::new();
    let mut total = out.len();
    for (key, value) in MapIterator::new(term).ok_or(Stop::Invalid)? {
        let mut bytes = Vec::new();
        item(key, &mut bytes, room, depth + 1)?;
        total += bytes.len();
        if total > room.bytes {
            return Err(Stop::Bound);
        }
        pairs.push((bytes, value));
    }
    pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    sized(116, pairs.len(), out)?;
    for (key, value) in pairs {
        out.extend_from_slice(&key);
        item(value, out, room, depth + 1)?;
    }
    Ok(())
}

fn sized(tag: u8, len: usize, out: &mut Vec<u8>) -> Result<(), Stop> {
    let [a, b, c, d] = u32::try_from(len).map_err(|_| Stop::Invalid)?.to_be_bytes();
    out.extend_from_slice(&[tag, a, b, c, d]);
    Ok(())
}
