//! One event as bytes: packed in memory with interned names, self-contained on disk.

use crate::Error;
use crate::codec::{Reader, put_bytes, put_i64, put_u64};
use crate::event::{Correlation, Event, View, Wall};
use crate::pid::{Pid, PidParts};
use crate::symbols::{self, Symbol};
use crate::uuid;
use std::ops::Range;

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

/// Appends the record of an event that arrived at `arrival` (milliseconds since 1970).
pub(crate) fn pack(event: &Event<'_>, arrival: u64, names: Names, buf: &mut Vec<u8>) {
    pack_with(
        event,
        event.correlation.and_then(uuid::parse),
        arrival,
        names,
        buf,
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Keys;
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

    proptest! {
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
            prop_assert_eq!(Keys::of(&view), Keys::of_event(&event, event.correlation.and_then(uuid::parse)));
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
