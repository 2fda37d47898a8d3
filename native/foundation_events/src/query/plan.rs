//! Choosing how the candidates of a query are found: the index that leaves least to look at.

use super::cond::{Comparison, Cond, Field, Path, Test};
use crate::Store;
use crate::etf::{self, Term};
use crate::event::Correlation;
use crate::index::{Found, List};
use crate::symbols;
use crate::time_index::Key;

/// A correlation's or parent's events are counted up to this many to choose an index.
const COUNTED: usize = 1_000;

pub(super) enum Plan<'q> {
    Ids(Vec<u64>),
    List(&'static str, List<'q>),
    Nothing(&'static str),
    Time(Key, Key),
}

impl Store {
    pub(super) fn plan<'q>(&self, cond: &'q Cond, (low, high): (i64, i64)) -> Plan<'q> {
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
    pub(super) fn candidates(&self, plan: &Plan<'_>) -> Option<Vec<Found>> {
        let mut found = match plan {
            Plan::Ids(ids) => ids.iter().filter_map(|id| self.find(*id)).collect(),
            Plan::List(_, list) => self.collect(*list),
            Plan::Nothing(_) => Vec::new(),
            Plan::Time(..) => return None,
        };
        found.sort_unstable_by_key(Found::key);
        Some(found)
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
    pub(super) fn name(&self) -> &'static str {
        match self {
            Plan::Ids(_) => "id",
            Plan::List(name, _) | Plan::Nothing(name) => name,
            Plan::Time((i64::MIN, _), (i64::MAX, _)) => "scan",
            Plan::Time(..) => "time",
        }
    }
}

fn symbol(name: &[u8]) -> Option<symbols::Symbol> {
    std::str::from_utf8(name).ok().and_then(symbols::find)
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
pub(super) fn time_bounds(cond: &Cond) -> (i64, i64) {
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
