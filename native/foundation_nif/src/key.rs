//! Canonical keys: one byte string for each term, equal exactly when the terms are (`===`).
//!
//! Atoms, integers, floats, binaries, lists, tuples and small maps are written out directly; atoms as their machine
//! word, which names the same atom for as long as the VM lives. What is left (references, pids, functions, big
//! integers, bit strings) goes through the external term format, which is canonical for those. Keys never leave
//! this VM: nothing durable may hold one.
//!
//! Cost: O(size of the term). Bounds: [`MAX_DEPTH`] levels, [`MAX_BYTES`] bytes.

use crate::{term, word};
use rustler::sys::enif_is_atom;
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, Error, NewBinary, NifResult, Term, TermType};
use smallvec::SmallVec;

/// Deepest nesting a key may have.
pub(crate) const MAX_DEPTH: usize = 32;
/// Longest key, written out.
pub(crate) const MAX_BYTES: usize = 4096;

/// A key, on the stack for the usual lengths.
pub(crate) type KeyBuf = SmallVec<[u8; 128]>;

pub(crate) const ATOM: u8 = 1;
pub(crate) const INT: u8 = 2;
pub(crate) const FLOAT: u8 = 3;
pub(crate) const BINARY: u8 = 4;
pub(crate) const TUPLE: u8 = 5;
pub(crate) const LIST: u8 = 6;
pub(crate) const MAP: u8 = 7;
const EXTERNAL: u8 = 8;
pub(crate) const NIL: u8 = 9;

/// Writes the key of `term`; `badarg` when it nests too deep or grows too long.
pub(crate) fn key(term: Term<'_>) -> NifResult<KeyBuf> {
    let mut buf = KeyBuf::new();
    write_key(term, &mut buf)?;
    Ok(buf)
}

/// Appends the key of `term` to `buf`.
pub(crate) fn write_key(term: Term<'_>, buf: &mut KeyBuf) -> NifResult<()> {
    write(term, buf, 0)?;
    if buf.len() > MAX_BYTES {
        Err(Error::BadArg)
    } else {
        Ok(())
    }
}

/// Opens the key of a binary whose bytes are appended afterwards; [`close_binary`] ends it.
pub(crate) fn open_binary() -> KeyBuf {
    let mut buf = KeyBuf::new();
    buf.extend_from_slice(&[BINARY, 0, 0, 0, 0]);
    buf
}

/// Writes the length that [`open_binary`] left open; `badarg` when the key grew too long.
pub(crate) fn close_binary(buf: &mut KeyBuf) -> NifResult<()> {
    if buf.len() > MAX_BYTES {
        return Err(Error::BadArg);
    }
    let len = (buf.len() - 5) as u32;
    buf[1..5].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

/// The machine word of an atom.
#[inline]
pub(crate) fn atom_word(term: Term<'_>) -> NifResult<u64> {
    if word::is_atom(term) {
        Ok(word::of(term))
    } else {
        Err(Error::BadArg)
    }
}

/// The atom that a word from [`atom_word`] names.
pub(crate) fn atom_from_word<'a>(env: Env<'a>, word: u64) -> NifResult<Term<'a>> {
    let Ok(word) = usize::try_from(word) else {
        return Err(Error::BadArg);
    };
    // SAFETY: `ErlNifTerm` is a transparent wrapper of one machine word.
    let raw = unsafe { std::mem::transmute::<usize, rustler::sys::ErlNifTerm>(word) };
    // SAFETY: atoms are immediates, valid in every environment while the VM lives; the check rejects any other word.
    unsafe {
        if enif_is_atom(env.as_c_arg(), raw) != 1 {
            return Err(Error::BadArg);
        }
        Ok(Term::new(env, raw))
    }
}

fn write(term: Term<'_>, buf: &mut KeyBuf, depth: usize) -> NifResult<()> {
    if depth > MAX_DEPTH || buf.len() > MAX_BYTES {
        return Err(Error::BadArg);
    }
    if word::is_atom(term) {
        put_word(buf, ATOM, word::of(term));
        return Ok(());
    }
    if let Some(n) = word::small(term) {
        put_word(buf, INT, n as u64);
        return Ok(());
    }
    match term.get_type() {
        TermType::Integer => match term.decode::<i64>() {
            Ok(n) => {
                put_word(buf, INT, n as u64);
            }
            Err(_) => external(term, buf)?,
        },
        TermType::Float => {
            put_word(buf, FLOAT, term.decode::<f64>()?.to_bits());
        }
        TermType::Binary if term.is_binary() => {
            let bytes = rustler::Binary::from_term(term)?;
            sized(BINARY, bytes.len(), buf)?;
            buf.extend_from_slice(bytes.as_slice());
        }
        TermType::Tuple => {
            let items = crate::term::elements(term)?;
            sized(TUPLE, items.len(), buf)?;
            for item in items {
                write(item, buf, depth + 1)?;
            }
        }
        TermType::List => {
            buf.push(LIST);
            let mut rest = term;
            while let Ok((head, tail)) = rest.list_get_cell() {
                write(head, buf, depth + 1)?;
                rest = tail;
            }
            if !rest.is_empty_list() {
                return Err(Error::BadArg);
            }
            buf.push(NIL);
        }
        TermType::Map => map(term, buf, depth)?,
        _ => external(term, buf)?,
    }
    Ok(())
}

