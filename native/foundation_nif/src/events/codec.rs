//! Events between terms and the core.

use super::etf::{self as write, Names};
use crate::key;
use foundation_events::symbols::{self, Symbol};
use foundation_events::{Event, Pid, PidParts, Wall, etf};
use rustler::sys::{ErlNifTerm, enif_get_tuple};
use rustler::{Atom, Binary, Encoder, Env, Error, NewBinary, NifResult, OwnedBinary, Term};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

mod names {
    rustler::atoms! {
        nil,
        struct_ = "__struct__",
        event_module = "Elixir.Foundation.Types.Event",
        event_type,
        event_id,
        timestamp,
        wall_time,
        node,
        pid,
        correlation_id,
        parent_id,
        data,
        datetime_module = "Elixir.DateTime",
        calendar,
        iso = "Elixir.Calendar.ISO",
        year,
        month,
        day,
        hour,
        minute,
        second,
        microsecond,
        std_offset,
        utc_offset,
        time_zone,
        zone_abbr,
    }
}

/// An event's fields, read from `{id, type, timestamp, wall, node, pid, correlation, parent, data}`.
pub(crate) struct Row<'a> {
    id: u64,
    kind: Symbol,
    timestamp: i64,
    wall: RowWall,
    node: Option<Symbol>,
    pid: Option<RowPid>,
    correlation: Option<Binary<'a>>,
    parent: Option<u64>,
    data: Encoded,
}

/// A term in external form: its own bytes, or a piece of what the rows of a batch share.
enum Encoded {
    Own(OwnedBinary),
    Shared(Range<usize>),
}

impl Encoded {
    fn bytes<'b>(&'b self, shared: &'b [u8]) -> &'b [u8] {
        match self {
            Encoded::Own(bytes) => bytes.as_slice(),
            Encoded::Shared(range) => shared.get(range.clone()).unwrap_or(&[]),
        }
    }
}

enum RowPid {
    Parts(PidParts),
    Term(Encoded),
}

impl RowPid {
    fn of(pid: Term<'_>) -> RowPid {
        let term = pid.to_binary();
        match PidParts::of(term.as_slice()) {
            Some(parts) => RowPid::Parts(parts),
            None => RowPid::Term(Encoded::Own(term)),
        }
    }

    fn pid<'b>(&'b self, shared: &'b [u8]) -> Pid<'b> {
        match self {
            RowPid::Parts(parts) => Pid::Parts(*parts),
            RowPid::Term(term) => Pid::Term(term.bytes(shared)),
        }
    }
}

/// What the row before had: an equal word is an equal term for as long as the call lasts.
#[derive(Default)]
struct Last {
    kind: Option<(ErlNifTerm, Symbol)>,
    node: Option<(ErlNifTerm, Symbol)>,
    second: Option<([ErlNifTerm; 6], i64)>,
    pid: Option<(ErlNifTerm, PidParts)>,
}

impl Last {
    fn pid(&mut self, pid: Term<'_>) -> RowPid {
        let word = pid.as_c_arg();
        if let Some((_, parts)) = self.pid.filter(|(known, _)| *known == word) {
            return RowPid::Parts(parts);
        }
        let read = RowPid::of(pid);
        if let RowPid::Parts(parts) = read {
            self.pid = Some((word, parts));
        }
        read
    }
}

fn known(last: &mut Option<(ErlNifTerm, Symbol)>, atom: Term<'_>) -> NifResult<Symbol> {
    let word = atom.as_c_arg();
    if let Some((_, symbol)) = last.filter(|(known, _)| *known == word) {
        return Ok(symbol);
    }
    let symbol = symbol(atom)?;
    *last = Some((word, symbol));
    Ok(symbol)
}

/// The rows of a batch.
pub(crate) struct Rows<'a> {
    rows: Vec<Row<'a>>,
    shared: Vec<u8>,
}

