//! Queries, read from the external term of `{where, order, limit, cursor, max_scanned}`.

use super::cond::{Comparison, Cond, Field, Filter, Path, Test};
use crate::Error;
use crate::etf::{self, Term};

/// Deepest nesting of conditions.
const MAX_DEPTH: usize = 64;
/// Most conditions.
const MAX_CONDITIONS: usize = 4096;
/// Most events of a page.
const MAX_LIMIT: usize = 10_000;
/// Bytes a compiled regular expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// One key to sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) descending: bool,
    pub(crate) path: Path,
}

/// A query, ready to run.
#[derive(Debug, Clone)]
pub struct Query {
    pub(crate) cond: Cond,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<Vec<u8>>,
    pub(crate) max_scanned: u64,
}

type Parsed<T> = Result<T, Error>;

fn invalid<T>(text: impl Into<String>) -> Parsed<T> {
    Err(Error::InvalidQuery(text.into()))
}

impl Query {
    /// Reads a query from `term_to_binary({where, order, limit, cursor, max_scanned})`.
    ///
    /// # Errors
    /// `InvalidQuery`.
    pub fn parse(bytes: &[u8]) -> Parsed<Query> {
        let parts = match etf::body(bytes).and_then(|b| Some((etf::size(b)?, b))) {
            Some((_, b)) => tuple(b)?,
            None => return invalid("not a term"),
        };
        let [cond, order, limit, cursor, max] = parts[..] else {
            return invalid("a query has five parts");
        };
        Ok(Query {
            cond: parse_cond(cond, 0, &mut 0)?,
            order: list(order)?
                .iter()
                .map(|o| parse_order(o))
                .collect::<Parsed<_>>()?,
            limit: match etf::read(limit) {
                Some(Term::Int(n @ 1..)) if n as usize <= MAX_LIMIT => n as usize,
                _ => return invalid(format!("limit: is a number from 1 to {MAX_LIMIT}")),
            },
            cursor: match etf::read(cursor) {
                Some(Term::Bin(b)) => Some(b.to_vec()),
                Some(Term::Atom(b"nil")) => None,
                _ => return invalid("cursor: is what an earlier page gave, or nil"),
            },
            max_scanned: match etf::read(max) {
                Some(Term::Int(n @ 1..)) => n as u64,
                _ => return invalid("max_scanned: is a positive number"),
            },
        })
    }
}

impl Filter {
    /// Reads a condition from `term_to_binary(where)`.
    ///
    /// # Errors
    /// `InvalidQuery`.
    pub fn parse(bytes: &[u8]) -> Parsed<Filter> {
        match etf::body(bytes).filter(|b| etf::size(b).is_some()) {
            Some(b) => Ok(Filter(parse_cond(b, 0, &mut 0)?)),
            None => invalid("not a term"),
        }
    }
}

fn parts(mut b: &[u8], n: usize) -> Parsed<Vec<&[u8]>> {
    let mut all = Vec::new();
    for _ in 0..n {
        let Some(len) = etf::size(b) else {
            return invalid("not a term");
        };
        all.push(&b[..len]);
        b = &b[len..];
    }
    Ok(all)
}

fn tuple(b: &[u8]) -> Parsed<Vec<&[u8]>> {
    match etf::read(b) {
        Some(Term::Tuple(n, rest)) if n <= 8 => parts(rest, n),
        _ => invalid("a condition is a tuple such as {:==, :event_type, :payment}"),
    }
}

// Elements of a proper list. A list of bytes is written as text by the external format, hence owned elements.
fn list(b: &[u8]) -> Parsed<Vec<Vec<u8>>> {
    match etf::read(b) {
        Some(Term::Nil) => Ok(Vec::new()),
        Some(Term::Str(bytes)) => Ok(bytes.iter().map(|b| vec![97, *b]).collect()),
        Some(Term::List(n, rest)) => {
            let mut all = parts(rest, n + 1)?;
            match all.pop().and_then(etf::read) {
                Some(Term::Nil) => Ok(all.into_iter().map(<[u8]>::to_vec).collect()),
                _ => invalid("an improper list"),
            }
        }
        _ => invalid("expected a list"),
    }
}

