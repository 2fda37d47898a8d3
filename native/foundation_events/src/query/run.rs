//! Running a query: the index that leaves least to look at, then the condition, then the page.
//!
//! In order of time the candidates are looked at in that order and the page ends when it is full. In any other order
//! each candidate is looked at, and the first `limit` behind the cursor are kept on the way.

use super::cond::{Field, matches};
use super::cursor::{read_time_cursor, write_time_cursor};
use super::parse::{Order, Query};
use super::plan::{Plan, time_bounds};
use super::sort::{SortKey, read_sorted_cursor};
use crate::event::{Event, View};
use crate::index::Found;
use crate::store::scan::{after, before};
use crate::time_index::Key;
use crate::{Error, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A page holds at most these many bytes of records, and at least one event.
const PAGE_BYTES: usize = 16 << 20;
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
        Ok(self.sorted_page(query, &best, plan.name(), scanned, f))
    }

    fn sorted_page(
        &self,
        query: &Query,
        best: &BTreeMap<SortKey, Found>,
        plan: &'static str,
        scanned: u64,
        f: &mut dyn FnMut(&Event<'_>),
    ) -> Page {
        let mut page = Page {
            plan,
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
        page
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
