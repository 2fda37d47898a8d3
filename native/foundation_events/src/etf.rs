//! Reads external terms where they lie: bounded, without atoms, without copies, without recursion that input decides.

use std::cmp::Ordering;

/// Comparing looks no deeper than this; below it terms are compared as bytes.
pub const MAX_DEPTH: usize = 128;

/// The head of a term; containers carry the bytes that follow it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Term<'a> {
    /// An integer of 64 bits.
    Int(i64),
    /// A larger one: sign and little-endian magnitude.
    Big(bool, &'a [u8]),
    /// A float.
    Float(f64),
    /// An atom whose name is UTF-8.
    Atom(&'a [u8]),
    /// An atom whose name is Latin-1.
    Latin(&'a [u8]),
    /// A reference, function, port or pid, in that order of kinds: 2, 3, 4, 5.
    Opaque(u8, &'a [u8]),
    /// Size and elements.
    Tuple(usize, &'a [u8]),
    /// Size and pairs.
    Map(usize, &'a [u8]),
    /// The empty list.
    Nil,
    /// Length, elements and then a tail.
    List(usize, &'a [u8]),
    /// A list of bytes.
    Str(&'a [u8]),
    /// A binary.
    Bin(&'a [u8]),
    /// A bit string and how many bits of its last byte count.
    Bits(&'a [u8], u8),
}

fn be<const N: usize>(b: &[u8], at: usize) -> Option<[u8; N]> {
    b.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(b: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(be(b, at)?)))
}

fn u32_at(b: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_be_bytes(be(b, at)?) as usize)
}

/// The term behind a version byte, as `term_to_binary` writes it.
pub fn body(bytes: &[u8]) -> Option<&[u8]> {
    (*bytes.first()? == 131).then(|| &bytes[1..])
}

/// Bytes of the term's own head, and how many terms follow that belong to it. None for what is not a term.
fn head(b: &[u8]) -> Option<(usize, usize)> {
    let fixed = |n: usize| Some((n, 0));
    let (len, children) = match *b.first()? {
        97 => fixed(2)?,
        98 => fixed(5)?,
        70 => fixed(9)?,
        99 => fixed(32)?,
        106 => fixed(1)?,
        100 | 118 => fixed(3 + u16_at(b, 1)?)?,
        115 | 119 => fixed(2 + usize::from(*b.get(1)?))?,
        107 => fixed(3 + u16_at(b, 1)?)?,
        109 => fixed(5 + u32_at(b, 1)?)?,
        77 => fixed(6 + u32_at(b, 1)?)?,
        110 => fixed(3 + usize::from(*b.get(1)?))?,
        111 => fixed(6 + u32_at(b, 1)?)?,
        112 => fixed(1 + u32_at(b, 1)?.max(4))?,
        104 => (2, usize::from(*b.get(1)?)),
        105 => (5, u32_at(b, 1)?),
        108 => (5, u32_at(b, 1)?.checked_add(1)?),
        116 => (5, u32_at(b, 1)?.checked_mul(2)?),
        113 => (1, 3),
        88 => (1 + after_atom(b, 1, 12)?, 0),
        89 => (1 + after_atom(b, 1, 8)?, 0),
        120 => (1 + after_atom(b, 1, 12)?, 0),
        101 | 102 => (1 + after_atom(b, 1, 5)?, 0),
        103 => (1 + after_atom(b, 1, 9)?, 0),
        90 => (3 + after_atom(b, 3, 4 + 4 * u16_at(b, 1)?)?, 0),
        114 => (3 + after_atom(b, 3, 1 + 4 * u16_at(b, 1)?)?, 0),
        _ => return None,
    };
    (len <= b.len()).then_some((len, children))
}

fn after_atom(b: &[u8], at: usize, more: usize) -> Option<usize> {
    let len = match *b.get(at)? {
        100 | 118 => 3 + u16_at(b, at + 1)?,
        115 | 119 => 2 + usize::from(*b.get(at + 1)?),
        _ => return None,
    };
    Some(len + more)
}

/// Bytes of the term at the start of `b`. O(its size), iterative.
pub fn size(b: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    let mut pending = 1usize;
    while pending > 0 {
        let (len, children) = head(b.get(at..)?)?;
        at += len;
        pending = (pending - 1).checked_add(children)?;
        // Every term takes at least one byte: more of them than bytes are left cannot be.
        if pending > b.len() - at {
            return None;
        }
    }
    Some(at)
}

/// The head of the term at the start of `b`.
pub fn read(b: &[u8]) -> Option<Term<'_>> {
    let (len, _) = head(b)?;
    Some(match b[0] {
        97 => Term::Int(i64::from(b[1])),
        98 => Term::Int(i64::from(i32::from_be_bytes(be(b, 1)?))),
        70 => Term::Float(f64::from_be_bytes(be(b, 1)?)),
        99 => Term::Float(
            std::str::from_utf8(&b[1..32])
                .ok()?
                .trim_end_matches('\0')
                .parse()
                .ok()?,
        ),
        106 => Term::Nil,
        118 => Term::Atom(&b[3..len]),
        119 => Term::Atom(&b[2..len]),
        100 => latin(&b[3..len]),
        115 => latin(&b[2..len]),
        107 => Term::Str(&b[3..len]),
        109 => Term::Bin(&b[5..len]),
        77 => Term::Bits(&b[6..len], b[5]),
        110 => big(b[2] != 0, &b[3..len]),
        111 => big(b[5] != 0, &b[6..len]),
        104 => Term::Tuple(usize::from(b[1]), &b[2..]),
        105 => Term::Tuple(u32_at(b, 1)?, &b[5..]),
        108 => Term::List(u32_at(b, 1)?, &b[5..]),
        116 => Term::Map(u32_at(b, 1)?, &b[5..]),
        90 | 101 | 114 => Term::Opaque(2, b.get(..len)?),
        112 => Term::Opaque(3, b.get(..len)?),
        113 => Term::Opaque(3, b.get(..size(b)?)?),
        89 | 102 | 120 => Term::Opaque(4, b.get(..len)?),
        88 | 103 => Term::Opaque(5, b.get(..len)?),
        _ => return None,
    })
}

fn latin(name: &[u8]) -> Term<'_> {
    if name.is_ascii() {
        Term::Atom(name)
    } else {
        Term::Latin(name)
    }
}

fn big(negative: bool, digits: &[u8]) -> Term<'_> {
    let used = digits.len() - digits.iter().rev().take_while(|d| **d == 0).count();
    let digits = &digits[..used];
    if used <= 8 {
        let mut word = [0u8; 8];
        word[..used].copy_from_slice(digits);
        let magnitude = u64::from_le_bytes(word);
        if !negative && magnitude <= i64::MAX as u64 {
            return Term::Int(magnitude as i64);
        }
        if negative && magnitude <= 1 << 63 {
            return Term::Int((magnitude as i64).wrapping_neg());
        }
    }
    Term::Big(negative, digits)
}

/// Compares two terms in Erlang's order. `exact` tells 1 from 1.0. None when either is damaged.
pub fn compare(a: &[u8], b: &[u8], exact: bool) -> Option<Ordering> {
    compare_terms(&read(a)?, &read(b)?, exact, 0)
}

/// As `compare`, for terms whose heads are read.
pub fn compare_heads(a: &Term<'_>, b: &Term<'_>, exact: bool) -> Option<Ordering> {
    compare_terms(a, b, exact, 0)
}

fn rank(t: &Term<'_>) -> u8 {
    match t {
        Term::Int(_) | Term::Big(..) | Term::Float(_) => 0,
        Term::Atom(_) | Term::Latin(_) => 1,
        Term::Opaque(kind, _) => *kind,
        Term::Tuple(..) => 6,
        Term::Map(..) => 7,
        Term::Nil => 8,
        Term::List(..) | Term::Str(_) => 9,
        Term::Bin(_) | Term::Bits(..) => 10,
    }
}

fn compare_terms(a: &Term<'_>, b: &Term<'_>, exact: bool, depth: usize) -> Option<Ordering> {
    let ranks = rank(a).cmp(&rank(b));
    if ranks != Ordering::Equal {
        return Some(ranks);
    }
    match (a, b) {
        (Term::Tuple(n, x), Term::Tuple(m, y)) => match n.cmp(m) {
            Ordering::Equal => sequence(*n, x, y, exact, depth),
            other => Some(other),
        },
        (Term::Map(n, x), Term::Map(m, y)) => match n.cmp(m) {
            Ordering::Equal => maps(*n, x, y, exact, depth),
            other => Some(other),
        },
        (Term::Opaque(_, x), Term::Opaque(_, y)) => Some(x.cmp(y)),
        (Term::Bin(x), Term::Bin(y)) => Some(x.cmp(y)),
        (Term::Bin(_) | Term::Bits(..), _) => Some(bits(a).cmp(bits(b))),
        (Term::Atom(x), Term::Atom(y)) => Some(x.cmp(y)),
        (Term::Atom(_) | Term::Latin(_), _) => Some(chars(a).cmp(&chars(b))),
        (Term::List(..) | Term::Str(_), _) => lists(a, b, exact, depth),
        (Term::Nil, _) => Some(Ordering::Equal),
        _ => numbers(a, b, exact),
    }
}

fn chars(t: &Term<'_>) -> Vec<char> {
    match t {
        Term::Latin(name) => name.iter().map(|b| char::from(*b)).collect(),
        Term::Atom(name) => String::from_utf8_lossy(name).chars().collect(),
        _ => Vec::new(),
    }
}

fn bits<'t>(t: &'t Term<'_>) -> impl Iterator<Item = bool> + 't {
    let (bytes, last) = match t {
        Term::Bin(bytes) => (*bytes, 8),
        Term::Bits(bytes, last) => (*bytes, (*last).clamp(1, 8)),
        _ => (&[][..], 8),
    };
    let count = (bytes.len() * 8).saturating_sub(8 - usize::from(last));
    (0..count).map(move |i| bytes[i / 8] >> (7 - i % 8) & 1 == 1)
}

fn numbers(a: &Term<'_>, b: &Term<'_>, exact: bool) -> Option<Ordering> {
    let order = match (a, b) {
        (Term::Int(x), Term::Int(y)) => return Some(x.cmp(y)),
        (Term::Float(x), Term::Float(y)) => return Some(x.partial_cmp(y).unwrap_or(Ordering::Equal)),
        (Term::Big(..), Term::Int(_)) => return Some(sign(a)),
        (Term::Int(_), Term::Big(..)) => return Some(sign(b).reverse()),
        (Term::Big(s, x), Term::Big(t, y)) => {
            let magnitude = x
                .len()
                .cmp(&y.len())
                .then_with(|| x.iter().rev().cmp(y.iter().rev()));
            return Some(match (s, t) {
                (false, true) => Ordering::Greater,
                (true, false) => Ordering::Less,
                (false, false) => magnitude,
                (true, true) => magnitude.reverse(),
            });
        }
        (Term::Int(x), Term::Float(y)) => int_float(*x, *y),
        (Term::Float(x), Term::Int(y)) => int_float(*y, *x).reverse(),
        (Term::Big(s, x), Term::Float(y)) => big_float(*s, x).partial_cmp(y).unwrap_or(Ordering::Equal),
        (Term::Float(x), Term::Big(s, y)) => x.partial_cmp(&big_float(*s, y)).unwrap_or(Ordering::Equal),
        _ => return None,
    };
    // An integer and a float that are equal are told apart as keys: the integer comes first.
    let by_type = if matches!(a, Term::Float(_)) {
        Ordering::Greater
    } else {
        Ordering::Less
    };
    Some(if exact { order.then(by_type) } else { order })
}

fn sign(t: &Term<'_>) -> Ordering {
    if matches!(t, Term::Big(true, _)) {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

fn int_float(i: i64, f: f64) -> Ordering {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if f >= TWO_63 {
        return Ordering::Less;
    }
    if f < -TWO_63 {
        return Ordering::Greater;
    }
    let whole = f.trunc();
    i.cmp(&(whole as i64))
        .then_with(|| 0.0f64.partial_cmp(&(f - whole)).unwrap_or(Ordering::Equal))
}

fn big_float(negative: bool, digits: &[u8]) -> f64 {
    let magnitude = digits
        .iter()
        .rev()
        .fold(0.0f64, |sum, d| sum * 256.0 + f64::from(*d));
    if negative { -magnitude } else { magnitude }
}

fn sequence(n: usize, mut x: &[u8], mut y: &[u8], exact: bool, depth: usize) -> Option<Ordering> {
    for _ in 0..n {
        let (i, j) = (size(x)?, size(y)?);
        let order = elements(&x[..i], &y[..j], exact, depth)?;
        if order != Ordering::Equal {
            return Some(order);
        }
        (x, y) = (&x[i..], &y[j..]);
    }
    Some(Ordering::Equal)
}

fn elements(x: &[u8], y: &[u8], exact: bool, depth: usize) -> Option<Ordering> {
    if x == y {
        return Some(Ordering::Equal);
    }
    if depth >= MAX_DEPTH {
        return Some(x.cmp(y));
    }
    compare_terms(&read(x)?, &read(y)?, exact, depth + 1)
}

fn maps(n: usize, x: &[u8], y: &[u8], exact: bool, depth: usize) -> Option<Ordering> {
    let (x, y) = (sorted(n, x, depth)?, sorted(n, y, depth)?);
    for ((k, _), (l, _)) in x.iter().zip(&y) {
        let order = elements(k, l, true, depth)?;
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    for ((_, v), (_, w)) in x.iter().zip(&y) {
        let order = elements(v, w, exact, depth)?;
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    Some(Ordering::Equal)
}

fn sorted(n: usize, mut b: &[u8], depth: usize) -> Option<Vec<(&[u8], &[u8])>> {
    let mut pairs = Vec::new();
    for _ in 0..n {
        let (k, rest) = b.split_at(size(b)?);
        let (v, rest) = rest.split_at(size(rest)?);
        pairs.push((k, v));
        b = rest;
    }
    pairs.sort_by(|a, b| elements(a.0, b.0, true, depth).unwrap_or(Ordering::Equal));
    Some(pairs)
}

/// The elements of a list, and what is behind them when it is not the empty list.
struct Cells<'a> {
    left: usize,
    rest: &'a [u8],
    bytes: bool,
    scratch: [u8; 2],
}

fn cells<'a>(t: &Term<'a>) -> Cells<'a> {
    match t {
        Term::List(n, rest) => Cells {
            left: *n,
            rest,
            bytes: false,
            scratch: [0; 2],
        },
        Term::Str(rest) => Cells {
            left: rest.len(),
            rest,
            bytes: true,
            scratch: [0; 2],
        },
        _ => Cells {
            left: 0,
            rest: &[106],
            bytes: false,
            scratch: [0; 2],
        },
    }
}

fn lists(a: &Term<'_>, b: &Term<'_>, exact: bool, depth: usize) -> Option<Ordering> {
    let (mut x, mut y) = (cells(a), cells(b));
    loop {
        match (x.left, y.left) {
            (0, _) | (_, 0) => return tails(&x, &y, exact, depth),
            _ => {
                let order = elements(x.next()?, y.next()?, exact, depth)?;
                if order != Ordering::Equal {
                    return Some(order);
                }
            }
        }
    }
}

impl<'a> Cells<'a> {
    fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        if self.bytes {
            self.scratch = [97, *self.rest.first()?];
            self.rest = &self.rest[1..];
            return Some(&self.scratch);
        }
        let (item, rest): (&'a [u8], &'a [u8]) = self.rest.split_at(size(self.rest)?);
        self.rest = rest;
        Some(item)
    }

    // What stands where this list has run out: its tail, or the rest of it as a list.
    fn remainder(&self) -> Option<Term<'a>> {
        match (self.left, self.bytes) {
            (0, true) => Some(Term::Nil),
            (0, false) => read(self.rest),
            (_, true) => Some(Term::Str(self.rest)),
            (n, false) => Some(Term::List(n, self.rest)),
        }
    }
}

fn tails(x: &Cells<'_>, y: &Cells<'_>, exact: bool, depth: usize) -> Option<Ordering> {
    if depth >= MAX_DEPTH {
        return Some(x.left.cmp(&y.left));
    }
    compare_terms(&x.remainder()?, &y.remainder()?, exact, depth + 1)
}

/// What `key` leads to in the term `b`: a map's value, a list's or tuple's element by position from 0, a keyword
/// list's value. None when there is nothing.
pub fn get<'a>(b: &'a [u8], key: &[u8]) -> Option<Found<'a>> {
    match (read(b)?, read(key)?) {
        (Term::Map(n, mut rest), wanted) => {
            for _ in 0..n {
                let (k, after) = rest.split_at(size(rest)?);
                let len = size(after)?;
                let same = k == key || compare_terms(&read(k)?, &wanted, true, 0)? == Ordering::Equal;
                if same {
                    return Some(Found::Term(&after[..len]));
                }
                rest = &after[len..];
            }
            None
        }
        (Term::Tuple(n, rest), Term::Int(i)) => nth(n, rest, i),
        (Term::List(n, rest), Term::Int(i)) => nth(n, rest, i),
        (Term::Str(bytes), Term::Int(i)) => bytes.get(usize::try_from(i).ok()?).map(|b| Found::Byte(*b)),
        (Term::List(n, mut rest), Term::Atom(_)) => {
            for _ in 0..n {
                let (item, after) = rest.split_at(size(rest)?);
                if let Some(Term::Tuple(2, pair)) = read(item) {
                    let (k, v) = pair.split_at(size(pair)?);
                    if k == key || compare(k, key, true)? == Ordering::Equal {
                        return Some(Found::Term(&v[..size(v)?]));
                    }
                }
                rest = after;
            }
            None
        }
        _ => None,
    }
}

/// A term inside another.
pub enum Found<'a> {
    /// Its bytes.
    Term(&'a [u8]),
    /// An element of a byte list.
    Byte(u8),
}

fn nth(n: usize, mut rest: &[u8], i: i64) -> Option<Found<'_>> {
    let i = usize::try_from(i).ok().filter(|i| *i < n)?;
    for _ in 0..i {
        rest = &rest[size(rest)?..];
    }
    Some(Found::Term(&rest[..size(rest)?]))
}
