//! One event as bytes: packed in memory with interned names, self-contained on disk.

use crate::Error;
use crate::codec::{Reader, put_bytes, put_i64, put_u64};
use crate::pid::{Pid, PidParts};
use crate::symbols::{self, Symbol};
use std::ops::Range;

/// A calendar time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall<'a> {
    /// UTC: microseconds since 1970 and the digits that were given.
    Utc {
        /// Microseconds since 1970.
        micros: i64,
        /// Digits of the second's fraction, 0 to 6.
        precision: u8,
    },
    /// Any other calendar or zone, as external term.
    Term(&'a [u8]),
}

/// An event, borrowed from the caller or from a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The id.
    pub id: u64,
    /// The timestamp.
    pub timestamp: i64,
    /// The type.
    pub kind: Symbol,
    /// The node.
    pub node: Option<Symbol>,
    /// The calendar time.
    pub wall: Option<Wall<'a>>,
    /// The process.
    pub pid: Option<Pid<'a>>,
    /// The correlation id.
    pub correlation: Option<&'a [u8]>,
    /// The id of the event this one followed from.
    pub parent: Option<u64>,
    /// The data, as external term.
    pub data: &'a [u8],
}

const CORRELATION: u8 = 1;
const UUID: u8 = 2;
const PARENT: u8 = 4;
const WALL_UTC: u8 = 8;
const WALL_TERM: u8 = 16;
const PID: u8 = 32;
const NODE: u8 = 64;
/// With `PID`: a process of the event's node, without the node's name.
const PID_HERE: u8 = 128;
/// A UTC time of six digits, as what it is later than the arrival.
const WALL_NEAR: u8 = WALL_UTC | WALL_TERM;
/// Microseconds that count as near; beyond, the difference takes as many bytes as the time.
const NEAR: i64 = 1 << 40;

/// Where names go: as symbols in memory, as text on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Interned,
    Written,
}

/// The bytes of a correlation id, decoded on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Correlation<'a> {
    Uuid([u8; 16]),
    Text(&'a [u8]),
}

impl<'a> Correlation<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        parse_uuid(text).map_or(Correlation::Text(text), Correlation::Uuid)
    }

    pub(crate) fn text(&self, buffer: &'a mut [u8; 36]) -> &'a [u8] {
        match self {
            Correlation::Text(text) => text,
            Correlation::Uuid(bytes) => {
                format_uuid(bytes, buffer);
                buffer
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Correlation::Uuid(bytes) => bytes,
            Correlation::Text(text) => text,
        }
    }
}

/// A record, decoded without copying.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) id: u64,
    pub(crate) timestamp: i64,
    pub(crate) arrival: u64,
    pub(crate) kind: Symbol,
    pub(crate) node: Option<Symbol>,
    pub(crate) wall: Option<Wall<'a>>,
    pub(crate) pid: Option<Pid<'a>>,
    pub(crate) correlation: Option<Correlation<'a>>,
    pub(crate) parent: Option<u64>,
    pub(crate) data: &'a [u8],
}

/// What an event is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keys<'a> {
    pub(crate) id: u64,
    pub(crate) timestamp: i64,
    pub(crate) kind: Symbol,
    pub(crate) node: Option<Symbol>,
    pub(crate) correlation: Option<Correlation<'a>>,
    pub(crate) parent: Option<u64>,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(view: &View<'a>) -> Keys<'a> {
        Keys {
            id: view.id,
            timestamp: view.timestamp,
            kind: view.kind,
            node: view.node,
            correlation: view.correlation,
            parent: view.parent,
        }
    }

    /// Those of an event whose UUID is known.
    pub(crate) fn of_event(event: &Event<'a>, uuid: Option<[u8; 16]>) -> Keys<'a> {
        let text = || event.correlation.map(Correlation::Text);
        Keys {
            id: event.id,
            timestamp: event.timestamp,
            kind: event.kind,
            node: event.node,
            correlation: uuid.map(Correlation::Uuid).or_else(text),
            parent: event.parent,
        }
    }
}

impl<'a> View<'a> {
    /// The event; a UUID's text is written into `buffer`.
    pub(crate) fn event(&'a self, buffer: &'a mut [u8; 36]) -> Event<'a> {
        Event {
            id: self.id,
            timestamp: self.timestamp,
            kind: self.kind,
            node: self.node,
            wall: self.wall,
            pid: self.pid,
            correlation: self.correlation.as_ref().map(|c| c.text(buffer)),
            parent: self.parent,
            data: self.data,
        }
    }
}

