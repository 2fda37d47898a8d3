//! Reading terms that the caller may have got wrong.
//!
//! rustler's own list iterator panics at an improper tail and its integer decoders say no more than `badarg`; the
//! functions here do neither.

use rustler::sys::{
    ErlNifMapIterator, ErlNifMapIteratorEntry, ErlNifTerm, enif_get_map_size, enif_get_tuple,
    enif_map_iterator_create, enif_map_iterator_destroy, enif_map_iterator_get_pair, enif_map_iterator_next,
};
use rustler::types::atom::nil;
use rustler::{Atom, Decoder, Error, NifResult, Term, TermType};
use std::mem::MaybeUninit;

/// The elements of a proper list of at most `max` elements; `badarg` for anything else.
pub(crate) fn list<'a>(term: Term<'a>, max: usize) -> NifResult<Vec<Term<'a>>> {
    let mut rest = term;
    let mut items = Vec::new();
    loop {
        if rest.is_empty_list() {
            return Ok(items);
        }
        let (head, tail) = rest.list_get_cell()?;
        if items.len() == max {
            return Err(Error::BadArg);
        }
        items.push(head);
        rest = tail;
    }
}

/// The value of a key that an option map must have.
pub(crate) fn field<'a, T: Decoder<'a>>(map: Term<'a>, name: Atom) -> NifResult<T> {
    map.map_get(name)?.decode()
}

/// The value of a key that an option map must have; none for an atom.
pub(crate) fn optional<'a, T: Decoder<'a>>(map: Term<'a>, name: Atom) -> NifResult<Option<T>> {
    let value = map.map_get(name)?;
    if value.is_atom() {
        Ok(None)
    } else {
        value.decode().map(Some)
    }
}

/// The value of a key of an option map; none when it is nil or missing.
pub(crate) fn choice<'a, T: Decoder<'a>>(map: Term<'a>, name: Atom) -> NifResult<Option<T>> {
    match map.map_get(name) {
        Ok(value) if nil() != value => value.decode().map(Some),
        _ => Ok(None),
    }
}

/// A finite number, integers included (rounded to the nearest double).
pub(crate) fn number(term: Term<'_>) -> NifResult<f64> {
    match term.get_type() {
        TermType::Float => term.decode::<f64>(),
        TermType::Integer => match term.decode::<i64>() {
            Ok(n) => Ok(n as f64),
            Err(_) => Err(Error::BadArg),
        },
        _ => Err(Error::BadArg),
    }
}

/// How many pairs a map has; `None` for what is no map.
#[inline]
pub(crate) fn map_size(term: Term<'_>) -> Option<usize> {
    let mut size = 0;
    // SAFETY: the term belongs to its environment; the size is written when the call says so.
    let is = unsafe { enif_get_map_size(term.get_env().as_c_arg(), term.as_c_arg(), &raw mut size) };
    (is == 1).then_some(size)
}

/// Calls `each` with the pairs of a map of that [`map_size`] until it fails. Allocates nothing; the iterator never
/// moves, which a call of some ten nanoseconds would feel.
#[inline]
pub(crate) fn pairs_of<'a, E>(
    map: Term<'a>,
    size: usize,
    mut each: impl FnMut(Term<'a>, Term<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let env = map.get_env();
    let raw = env.as_c_arg();
    let mut iterator = MaybeUninit::<ErlNifMapIterator>::uninit();
    let at = iterator.as_mut_ptr();
    let first = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
    let (mut key, mut value): (ErlNifTerm, ErlNifTerm) = (map.as_c_arg(), map.as_c_arg());
    let mut outcome = Ok(());
    // SAFETY: environment and term belong together; the iterator is used, and destroyed once, only when it was made, and
    // the terms it gives are of this environment.
    unsafe {
        if size == 0 || enif_map_iterator_create(raw, map.as_c_arg(), at, first) == 0 {
            return Ok(());
        }
        for left in (0..size).rev() {
            if enif_map_iterator_get_pair(raw, at, &mut key, &mut value) == 0 {
                break;
            }
            outcome = each(Term::new(env, key), Term::new(env, value));
            if outcome.is_err() || left == 0 {
                break;
            }
            enif_map_iterator_next(raw, at);
        }
        enif_map_iterator_destroy(raw, at);
    }
    outcome
}

/// Calls `each` with the pairs of a map until it answers false; `badarg` for what is no map. Allocates nothing.
#[inline]
pub(crate) fn pairs<'a>(map: Term<'a>, mut each: impl FnMut(Term<'a>, Term<'a>) -> bool) -> NifResult<()> {
    let size = map_size(map).ok_or(Error::BadArg)?;
    let _ = pairs_of(
        map,
        size,
        |key, value| if each(key, value) { Ok(()) } else { Err(()) },
    );
    Ok(())
}

/// Key and value of a map that has one of each.
#[inline]
pub(crate) fn only_pair<'a>(map: Term<'a>) -> Option<(Term<'a>, Term<'a>)> {
    if map_size(map) != Some(1) {
        return None;
    }
    let mut only = None;
    let _ = pairs_of(map, 1, |key, value| {
        only = Some((key, value));
        Ok::<(), ()>(())
    });
    only
}

/// The elements of a tuple, without a copy; `badarg` for what is no tuple.
pub(crate) fn elements<'a>(tuple: Term<'a>) -> NifResult<impl ExactSizeIterator<Item = Term<'a>>> {
    let env = tuple.get_env();
    let mut arity = 0;
    let mut items = MaybeUninit::uninit();
    // SAFETY: a 0 says that nothing was written; otherwise `arity` terms of this environment stand there.
    let items = unsafe {
        if enif_get_tuple(env.as_c_arg(), tuple.as_c_arg(), &mut arity, items.as_mut_ptr()) == 0 {
            return Err(Error::BadArg);
        }
        std::slice::from_raw_parts(items.assume_init(), arity as usize)
    };
    // SAFETY: as above.
    Ok(items.iter().map(move |item| unsafe { Term::new(env, *item) }))
}
