//! Where an event stands in an order other than by time, also as a cursor.

use super::cond::with;
use super::cursor::bad_cursor;
use super::parse::Order;
use crate::Error;
use crate::codec::{Reader, put_bytes, put_u64};
use crate::etf::{self, Term};
use crate::event::View;
use std::cmp::Ordering;

/// Where an event stands in an order: its values, missing ones last, then its id.
pub(super) struct SortKey {
    values: Vec<(Option<Vec<u8>>, bool)>,
    id: u64,
}

impl SortKey {
    pub(super) fn of(view: &View<'_>, order: &[Order], directions: &[bool]) -> SortKey {
        let value = |o: &Order| with(&o.path, view, |v| v.and_then(|v| write_term(&v.term)));
        let values = order.iter().map(value).zip(directions.iter().copied()).collect();
        SortKey { values, id: view.id }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut cursor = vec![b'S'];
        put_u64(&mut cursor, self.values.len() as u64);
        for (value, descending) in &self.values {
            cursor.push(u8::from(value.is_some()) | u8::from(*descending) << 1);
            if let Some(value) = value {
                put_bytes(&mut cursor, value);
            }
        }
        put_u64(&mut cursor, self.id);
        cursor
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        for ((a, descending), (b, _)) in self.values.iter().zip(&other.values) {
            let order = match (a, b) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => return Ordering::Greater,
                (Some(_), None) => return Ordering::Less,
                (Some(a), Some(b)) => etf::compare(a, b, false).unwrap_or_else(|| a.cmp(b)),
            };
            let order = if *descending { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        let descending = self.values.first().is_some_and(|(_, descending)| *descending);
        let ids = self.id.cmp(&other.id);
        if descending { ids.reverse() } else { ids }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SortKey {}

/// A term again as bytes; None for what is larger than a sort key may be.
fn write_term(term: &Term<'_>) -> Option<Vec<u8>> {
    let sized = |tag: u8, bytes: &[u8]| {
        let mut out = vec![tag];
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
        out
    };
    let children = |tag: u8, n: usize, per: usize, tail: usize, rest: &[u8]| {
        let mut len = 0;
        for _ in 0..n * per + tail {
            len += etf::size(rest.get(len..)?)?;
        }
        let mut out = vec![tag];
        out.extend_from_slice(&(n as u32).to_be_bytes());
        out.extend_from_slice(&rest[..len]);
        Some(out)
    };
    let bytes = match term {
        Term::Int(n) => {
            let mut out = vec![110, 8, u8::from(*n < 0)];
            out.extend_from_slice(&n.unsigned_abs().to_le_bytes());
            out
        }
        Term::Big(negative, digits) => {
            let mut out = vec![111];
            out.extend_from_slice(&(digits.len() as u32).to_be_bytes());
            out.push(u8::from(*negative));
            out.extend_from_slice(digits);
            out
        }
        Term::Float(f) => [&[70][..], &f.to_be_bytes()].concat(),
        Term::Atom(name) => [&[118][..], &(name.len() as u16).to_be_bytes(), name].concat(),
        Term::Latin(name) => [&[100][..], &(name.len() as u16).to_be_bytes(), name].concat(),
        Term::Opaque(_, bytes) => bytes.to_vec(),
        Term::Nil => vec![106],
        Term::Str(bytes) => [&[107][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat(),
        Term::Bin(bytes) => sized(109, bytes),
        Term::Bits(bytes, last) => {
            let mut out = vec![77];
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.push(*last);
            out.extend_from_slice(bytes);
            out
        }
        Term::Tuple(n, rest) => children(105, *n, 1, 0, rest)?,
        Term::Map(n, rest) => children(116, *n, 2, 0, rest)?,
        Term::List(n, rest) => children(108, *n, 1, 1, rest)?,
    };
    Some(bytes)
}

/// What [`SortKey::write`] wrote for that order.
pub(super) fn read_sorted_cursor(bytes: &[u8], order: &[Order]) -> Result<SortKey, Error> {
    let read = || -> Result<SortKey, Error> {
        let mut r = Reader::new(bytes);
        if r.byte()? != b'S' || r.u64()? != order.len() as u64 {
            return Err(bad_cursor());
        }
        let mut values = Vec::with_capacity(order.len());
        for o in order {
            let flags = r.byte()?;
            if (flags & 2 != 0) != o.descending {
                return Err(bad_cursor());
            }
            let value = if flags & 1 != 0 {
                Some(r.bytes()?.to_vec())
            } else {
                None
            };
            if value.as_ref().is_some_and(|v| etf::size(v) != Some(v.len())) {
                return Err(bad_cursor());
            }
            values.push((value, o.descending));
        }
        Ok(SortKey { values, id: r.u64()? })
    };
    read().map_err(|_| bad_cursor())
}