/// Appends the record of an event that arrived at `arrival` (milliseconds since 1970).
pub(crate) fn pack(event: &Event<'_>, arrival: u64, names: Names, buf: &mut Vec<u8>) {
    pack_with(event, event.correlation.and_then(parse_uuid), arrival, names, buf);
}

/// As `pack`, when the UUID is known already. Answers where, in the record, its names stand.
pub(crate) fn pack_with(
    event: &Event<'_>,
    uuid: Option<[u8; 16]>,
    arrival: u64,
    names: Names,
    buf: &mut Vec<u8>,
) -> Range<usize> {
    let start = buf.len();
    pack_head(event, uuid, arrival, buf);
    let head = buf.len() - start;
    put_name(buf, event.kind, names);
    if let Some(node) = event.node {
        put_name(buf, node, names);
    }
    let named = buf.len() - start;
    pack_rest(event, uuid, arrival, buf);
    head..named
}

/// What stands before the names.
fn pack_head(event: &Event<'_>, uuid: Option<[u8; 16]>, arrival: u64, buf: &mut Vec<u8>) {
    let mut flags = 0;
    flags |= if event.correlation.is_some() {
        CORRELATION
    } else {
        0
    };
    flags |= if uuid.is_some() { UUID } else { 0 };
    flags |= if event.parent.is_some() { PARENT } else { 0 };
    flags |= match event.wall {
        None => 0,
        Some(Wall::Utc { micros, precision }) if near(micros, precision, arrival).is_some() => WALL_NEAR,
        Some(Wall::Utc { .. }) => WALL_UTC,
        Some(Wall::Term(_)) => WALL_TERM,
    };
    flags |= match event.pid {
        None => 0,
        Some(pid) if here(pid, event.node).is_some() => PID | PID_HERE,
        Some(_) => PID,
    };
    flags |= if event.node.is_some() { NODE } else { 0 };
    buf.push(flags);
    put_u64(buf, event.id);
    put_i64(buf, event.timestamp);
    put_u64(buf, arrival);
}

/// What the time is later than the arrival, if that says it all.
fn near(micros: i64, precision: u8, arrival: u64) -> Option<i64> {
    let arrived = i64::try_from(arrival).ok()?.checked_mul(1000)?;
    let later = micros.checked_sub(arrived)?;
    (precision == 6 && (-NEAR..NEAR).contains(&later)).then_some(later)
}

/// The parts of a process that runs on the event's node, as most do.
fn here(pid: Pid<'_>, node: Option<Symbol>) -> Option<PidParts> {
    match pid {
        Pid::Parts(parts) if node == Some(parts.node) => Some(parts),
        _ => None,
    }
}

fn pack_rest(event: &Event<'_>, uuid: Option<[u8; 16]>, arrival: u64, buf: &mut Vec<u8>) {
    match event.wall {
        None => {}
        Some(Wall::Utc { micros, precision }) => match near(micros, precision, arrival) {
            Some(later) => put_i64(buf, later),
            None => {
                put_i64(buf, micros);
                buf.push(precision);
            }
        },
        Some(Wall::Term(term)) => put_bytes(buf, term),
    }
    if let Some(pid) = event.pid {
        pack_pid(pid, event.node, buf);
    }
    match (uuid, event.correlation) {
        (Some(uuid), _) => buf.extend_from_slice(&uuid),
        (None, Some(text)) => put_bytes(buf, text),
        (None, None) => {}
    }
    if let Some(parent) = event.parent {
        put_u64(buf, parent);
    }
    buf.extend_from_slice(event.data);
}

fn pack_pid(pid: Pid<'_>, node: Option<Symbol>, buf: &mut Vec<u8>) {
    match (here(pid, node), pid) {
        (Some(parts), _) => {
            buf.push(parts.form);
            put_u64(buf, u64::from(parts.id));
            put_u64(buf, u64::from(parts.serial));
            put_u64(buf, u64::from(parts.creation));
        }
        (None, Pid::Parts(parts)) => put_bytes(buf, &parts.term()),
        (None, Pid::Term(term)) => put_bytes(buf, term),
    }
}

