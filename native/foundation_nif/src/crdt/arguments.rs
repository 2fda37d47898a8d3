//! Arguments: types, paths, operations and policies out of terms.

use super::name::{self, Room, Stop};
use super::names;
use crate::term;
use foundation_crdt::{Kind, Op, Sync};
use rustler::{Atom, Error, NifResult, Term};
use smallvec::SmallVec;
use std::time::Duration;

/// Bytes that a call on a normal scheduler writes or reads.
pub(super) const BRIEF_BYTES: usize = 32 << 10;
/// Parts of a path.
const MAX_PATH: usize = 16;
/// Deepest nesting of a type's description.
const MAX_KIND: usize = 8;

/// What a call on a normal scheduler writes.
pub(super) fn brief() -> Room {
    Room {
        terms: 2_000,
        bytes: BRIEF_BYTES,
    }
}

/// What a call on a dirty scheduler writes.
pub(super) fn whole() -> Room {
    Room {
        terms: usize::MAX,
        bytes: 9 << 20,
    }
}

/// The type that a term describes, `depth` levels down.
pub(super) fn kind(described: Term<'_>, depth: usize) -> NifResult<Kind> {
    if depth == MAX_KIND {
        return Err(Error::BadArg);
    }
    if let Ok((tag, inner)) = described.decode::<(Atom, Term<'_>)>() {
        if tag == names::or_map() {
            return Ok(Kind::OrMap(Box::new(kind(inner, depth + 1)?)));
        }
        if tag == names::record() {
            let mut fields = Vec::new();
            for field in term::list(inner, 256)? {
                let (name, described): (Term<'_>, Term<'_>) = field.decode()?;
                fields.push((one_name(name)?, kind(described, depth + 1)?));
            }
            return Ok(Kind::Record(fields));
        }
        return Err(Error::BadArg);
    }
    let plain: Atom = described.decode()?;
    let known = [
        (names::g_counter(), Kind::GCounter),
        (names::pn_counter(), Kind::PnCounter),
        (names::g_set(), Kind::GSet),
        (names::or_set(), Kind::OrSet),
        (names::rw_set(), Kind::RwSet),
        (names::lww_register(), Kind::Lww),
        (names::mv_register(), Kind::Mv),
        (names::ew_flag(), Kind::EwFlag),
        (names::dw_flag(), Kind::DwFlag),
        (names::lww_map(), Kind::LwwMap),
    ];
    let found = known.into_iter().find(|(name, _)| *name == plain);
    found.map(|(_, kind)| kind).ok_or(Error::BadArg)
}

fn one_name(term: Term<'_>) -> NifResult<Vec<u8>> {
    let mut bytes = Vec::new();
    name::write(term, &mut bytes, &mut brief()).map_err(|_| Error::BadArg)?;
    Ok(bytes)
}

/// The parts of a path, side by side.
pub(super) struct Path {
    bytes: Vec<u8>,
    ends: SmallVec<[usize; 4]>,
}

impl Path {
    pub(super) fn read(list: Term<'_>, room: &mut Room) -> NifResult<Result<Path, Stop>> {
        let mut path = Path {
            bytes: Vec::with_capacity(64),
            ends: SmallVec::new(),
        };
        let mut rest = list;
        while !rest.is_empty_list() {
            let (head, tail) = rest.list_get_cell()?;
            if path.ends.len() == MAX_PATH {
                return Err(Error::BadArg);
            }
            if let Err(stop) = name::write(head, &mut path.bytes, room) {
                return Ok(Err(stop));
            }
            path.ends.push(path.bytes.len());
            rest = tail;
        }
        Ok(Ok(path))
    }

    pub(super) fn parts(&self) -> SmallVec<[&[u8]; 4]> {
        let mut from = 0;
        let part = |end: &usize| {
            let part = &self.bytes[from..*end];
            from = *end;
            part
        };
        self.ends.iter().map(part).collect()
    }
}

/// An operation whose value, if it has one, stands in `value`.
pub(super) fn operation<'v>(
    op: Term<'_>,
    value: &'v mut Vec<u8>,
    room: &mut Room,
) -> NifResult<Result<Op<'v>, Stop>> {
    if let Ok((tag, argument)) = op.decode::<(Atom, Term<'_>)>() {
        if tag == names::assign() {
            if let Err(stop) = name::write(argument, value, room) {
                return Ok(Err(stop));
            }
            return Ok(Ok(Op::Assign(value)));
        }
        let n: u64 = argument.decode()?;
        if tag == names::increment() {
            return Ok(Ok(Op::Increment(n)));
        }
        if tag == names::decrement() {
            return Ok(Ok(Op::Decrement(n)));
        }
        return Err(Error::BadArg);
    }
    let plain: Atom = op.decode()?;
    let known = [
        (names::add(), Op::Add),
        (names::remove(), Op::Remove),
        (names::enable(), Op::Enable),
        (names::disable(), Op::Disable),
    ];
    let found = known.into_iter().find(|(name, _)| *name == plain);
    found.map(|(_, op)| Ok(op)).ok_or(Error::BadArg)
}

/// When what is written to a journal counts as stored.
pub(super) fn sync(term: Term<'_>) -> NifResult<Sync> {
    if let Ok((name, ms)) = term.decode::<(Atom, u64)>() {
        let valid = name == names::interval() && (1..=3_600_000).contains(&ms);
        return if valid {
            Ok(Sync::Interval(Duration::from_millis(ms)))
        } else {
            Err(Error::BadArg)
        };
    }
    match term.decode::<Atom>()? {
        name if name == names::always() => Ok(Sync::Always),
        name if name == names::os() => Ok(Sync::Os),
        _ => Err(Error::BadArg),
    }
}
