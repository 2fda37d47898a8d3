//! An event, borrowed from its caller or from its record.

use crate::pid::Pid;
use crate::symbols::Symbol;
use crate::uuid;

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

/// The bytes of a correlation id, decoded on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Correlation<'a> {
    Uuid([u8; 16]),
    Text(&'a [u8]),
}

impl<'a> Correlation<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        uuid::parse(text).map_or(Correlation::Text(text), Correlation::Uuid)
    }

    pub(crate) fn text(&self, buffer: &'a mut [u8; 36]) -> &'a [u8] {
        match self {
            Correlation::Text(text) => text,
            Correlation::Uuid(bytes) => {
                uuid::format(bytes, buffer);
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
