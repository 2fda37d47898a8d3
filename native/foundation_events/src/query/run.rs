//! Running a query: the index that leaves least to look at, then the condition, then the page.
//!
//! In order of time the candidates are looked at in that order and the page ends when it is full. In any other order
//! each candidate is looked at, and the first `limit` behind the cursor are kept on the way.

use super::cond::{Comparison, Cond, Field, Path, Test, matches, with};
use super::parse::{Order, Query};
use crate::codec::{Reader, put_bytes, put_i64, put_u64};
use crate::etf::{self, Term};
use crate::index::{Found, List};
use crate::record::{Correlation, Event, View};
use crate::store::scan::{after, before};
use crate::symbols;
use crate::time_index::Key;
use crate::{Error, Store};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A page holds at most these many bytes of records, and at least one event.
const PAGE_BYTES: usize = 16 << 20;
/// A correlation's or parent's events are counted up to this many to choose an index.
const COUNTED: usize = 1_000;
/// Candidates looked up together.
const STEP: usize = 256;

/// What a query found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The next page begins here; None when there is nothing more.
    pub cursor: Option<Vec<u8>>,
    /// Events looked at.
    pub scanned: u64,
    /// How the candidates were found: `id`, `correlation`, `parent`, `event_type`, `node`, `time` or `scan`.
    pub plan: &'static str,
}

enum Plan<'q> {
    Ids(Vec<u64>),
    List(&'static str, List<'q>),
    Nothing(&'static str),
    Time(Key, Key),
}