fn read_pid<'a>(r: &mut Reader<'a>, node: Option<Symbol>) -> Result<Pid<'a>, Error> {
    let form = r.byte()?;
    let mut number = || u32::try_from(r.u64()?).map_err(|_| Error::Corrupt);
    Ok(Pid::Parts(PidParts {
        node: node.ok_or(Error::Corrupt)?,
        form,
        id: number()?,
        serial: number()?,
        creation: number()?,
    }))
}

fn read_wall<'a>(r: &mut Reader<'a>, flags: u8, arrival: u64) -> Result<Option<Wall<'a>>, Error> {
    Ok(match flags & WALL_NEAR {
        0 => None,
        WALL_UTC => Some(Wall::Utc {
            micros: r.i64()?,
            precision: r.byte()?.min(6),
        }),
        WALL_TERM => Some(Wall::Term(r.bytes()?)),
        _ => Some(Wall::Utc {
            micros: (arrival as i64).saturating_mul(1000).saturating_add(r.i64()?),
            precision: 6,
        }),
    })
}

/// Reads a record.
pub(crate) fn unpack(bytes: &[u8], names: Names) -> Result<View<'_>, Error> {
    let mut r = Reader::new(bytes);
    let flags = r.byte()?;
    let id = r.u64()?;
    let timestamp = r.i64()?;
    let arrival = r.u64()?;
    let kind = read_name(&mut r, names)?;
    let node = if flags & NODE != 0 {
        Some(read_name(&mut r, names)?)
    } else {
        None
    };
    let wall = read_wall(&mut r, flags, arrival)?;
    let pid = match flags & (PID | PID_HERE) {
        0 => None,
        PID => Some(Pid::Term(r.bytes()?)),
        _ => Some(read_pid(&mut r, node)?),
    };
    let correlation = if flags & UUID != 0 {
        let bytes = r.take(16)?;
        Some(Correlation::Uuid(bytes.try_into().map_err(|_| Error::Corrupt)?))
    } else if flags & CORRELATION != 0 {
        Some(Correlation::Text(r.bytes()?))
    } else {
        None
    };
    let parent = if flags & PARENT != 0 { Some(r.u64()?) } else { None };
    Ok(View {
        id,
        timestamp,
        arrival,
        kind,
        node,
        wall,
        pid,
        correlation,
        parent,
        data: r.rest(),
    })
}

pub(crate) fn put_name(buf: &mut Vec<u8>, symbol: Symbol, names: Names) {
    match names {
        Names::Interned => put_u64(buf, u64::from(symbol)),
        Names::Written => put_bytes(
            buf,
            symbols::name(symbol).unwrap_or_else(|| "nil".into()).as_bytes(),
        ),
    }
}

fn read_name(r: &mut Reader<'_>, names: Names) -> Result<Symbol, Error> {
    match names {
        Names::Interned => Symbol::try_from(r.u64()?).map_err(|_| Error::Corrupt),
        Names::Written => {
            let name = std::str::from_utf8(r.bytes()?).map_err(|_| Error::Corrupt)?;
            Ok(symbols::intern(name))
        }
    }
}

/// The sixteen bytes of a UUID in its canonical lower-case text form; None for every other text.
pub(crate) fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let words = [[0, 4], [9, 14], [19, 24], [28, 32]];
    let mut bytes = [0u8; 16];
    for (bytes, [a, b]) in bytes.chunks_exact_mut(4).zip(words) {
        let mut digits = [0; 8];
        digits[..4].copy_from_slice(&text[a..a + 4]);
        digits[4..].copy_from_slice(&text[b..b + 4]);
        bytes.copy_from_slice(&parse_hex(digits)?);
    }
    Some(bytes)
}

/// Eight lower-case digits at once, a byte of the word each; None when one of them is something else.
fn parse_hex(digits: [u8; 8]) -> Option<[u8; 4]> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_le_bytes(digits);
    // A letter has its seventh bit set and counts from ten.
    let values = (text & (0x0f * EACH)) + 9 * (text >> 6 & EACH);
    let letters = (values + 6 * EACH) >> 4 & EACH;
    let again = values + 0x30 * EACH + 39 * letters;
    if values & (0xf0 * EACH) != 0 || again != text {
        return None;
    }
    // The first digit of two is the upper half of its byte, and the lower byte of its pair.
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let joined = pairs | pairs >> 8;
    let [a, b, _, _, c, d, _, _] = joined.to_le_bytes();
    Some([a, b, c, d])
}