fn put_word(buf: &mut KeyBuf, tag: u8, word: u64) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&word.to_le_bytes());
    put(buf, bytes);
}

/// Appends bytes whose number is known, which takes a few moves where `extend_from_slice` takes two calls.
#[inline]
fn put<const N: usize>(buf: &mut KeyBuf, bytes: [u8; N]) {
    buf.reserve(N);
    let len = buf.len();
    // SAFETY: N bytes were reserved beyond `len`, and are written before they count.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buf.as_mut_ptr().add(len), N);
        buf.set_len(len + N);
    }
}

fn sized(tag: u8, len: usize, buf: &mut KeyBuf) -> NifResult<()> {
    if len > MAX_BYTES {
        return Err(Error::BadArg);
    }
    let [a, b, c, d] = (len as u32).to_le_bytes();
    put(buf, [tag, a, b, c, d]);
    Ok(())
}

fn map(term: Term<'_>, buf: &mut KeyBuf, depth: usize) -> NifResult<()> {
    let size = term.map_size()?;
    sized(MAP, size, buf)?;
    let mut pairs: SmallVec<[KeyBuf; 8]> = SmallVec::with_capacity(size);
    let mut total = buf.len();
    for (k, v) in rustler::MapIterator::new(term).ok_or(Error::BadArg)? {
        let mut pair = KeyBuf::new();
        write(k, &mut pair, depth + 1)?;
        write(v, &mut pair, depth + 1)?;
        total += pair.len();
        if total > MAX_BYTES {
            return Err(Error::BadArg);
        }
        pairs.push(pair);
    }
    pairs.sort_unstable();
    for pair in pairs {
        buf.extend_from_slice(&pair);
    }
    Ok(())
}

/// Appends the key of a map of at most 32 entries. The VM keeps those in an order that depends on their keys alone, so
/// that they need no sorting here; the bytes may differ from those of [`write_key`].
pub(crate) fn write_small_map(term: Term<'_>, buf: &mut KeyBuf) -> NifResult<()> {
    let size = term::map_size(term)
        .filter(|size| *size <= 32)
        .ok_or(Error::BadArg)?;
    sized(MAP, size, buf)?;
    term::pairs_of(term, size, |k, v| {
        write(k, buf, 1)?;
        write(v, buf, 1)
    })?;
    if buf.len() > MAX_BYTES {
        Err(Error::BadArg)
    } else {
        Ok(())
    }
}

fn external(term: Term<'_>, buf: &mut KeyBuf) -> NifResult<()> {
    let bytes = term.to_binary();
    sized(EXTERNAL, bytes.len(), buf)?;
    buf.extend_from_slice(bytes.as_slice());
    Ok(())
}

/// Builds the term that `bytes` is the key of.
pub(crate) fn to_term<'a>(env: Env<'a>, bytes: &[u8]) -> NifResult<Term<'a>> {
    let mut rest = bytes;
    let term = read(env, &mut rest)?;
    if rest.is_empty() {
        Ok(term)
    } else {
        Err(Error::BadArg)
    }
}

fn read<'a>(env: Env<'a>, rest: &mut &[u8]) -> NifResult<Term<'a>> {
    match take(rest, 1)?[0] {
        ATOM => atom_from_word(env, word(rest)?),
        INT => Ok((word(rest)? as i64).encode(env)),
        FLOAT => Ok(f64::from_bits(word(rest)?).encode(env)),
        BINARY => {
            let len = size(rest)?;
            let bytes = take(rest, len)?;
            let mut binary = NewBinary::new(env, len);
            binary.as_mut_slice().copy_from_slice(bytes);
            Ok(binary.into())
        }
        TUPLE => {
            let len = size(rest)?;
            let items = (0..len).map(|_| read(env, rest)).collect::<NifResult<Vec<_>>>()?;
            Ok(make_tuple(env, &items))
        }
        LIST => {
            let mut items = Vec::new();
            while rest.first() != Some(&NIL) {
                items.push(read(env, rest)?);
            }
            take(rest, 1)?;
            Ok(items.encode(env))
        }
        MAP => {
            let len = size(rest)?;
            let mut map = Term::map_new(env);
            for _ in 0..len {
                let k = read(env, rest)?;
                let v = read(env, rest)?;
                map = map.map_put(k, v)?;
            }
            Ok(map)
        }
        EXTERNAL => {
            let len = size(rest)?;
            let bytes = take(rest, len)?;
            env.binary_to_term(bytes)
                .map(|(term, _)| term)
                .ok_or(Error::BadArg)
        }
        _ => Err(Error::BadArg),
    }
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> NifResult<&'b [u8]> {
    if rest.len() < len {
        return Err(Error::BadArg);
    }
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    Ok(head)
}

fn word(rest: &mut &[u8]) -> NifResult<u64> {
    take(rest, 8)?
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| Error::BadArg)
}

fn size(rest: &mut &[u8]) -> NifResult<usize> {
    take(rest, 4)?
        .try_into()
        .map(|b| u32::from_le_bytes(b) as usize)
        .map_err(|_| Error::BadArg)
}
