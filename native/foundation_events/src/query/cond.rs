//! Conditions, and what they say about a record.

use crate::etf::{self, Term};
use crate::event::{View, Wall};
use crate::pid::Pid;
use crate::symbols::{self, Symbol};
use regex::bytes::Regex;
use std::cmp::Ordering;

/// A field of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Id,
    Kind,
    Timestamp,
    Wall,
    Node,
    Pid,
    Correlation,
    Parent,
    Data,
}

/// A field, and where to go from there; each step is a key as external term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) field: Field,
    pub(crate) steps: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Test {
    Compare(Comparison, Vec<u8>),
    In(Vec<Vec<u8>>),
    Between(Vec<u8>, Vec<u8>),
    Prefix(Vec<u8>),
    Regex(Box<Regex>),
    Exists,
}

#[derive(Debug, Clone)]
pub(crate) enum Cond {
    All(Vec<Cond>),
    Any(Vec<Cond>),
    Not(Box<Cond>),
    Test(Path, Test),
}

/// A condition on events.
#[derive(Debug, Clone)]
pub struct Filter(pub(crate) Cond);

impl Filter {
    pub(crate) fn matches(&self, view: &View<'_>) -> bool {
        matches(&self.0, view)
    }
}

pub(crate) fn matches(cond: &Cond, view: &View<'_>) -> bool {
    match cond {
        Cond::All(all) => all.iter().all(|c| matches(c, view)),
        Cond::Any(any) => any.iter().any(|c| matches(c, view)),
        Cond::Not(inner) => !matches(inner, view),
        Cond::Test(path, test) => with(path, view, |value| value.is_some_and(|v| holds(test, &v))),
    }
}

/// The value a path leads to, if there is one. A field that is nil has the value nil, but does not exist.
pub(crate) struct Value<'a> {
    pub(crate) term: Term<'a>,
    exists: bool,
}

const NIL: Value<'static> = Value {
    term: Term::Atom(b"nil"),
    exists: false,
};

fn some(term: Term<'_>) -> Value<'_> {
    Value { term, exists: true }
}

pub(crate) fn with<R>(path: &Path, view: &View<'_>, f: impl FnOnce(Option<Value<'_>>) -> R) -> R {
    match path.field {
        Field::Id => f(Some(some(Term::Int(view.id as i64)))),
        Field::Timestamp => f(Some(some(Term::Int(view.timestamp)))),
        Field::Parent => f(Some(view.parent.map_or(NIL, |p| some(Term::Int(p as i64))))),
        Field::Kind => with_name(Some(view.kind), f),
        Field::Node => with_name(view.node, f),
        Field::Correlation => {
            let mut buffer = [0; 36];
            let text = view.correlation.as_ref().map(|c| c.text(&mut buffer));
            f(Some(text.map_or(NIL, |t| some(Term::Bin(t)))))
        }
        Field::Wall => match view.wall {
            None => f(Some(NIL)),
            Some(Wall::Utc { micros, .. }) => f(Some(some(Term::Int(micros)))),
            Some(Wall::Term(bytes)) => f(inside(bytes, &path.steps)),
        },
        Field::Pid => match view.pid {
            None => f(Some(NIL)),
            Some(Pid::Term(term)) => f(inside(term, &path.steps)),
            Some(Pid::Parts(parts)) => f(inside(&parts.term(), &path.steps)),
        },
        Field::Data => f(inside(view.data, &path.steps)),
    }
}

fn with_name<R>(symbol: Option<Symbol>, f: impl FnOnce(Option<Value<'_>>) -> R) -> R {
    match symbol.and_then(symbols::name) {
        Some(name) => f(Some(some(Term::Atom(name.as_bytes())))),
        None => f(Some(NIL)),
    }
}

fn inside<'a>(bytes: &'a [u8], steps: &[Vec<u8>]) -> Option<Value<'a>> {
    let mut at = etf::body(bytes)?;
    for (i, step) in steps.iter().enumerate() {
        match etf::get(at, step)? {
            etf::Found::Term(found) => at = found,
            etf::Found::Byte(byte) => {
                return (i + 1 == steps.len()).then(|| some(Term::Int(i64::from(byte))));
            }
        }
    }
    Some(some(etf::read(at)?))
}

fn holds(test: &Test, value: &Value<'_>) -> bool {
    let order = |bytes: &[u8]| etf::read(bytes).and_then(|t| etf::compare_heads(&value.term, &t, false));
    match test {
        Test::Exists => value.exists,
        Test::Compare(comparison, bytes) => order(bytes).is_some_and(|o| comparison.holds(o)),
        Test::In(list) => list.iter().any(|bytes| order(bytes) == Some(Ordering::Equal)),
        Test::Between(low, high) => {
            order(low).is_some_and(Ordering::is_ge) && order(high).is_some_and(Ordering::is_le)
        }
        Test::Prefix(prefix) => text(&value.term).is_some_and(|t| t.starts_with(prefix)),
        Test::Regex(regex) => text(&value.term).is_some_and(|t| regex.is_match(t)),
    }
}

fn text<'a>(term: &Term<'a>) -> Option<&'a [u8]> {
    match term {
        Term::Bin(bytes) | Term::Atom(bytes) => Some(bytes),
        _ => None,
    }
}