fn format_uuid(bytes: &[u8; 16], text: &mut [u8; 36]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text[at] = b'-';
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walls() -> impl Strategy<Value = Option<Wall<'static>>> {
        let arrival = ARRIVAL as i64 * 1000;
        let micros = prop_oneof![
            arrival - 5_000_000..arrival + 5_000_000,
            arrival - 2 * NEAR..arrival + 2 * NEAR,
            any::<i64>(),
        ];
        prop_oneof![
            Just(None),
            Just(Some(Wall::Term(b"\x83w\x01x"))),
            (micros, 0_u8..=6).prop_map(|(micros, precision)| Some(Wall::Utc { micros, precision })),
        ]
    }

    fn pids() -> impl Strategy<Value = Option<Pid<'static>>> {
        let parts = (any::<bool>(), any::<[u32; 3]>()).prop_map(|(here, [id, serial, creation])| {
            let node = symbols::intern(if here { "here@h" } else { "there@h" });
            Pid::Parts(PidParts {
                node,
                form: 119,
                id,
                serial,
                creation,
            })
        });
        prop_oneof![
            Just(None),
            Just(Some(Pid::Term(b"\x83X anything"))),
            parts.prop_map(Some)
        ]
    }

    const ARRIVAL: u64 = 1_700_000_000_000;

    fn parse_uuid_digit_by_digit(text: &str) -> Option<[u8; 16]> {
        let dashes = |i: usize| matches!(i, 8 | 13 | 18 | 23);
        let shaped = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| match dashes(i) {
                true => b == b'-',
                false => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            });
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let number = shaped.then(|| u128::from_str_radix(&digits, 16).ok());
        number.flatten().map(u128::to_be_bytes)
    }

    proptest! {
        #[test]
        fn uuids_are_read_and_nothing_else(
            bytes in any::<[u8; 16]>(),
            (at, other) in (0..36_usize, 0..128_u8),
        ) {
            let mut text = [0; 36];
            format_uuid(&bytes, &mut text);
            prop_assert_eq!(parse_uuid(&text), Some(bytes));
            text[at] = other;
            let spoilt = std::str::from_utf8(&text).unwrap();
            prop_assert_eq!(parse_uuid(&text), parse_uuid_digit_by_digit(spoilt));
        }

        #[test]
        fn what_is_packed_is_read_again(
            (id, timestamp, arrival) in (any::<u64>(), any::<i64>(), prop_oneof![Just(ARRIVAL), any::<u64>()]),
            (wall, pid) in (walls(), pids()),
            node in any::<bool>(),
            correlation in prop_oneof![
                Just(None),
                Just(Some("00000000-0000-4000-8000-0123456789ab")),
                Just(Some("0000000A-0000-4000-8000-0123456789ab")),
                Just(Some("")),
            ],
            parent in any::<Option<u64>>(),
            names in prop_oneof![Just(Names::Interned), Just(Names::Written)],
        ) {
            let node = node.then(|| symbols::intern("here@h"));
            let event = Event {
                id,
                timestamp,
                kind: symbols::intern("kind"),
                node,
                wall,
                pid,
                correlation: correlation.map(str::as_bytes),
                parent,
                data: b"\x83j",
            };
            let mut record = Vec::new();
            pack(&event, arrival, names, &mut record);
            let view = unpack(&record, names).unwrap();
            prop_assert_eq!(view.arrival, arrival);
            prop_assert_eq!(Keys::of(&view), Keys::of_event(&event, event.correlation.and_then(parse_uuid)));
            let whole = |pid: Option<Pid<'_>>| pid.map(|pid| match pid {
                Pid::Term(term) => term.to_vec(),
                Pid::Parts(parts) => parts.term().to_vec(),
            });
            let mut buffer = [0; 36];
            let read = view.event(&mut buffer);
            prop_assert_eq!(whole(read.pid), whole(pid));
            prop_assert_eq!(Event { pid: None, ..read }, Event { pid: None, ..event });
            for cut in 0..record.len() - event.data.len() {
                prop_assert!(unpack(&record[..cut], names).is_err());
            }
        }
    }
}