impl Store {
    /// Runs a query and gives the page's events to `f`, in order.
    ///
    /// # Errors
    /// `InvalidQuery` for a cursor of another query; `CostLimit` when an order other than by time would look at more
    /// than `max_scanned` events. (In order of time the page then ends early, and its cursor goes on.)
    pub fn search(&self, query: &Query, f: &mut dyn FnMut(&Event<'_>)) -> Result<Page, Error> {
        let (low, high) = time_bounds(&query.cond);
        let plan = self.plan(&query.cond, (low, high));
        match time_order(&query.order) {
            Some(descending) => self.search_in_time(query, plan, descending, f),
            None => self.search_sorted(query, plan, f),
        }
    }

    fn plan<'q>(&self, cond: &'q Cond, (low, high): (i64, i64)) -> Plan<'q> {
        let mut lists = Vec::new();
        let mut ids = None;
        conjuncts(cond, &mut |path, value| match (path.field, value) {
            (Field::Id, Term::Int(id)) => ids = Some(u64::try_from(id).into_iter().collect()),
            (Field::Correlation, Term::Bin(text)) => {
                lists.push(("correlation", Some(List::Correlation(Correlation::of(text)))));
            }
            (Field::Parent, Term::Int(parent)) => {
                lists.push(("parent", u64::try_from(parent).ok().map(List::Parent)));
            }
            (Field::Kind, Term::Atom(name)) => lists.push(("event_type", symbol(name).map(List::Kind))),
            (Field::Node, Term::Atom(name)) if name != b"nil" => {
                lists.push(("node", symbol(name).map(List::Node)));
            }
            _ => {}
        });
        if let Some(ids) = ids {
            return Plan::Ids(ids);
        }
        let mut total = 0;
        self.with_index(|index| total = index.len());
        let bounded = low > i64::MIN || high < i64::MAX;
        let best = lists
            .into_iter()
            .map(|(name, list)| (list.map_or(0, |l| self.count(l, COUNTED)), name, list))
            .min_by_key(|(count, ..)| *count);
        match best {
            Some((_, name, None)) => Plan::Nothing(name),
            Some((count, name, Some(list))) if count * 4 <= total || (!bounded && count < total) => {
                Plan::List(name, list)
            }
            _ => Plan::Time((low, 0), (high, u64::MAX)),
        }
    }

    /// Candidates that are listed rather than walked to, in order of time.
    fn candidates(&self, plan: &Plan<'_>) -> Option<Vec<Found>> {
        let mut found = match plan {
            Plan::Ids(ids) => ids.iter().filter_map(|id| self.find(*id)).collect(),
            Plan::List(_, list) => self.collect(*list),
            Plan::Nothing(_) => Vec::new(),
            Plan::Time(..) => return None,
        };
        found.sort_unstable_by_key(Found::key);
        Some(found)
    }

    fn search_in_time(
        &self,
        query: &Query,
        plan: Plan<'_>,
        descending: bool,
        f: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Page, Error> {
        let cursor = query.cursor.as_deref().map(read_time_cursor).transpose()?;
        let mut page = InTime {
            query,
            f,
            page: Page {
                plan: plan.name(),
                ..Page::default()
            },
            taken: 0,
            bytes: 0,
            last: None,
        };
        if let Some(mut found) = self.candidates(&plan) {
            if descending {
                found.reverse();
            }
            if let Some(cursor) = cursor {
                found.retain(|c| {
                    if descending {
                        c.key() < cursor
                    } else {
                        c.key() > cursor
                    }
                });
            }
            let _ = self.visit_all(&found, &mut |found, view| page.look(found, view));
            return Ok(page.finish());
        }
        let Plan::Time(low, high) = plan else {
            return Ok(page.finish());
        };
        let (mut from, to) = if descending { (high, low) } else { (low, high) };
        match cursor.map(|key| if descending { before(key) } else { after(key) }) {
            Some(None) => return Ok(page.finish()),
            Some(Some(key)) => from = if descending { from.min(key) } else { from.max(key) },
            None => {}
        }
        let mut step = Vec::with_capacity(STEP);
        let mut stopped = false;
        self.scan(from, to, descending, &mut |found, _| {
            step.push(*found);
            if step.len() < STEP {
                return ControlFlow::Continue(());
            }
            let flow = self.visit(&step, &mut |found, view| page.look(found, view));
            step.clear();
            stopped = flow.is_break();
            flow
        });
        if !stopped {
            let _ = self.visit(&step, &mut |found, view| page.look(found, view));
        }
        Ok(page.finish())
    }

    fn visit_all(
        &self,
        found: &[Found],
        f: &mut dyn FnMut(&Found, &View<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for step in found.chunks(STEP) {
            self.visit(step, f)?;
        }
        ControlFlow::Continue(())
    }

    fn search_sorted(
        &self,
        query: &Query,
        plan: Plan<'_>,
        f: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Page, Error> {
        let cursor = query
            .cursor
            .as_deref()
            .map(|c| read_sorted_cursor(c, &query.order))
            .transpose()?;
        let directions: Vec<bool> = query.order.iter().map(|o| o.descending).collect();
        let mut best: BTreeMap<SortKey, Found> = BTreeMap::new();
        let mut scanned = 0;
        let mut look = |found: &Found, view: &View<'_>| {
            scanned += 1;
            if scanned > query.max_scanned {
                return ControlFlow::Break(());
            }
            if matches(&query.cond, view) {
                let key = SortKey::of(view, &query.order, &directions);
                let behind = cursor.as_ref().is_none_or(|c| key > *c);
                // One more than the page holds: it tells whether there is a next one.
                let full = best.len() > query.limit;
                if behind && (!full || best.last_key_value().is_some_and(|(last, _)| key < *last)) {
                    best.insert(key, *found);
                    if best.len() > query.limit + 1 {
                        best.pop_last();
                    }
                }
            }
            ControlFlow::Continue(())
        };
        if let Some(found) = self.candidates(&plan) {
            let _ = self.visit_all(&found, &mut look);
        } else if let Plan::Time(low, high) = plan {
            let mut step = Vec::with_capacity(STEP);
            self.scan(low, high, false, &mut |found, _| {
                step.push(*found);
                if step.len() < STEP {
                    return ControlFlow::Continue(());
                }
                let flow = self.visit(&step, &mut look);
                step.clear();
                flow
            });
            let _ = self.visit(&step, &mut look);
        }
        if scanned > query.max_scanned {
            return Err(Error::CostLimit {
                scanned: query.max_scanned,
                max: query.max_scanned,
            });
        }
        let mut page = Page {
            plan: plan.name(),
            scanned,
            cursor: None,
        };
        let mut bytes = 0;
        let total = best.len();
        for (i, (key, found)) in best.iter().enumerate().take(query.limit) {
            let _ = self.visit(std::slice::from_ref(found), &mut |_, view| {
                bytes += view.data.len();
                f(&view.event(&mut [0; 36]));
                ControlFlow::Continue(())
            });
            if i + 1 < total && (i + 1 == query.limit || bytes > PAGE_BYTES) {
                page.cursor = Some(key.write());
                break;
            }
        }
        Ok(page)
    }

    fn find(&self, id: u64) -> Option<Found> {
        let mut found = None;
        self.with_index(|index| found = index.find(id).map(|slot| index.found(slot)));
        found
    }

    fn count(&self, list: List<'_>, limit: usize) -> usize {
        let mut count = 0;
        self.with_index(|index| count = index.count(list, limit));
        count
    }
}

impl Plan<'_> {
    fn name(&self) -> &'static str {
        match self {
            Plan::Ids(_) => "id",
            Plan::List(name, _) | Plan::Nothing(name) => name,
            Plan::Time((i64::MIN, _), (i64::MAX, _)) => "scan",
            Plan::Time(..) => "time",
        }
    }
}

/// A page in the making, in order of time.
struct InTime<'q, 'f> {
    query: &'q Query,
    f: &'f mut dyn FnMut(&Event<'_>),
    page: Page,
    taken: usize,
    bytes: usize,
    last: Option<Key>,
}