fn name(b: &[u8]) -> Option<&str> {
    match etf::read(b) {
        Some(Term::Atom(name)) => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

fn parse_cond(b: &[u8], depth: usize, count: &mut usize) -> Parsed<Cond> {
    *count += 1;
    if depth > MAX_DEPTH {
        return invalid(format!("conditions nest deeper than {MAX_DEPTH}"));
    }
    if *count > MAX_CONDITIONS {
        return invalid(format!("more than {MAX_CONDITIONS} conditions"));
    }
    let mut all = |b: &[u8]| -> Parsed<Vec<Cond>> {
        list(b)?.iter().map(|c| parse_cond(c, depth + 1, count)).collect()
    };
    match etf::read(b) {
        Some(Term::Atom(b"nil" | b"true")) => return Ok(Cond::All(Vec::new())),
        Some(Term::Nil | Term::List(..)) => return Ok(Cond::All(all(b)?)),
        _ => {}
    }
    let parts = tuple(b)?;
    let Some(op) = parts.first().and_then(|b| name(b)) else {
        return invalid("a condition begins with its operator");
    };
    match (op, &parts[1..]) {
        ("and", [conds]) => Ok(Cond::All(all(conds)?)),
        ("or", [conds]) => Ok(Cond::Any(all(conds)?)),
        ("not", [cond]) => Ok(Cond::Not(Box::new(parse_cond(cond, depth + 1, count)?))),
        (op, [path, rest @ ..]) => Ok(Cond::Test(parse_path(path)?, parse_test(op, rest)?)),
        (op, []) => invalid(format!("{op} lacks its operands")),
    }
}

fn parse_test(op: &str, operands: &[&[u8]]) -> Parsed<Test> {
    let comparison = |c, value: &[u8]| Ok(Test::Compare(c, value.to_vec()));
    match (op, operands) {
        ("==", [v]) => comparison(Comparison::Equal, v),
        ("!=", [v]) => comparison(Comparison::Unequal, v),
        ("<", [v]) => comparison(Comparison::Less, v),
        ("<=", [v]) => comparison(Comparison::LessOrEqual, v),
        (">", [v]) => comparison(Comparison::Greater, v),
        (">=", [v]) => comparison(Comparison::GreaterOrEqual, v),
        ("in", [values]) => Ok(Test::In(list(values)?)),
        ("between", [low, high]) => Ok(Test::Between(low.to_vec(), high.to_vec())),
        ("exists", []) => Ok(Test::Exists),
        ("prefix", [v]) => match etf::read(v) {
            Some(Term::Bin(prefix)) => Ok(Test::Prefix(prefix.to_vec())),
            _ => invalid("a prefix is a string"),
        },
        ("regex", [source]) => parse_regex(source),
        _ => invalid(format!(
            "unknown condition {op} with {} operands",
            operands.len() + 1
        )),
    }
}

fn parse_regex(source: &[u8]) -> Parsed<Test> {
    let Some(Term::Bin(source)) = etf::read(source) else {
        return invalid("a regular expression is a string or a ~r sigil");
    };
    let Ok(source) = std::str::from_utf8(source) else {
        return invalid("a regular expression is UTF-8");
    };
    match regex::bytes::RegexBuilder::new(source)
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .build()
    {
        Ok(regex) => Ok(Test::Regex(Box::new(regex))),
        Err(error) => invalid(format!("regular expression: {error}")),
    }
}

fn parse_path(b: &[u8]) -> Parsed<Path> {
    if name(b).is_some() {
        return Ok(Path {
            field: parse_field(b)?,
            steps: Vec::new(),
        });
    }
    let mut steps = match etf::read(b) {
        Some(Term::List(..)) => list(b)?,
        _ => return invalid("a path is a field, or a list that begins with one"),
    };
    let field = parse_field(&steps.remove(0))?;
    match field {
        Field::Data => Ok(Path { field, steps }),
        _ if steps.is_empty() => Ok(Path { field, steps }),
        _ => invalid("only :data has something inside"),
    }
}

fn parse_field(b: &[u8]) -> Parsed<Field> {
    match name(b) {
        Some("event_id") => Ok(Field::Id),
        Some("event_type") => Ok(Field::Kind),
        Some("timestamp") => Ok(Field::Timestamp),
        Some("wall_time") => Ok(Field::Wall),
        Some("node") => Ok(Field::Node),
        Some("pid") => Ok(Field::Pid),
        Some("correlation_id") => Ok(Field::Correlation),
        Some("parent_id") => Ok(Field::Parent),
        Some("data") => Ok(Field::Data),
        Some(other) => invalid(format!("an event has no field {other}")),
        None => invalid("a path begins with a field"),
    }
}

fn parse_order(b: &[u8]) -> Parsed<Order> {
    let [direction, path] = tuple(b)?[..] else {
        return invalid("order: is a list such as [desc: :timestamp]");
    };
    match name(direction) {
        Some("asc") => Ok(Order {
            descending: false,
            path: parse_path(path)?,
        }),
        Some("desc") => Ok(Order {
            descending: true,
            path: parse_path(path)?,
        }),
        _ => invalid("order: goes :asc or :desc"),
    }
}
