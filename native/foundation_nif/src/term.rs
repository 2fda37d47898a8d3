//! Reading terms that the caller may have got wrong.
//!
//! rustler's own list iterator panics at an improper tail and its integer decoders say no more than `badarg`; the
//! functions here do neither.

use rustler::{Error, NifResult, Term, TermType};

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