impl InTime<'_, '_> {
    fn look(&mut self, found: &Found, view: &View<'_>) -> ControlFlow<()> {
        let full = self.taken == self.query.limit || self.bytes > PAGE_BYTES;
        // Whether there is a next page is known when another match shows up, or when looking costs too much.
        if self.page.scanned == self.query.max_scanned {
            self.page.cursor = self.last.map(write_time_cursor);
            return ControlFlow::Break(());
        }
        self.page.scanned += 1;
        if matches(&self.query.cond, view) {
            if full {
                self.page.cursor = self.last.map(write_time_cursor);
                return ControlFlow::Break(());
            }
            self.taken += 1;
            self.bytes += view.data.len();
            (self.f)(&view.event(&mut [0; 36]));
            self.last = Some(found.key());
        } else if !full {
            self.last = Some(found.key());
        }
        ControlFlow::Continue(())
    }

    fn finish(self) -> Page {
        self.page
    }
}

fn symbol(name: &[u8]) -> Option<symbols::Symbol> {
    std::str::from_utf8(name).ok().and_then(symbols::find)
}

/// True for descending; None for an order that is not by time.
fn time_order(order: &[Order]) -> Option<bool> {
    match order {
        [] => Some(false),
        [first, rest @ ..] if first.path.field == Field::Timestamp => match rest {
            [] => Some(first.descending),
            [second, ..] if second.path.field == Field::Id && second.descending == first.descending => {
                Some(first.descending)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Gives the equalities that must hold to `f`.
fn conjuncts<'q>(cond: &'q Cond, f: &mut dyn FnMut(&Path, Term<'q>)) {
    match cond {
        Cond::All(all) => all.iter().for_each(|c| conjuncts(c, f)),
        Cond::Test(path, Test::Compare(Comparison::Equal, value)) => {
            if let Some(term) = etf::read(value) {
                f(path, term);
            }
        }
        Cond::Test(path, Test::In(values)) if values.len() == 1 => {
            if let Some(term) = etf::read(&values[0]) {
                f(path, term);
            }
        }
        _ => {}
    }
}

/// The timestamps outside of which the condition cannot hold.
fn time_bounds(cond: &Cond) -> (i64, i64) {
    let (mut low, mut high) = (i64::MIN, i64::MAX);
    let int = |bytes: &[u8]| match etf::read(bytes) {
        Some(Term::Int(n)) => Some(n),
        _ => None,
    };
    match cond {
        Cond::All(all) => {
            for (l, h) in all.iter().map(time_bounds) {
                low = low.max(l);
                high = high.min(h);
            }
        }
        Cond::Test(
            Path {
                field: Field::Timestamp,
                ..
            },
            test,
        ) => match test {
            Test::Compare(op, value) => {
                if let Some(n) = int(value) {
                    match op {
                        Comparison::Equal => (low, high) = (n, n),
                        Comparison::Less => high = n.saturating_sub(1),
                        Comparison::LessOrEqual => high = n,
                        Comparison::Greater => low = n.saturating_add(1),
                        Comparison::GreaterOrEqual => low = n,
                        Comparison::Unequal => {}
                    }
                }
            }
            Test::Between(a, b) => {
                low = int(a).unwrap_or(low);
                high = int(b).unwrap_or(high);
            }
            _ => {}
        },
        _ => {}
    }
    (low, high)
}

/// Where an event stands in an order: its values, missing ones last, then its id.
struct SortKey {
    values: Vec<(Option<Vec<u8>>, bool)>,
    id: u64,
}

impl SortKey {
    fn of(view: &View<'_>, order: &[Order], directions: &[bool]) -> SortKey {
        let value = |o: &Order| with(&o.path, view, |v| v.and_then(|v| write_term(&v.term)));
        let values = order.iter().map(value).zip(directions.iter().copied()).collect();
        SortKey { values, id: view.id }
    }

    fn write(&self) -> Vec<u8> {
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

fn bad_cursor() -> Error {
    Error::InvalidQuery("the cursor is not one of this query".into())
}

fn write_time_cursor(key: Key) -> Vec<u8> {
    let mut cursor = vec![b'T'];
    put_i64(&mut cursor, key.0);
    put_u64(&mut cursor, key.1);
    cursor
}

fn read_time_cursor(bytes: &[u8]) -> Result<Key, Error> {
    let mut r = Reader::new(bytes);
    match r.byte() {
        Ok(b'T') => Ok((
            r.i64().map_err(|_| bad_cursor())?,
            r.u64().map_err(|_| bad_cursor())?,
        )),
        _ => Err(bad_cursor()),
    }
}

fn read_sorted_cursor(bytes: &[u8], order: &[Order]) -> Result<SortKey, Error> {
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