/// Bytes that a thread keeps for its next batch.
const KEPT: usize = 4 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if self.shared.capacity() <= KEPT {
            self.shared.clear();
            SPARE.set(std::mem::take(&mut self.shared));
        }
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn decode(terms: &[Term<'a>]) -> NifResult<Rows<'a>> {
        let mut all = Rows {
            rows: Vec::with_capacity(terms.len()),
            shared: SPARE.take(),
        };
        let mut last = Last::default();
        write::with_names(|names| {
            for term in terms {
                let row = all.row(*term, names, &mut last)?;
                all.rows.push(row);
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn row(&mut self, term: Term<'a>, names: &mut Names, last: &mut Last) -> NifResult<Row<'a>> {
        let fields = fields(term)?;
        let from = self.shared.len();
        write::write(fields[8], names, &mut self.shared);
        Row::of(fields, Encoded::Shared(from..self.shared.len()), last)
    }

    pub(crate) fn events(&self) -> Vec<Event<'_>> {
        self.rows.iter().map(|row| row.event(&self.shared)).collect()
    }
}

enum RowWall {
    Missing,
    Utc { micros: i64, precision: u8 },
    Term(OwnedBinary),
}

impl<'a> Row<'a> {
    pub(crate) fn decode(row: Term<'a>) -> NifResult<Row<'a>> {
        let fields = fields(row)?;
        let data = Encoded::Own(fields[8].to_binary());
        Row::of(fields, data, &mut Last::default())
    }

    fn of(fields: [Term<'a>; 9], data: Encoded, last: &mut Last) -> NifResult<Row<'a>> {
        let [id, kind, timestamp, wall, node, pid, correlation, parent, _] = fields;
        let pid = if is_nil(pid) {
            None
        } else if pid.is_pid() {
            Some(last.pid(pid))
        } else {
            return Err(Error::BadArg);
        };
        Ok(Row {
            id: positive(id)?,
            kind: known(&mut last.kind, kind)?,
            timestamp: timestamp.decode()?,
            wall: decode_wall(wall, &mut last.second)?,
            node: if is_nil(node) {
                None
            } else {
                Some(known(&mut last.node, node)?)
            },
            pid,
            correlation: if is_nil(correlation) {
                None
            } else {
                Some(Binary::from_term(correlation)?)
            },
            parent: if is_nil(parent) {
                None
            } else {
                Some(positive(parent)?)
            },
            data,
        })
    }

    /// The event of a row that was decoded alone.
    pub(crate) fn alone(&self) -> Event<'_> {
        self.event(&[])
    }

    fn event<'b>(&'b self, shared: &'b [u8]) -> Event<'b> {
        Event {
            id: self.id,
            timestamp: self.timestamp,
            kind: self.kind,
            node: self.node,
            wall: match &self.wall {
                RowWall::Missing => None,
                RowWall::Utc { micros, precision } => Some(Wall::Utc {
                    micros: *micros,
                    precision: *precision,
                }),
                RowWall::Term(bytes) => Some(Wall::Term(bytes.as_slice())),
            },
            pid: self.pid.as_ref().map(|pid| pid.pid(shared)),
            correlation: self.correlation.as_ref().map(Binary::as_slice),
            parent: self.parent,
            data: self.data.bytes(shared),
        }
    }
}

/// The nine elements of a tuple, without an allocation on the way.
fn fields<'a>(term: Term<'a>) -> NifResult<[Term<'a>; 9]> {
    let env = term.get_env();
    let (mut arity, mut items) = (0, std::ptr::null());
    // SAFETY: both places outlive the call; when it answers 1, `items` points to `arity` terms of this environment.
    unsafe {
        if enif_get_tuple(env.as_c_arg(), term.as_c_arg(), &mut arity, &mut items) != 1 || arity != 9 {
            return Err(Error::BadArg);
        }
        Ok(std::array::from_fn(|i| Term::new(env, *items.add(i))))
    }
}

fn is_nil(term: Term<'_>) -> bool {
    names::nil() == term
}

fn positive(term: Term<'_>) -> NifResult<u64> {
    match term.decode::<i64>() {
        Ok(n) if n > 0 => Ok(n as u64),
        _ => Err(Error::BadArg),
    }
}

// {year, month, day, hour, minute, second, microsecond, precision, datetime} for UTC; anything else is kept whole.
fn decode_wall(wall: Term<'_>, last: &mut Option<([ErlNifTerm; 6], i64)>) -> NifResult<RowWall> {
    if is_nil(wall) {
        return Ok(RowWall::Missing);
    }
    let [y, mo, d, h, mi, s, us, precision, whole] = match fields(wall) {
        Ok(fields) => fields,
        Err(_) => return Ok(RowWall::Term(wall.to_binary())),
    };
    let second = [y, mo, d, h, mi, s].map(|term| term.as_c_arg());
    let mut utc = || -> NifResult<Option<(i64, u8)>> {
        if let Some((_, base)) = last.filter(|(known, _)| *known == second) {
            let (micro, precision): (u32, u8) = (us.decode()?, precision.decode()?);
            let valid = micro < 1_000_000 && precision <= 6;
            return Ok(valid.then_some((base.saturating_add(i64::from(micro)), precision)));
        }
        let civil = Civil {
            year: y.decode()?,
            month: mo.decode()?,
            day: d.decode()?,
            hour: h.decode()?,
            minute: mi.decode()?,
            second: s.decode()?,
            micro: us.decode()?,
        };
        let precision: u8 = precision.decode()?;
        let micros = civil.micros();
        let valid = precision <= 6 && Civil::of(micros) == civil;
        if valid {
            *last = Some((second, micros - i64::from(civil.micro)));
        }
        Ok(valid.then_some((micros, precision)))
    };
    match utc() {
        Ok(Some((micros, precision))) => Ok(RowWall::Utc { micros, precision }),
        _ => Ok(RowWall::Term(whole.to_binary())),
    }
}

/// A moment in UTC, as the calendar writes it.
#[derive(PartialEq, Eq)]
struct Civil {
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    micro: u32,
}

impl Civil {
    // Days from civil and back: the proleptic Gregorian calendar in eras of 400 years.
    fn micros(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let month = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        let seconds =
            ((days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(self.micro))
    }

    fn of(micros: i64) -> Civil {
        let seconds = micros.div_euclid(1_000_000);
        let days = seconds.div_euclid(86_400) + 719_468;
        let of_day = seconds.rem_euclid(86_400);
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let month_of_year = if month < 10 { month + 3 } else { month - 9 };
        Civil {
            year: (year + era * 400 + i64::from(month_of_year <= 2)) as i32,
            month: month_of_year as u8,
            day: (of_year - (153 * month + 2) / 5 + 1) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            micro: micros.rem_euclid(1_000_000) as u32,
        }
    }
}

thread_local! {
    // Both tables only grow, as the atom table does; a thread fills its own copy as it meets names.
    static SYMBOLS: RefCell<HashMap<u64, Symbol, ahash::RandomState>> = RefCell::default();
    static ATOMS: RefCell<Vec<u64>> = RefCell::default();
}

/// The symbol of an atom.
pub(crate) fn symbol(atom: Term<'_>) -> NifResult<Symbol> {
    let word = key::atom_word(atom)?;
    SYMBOLS.with_borrow_mut(|known| {
        if let Some(symbol) = known.get(&word) {
            return Ok(*symbol);
        }
        let bytes = atom.to_binary();
        let name = match etf::body(bytes.as_slice()).and_then(etf::read) {
            Some(etf::Term::Atom(name)) => String::from_utf8_lossy(name).into_owned(),
            Some(etf::Term::Latin(name)) => name.iter().map(|b| char::from(*b)).collect(),
            _ => return Err(Error::BadArg),
        };
        let symbol = symbols::intern(&name);
        known.insert(word, symbol);
        Ok(symbol)
    })
}

/// The atom of a symbol.
pub(crate) fn atom<'a>(env: Env<'a>, symbol: Symbol) -> NifResult<Term<'a>> {
    ATOMS.with_borrow_mut(|known| {
        let at = symbol as usize;
        if let Some(&word) = known.get(at).filter(|word| **word != 0) {
            return key::atom_from_word(env, word);
        }
        let name = symbols::name(symbol).ok_or(Error::BadArg)?;
        let mut bytes = vec![131, 118];
        bytes.extend_from_slice(&(name.len() as u16).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        let atom = stored_term(env, &bytes)?;
        if known.len() <= at {
            known.resize(at + 1, 0);
        }
        known[at] = key::atom_word(atom)?;
        Ok(atom)
    })
}

/// A term that this store wrote.
fn stored_term<'a>(env: Env<'a>, bytes: &[u8]) -> NifResult<Term<'a>> {
    // SAFETY: the bytes came from `term_to_binary` in this VM or, checksummed, from the store's own files; the atoms
    // in them are those of events that were stored.
    let decoded = unsafe { env.binary_to_term_trusted(bytes) };
    decoded.map(|(term, _)| term).ok_or(Error::BadArg)
}

/// `%Foundation.Types.Event{}`.
pub(crate) fn event_term<'a>(env: Env<'a>, event: &Event<'_>) -> NifResult<Term<'a>> {
    let nil = names::nil().encode(env);
    let term = |atom: Atom| atom.encode(env);
    let keys = [
        term(names::struct_()),
        term(names::event_type()),
        term(names::event_id()),
        term(names::timestamp()),
        term(names::wall_time()),
        term(names::node()),
        term(names::pid()),
        term(names::correlation_id()),
        term(names::parent_id()),
        term(names::data()),
    ];
    let values = [
        term(names::event_module()),
        atom(env, event.kind)?,
        event.id.encode(env),
        event.timestamp.encode(env),
        match event.wall {
            None => nil,
            Some(Wall::Utc { micros, precision }) => datetime(env, micros, precision)?,
            Some(Wall::Term(bytes)) => stored_term(env, bytes)?,
        },
        event.node.map_or(Ok(nil), |node| atom(env, node))?,
        match event.pid {
            None => nil,
            Some(Pid::Term(term)) => stored_term(env, term)?,
            Some(Pid::Parts(parts)) => stored_term(env, &parts.term())?,
        },
        event.correlation.map_or(nil, |text| binary(env, text)),
        event.parent.map_or(nil, |parent| parent.encode(env)),
        stored_term(env, event.data)?,
    ];
    Term::map_from_term_arrays(env, &keys, &values)
}

/// A binary.
pub(crate) fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}

fn datetime<'a>(env: Env<'a>, micros: i64, precision: u8) -> NifResult<Term<'a>> {
    let civil = Civil::of(micros);
    let term = |atom: Atom| atom.encode(env);
    let keys = [
        term(names::struct_()),
        term(names::calendar()),
        term(names::year()),
        term(names::month()),
        term(names::day()),
        term(names::hour()),
        term(names::minute()),
        term(names::second()),
        term(names::microsecond()),
        term(names::std_offset()),
        term(names::utc_offset()),
        term(names::time_zone()),
        term(names::zone_abbr()),
    ];
    let values = [
        term(names::datetime_module()),
        term(names::iso()),
        civil.year.encode(env),
        civil.month.encode(env),
        civil.day.encode(env),
        civil.hour.encode(env),
        civil.minute.encode(env),
        civil.second.encode(env),
        (civil.micro, precision).encode(env),
        0.encode(env),
        0.encode(env),
        binary(env, b"Etc/UTC"),
        binary(env, b"UTC"),
    ];
    Term::map_from_term_arrays(env, &keys, &values)
}
