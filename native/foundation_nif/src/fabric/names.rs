//! What the names of processes in messages from other nodes mean on this endpoint.
//!
//! The processes that the library itself needs on every node go by one name in messages. A node that is in several
//! clusters runs them once for each, under other names of its own; and what belongs to one cluster is not
//! reached from another.

use crate::key;
use rustler::{NifResult, Term};
use std::collections::HashMap;

/// Names that begin so are the library's.
const OURS: &[u8] = b"Elixir.Foundation.";
/// Most names.
const MAX: usize = 256;

/// The names of the library's processes here. None: they are what they are elsewhere.
#[derive(Default)]
pub(crate) struct Names(Option<HashMap<Vec<u8>, u64, ahash::RandomState>>);

/// Whom a name means.
pub(crate) enum Meaning {
    /// The process of that name.
    Itself,
    /// The process whose name is this atom, as a machine word.
    Other(u64),
    /// Nobody.
    Nobody,
}

impl Names {
    /// From a list of `{name in messages, name here}`, or an atom for none.
    pub(crate) fn decode(term: Term<'_>) -> NifResult<Self> {
        if term.is_atom() {
            return Ok(Self(None));
        }
        let pair = |pair: Term<'_>| {
            let (name, here): (Term<'_>, Term<'_>) = pair.decode()?;
            Ok((name.atom_to_string()?.into_bytes(), key::atom_word(here)?))
        };
        let names = crate::term::list(term, MAX)?;
        let names = names.into_iter().map(pair).collect::<NifResult<_>>()?;
        Ok(Self(Some(names)))
    }

    pub(crate) fn find(&self, name: &[u8]) -> Meaning {
        match &self.0 {
            None => Meaning::Itself,
            Some(names) => match names.get(name) {
                Some(word) => Meaning::Other(*word),
                None if name.starts_with(OURS) => Meaning::Nobody,
                None => Meaning::Itself,
            },
        }
    }
}
