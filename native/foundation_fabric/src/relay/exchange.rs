//! The circuits of one node, as a state machine: frames of trunks come in and go out, ends are read and written.
//!
//! No clock, no socket. Who would have to wait leaves a waker, which is called when it is worth asking again.

mod ends;
mod frames;

use super::frame::{Frame, HEADER, Open, Why, data_header};
use crate::error::Error;
use bytes::Bytes;
use foundation_overlay::NodeId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

/// A trunk of this node, by a number of its own.
pub(crate) type Trunk = u64;
/// A circuit on a trunk.
pub(crate) type Leg = (Trunk, u32);
/// An end of a circuit at this node.
pub(crate) type Circuit = u64;

/// Bytes of a circuit that may be on their way to an end that has not read them.
pub(crate) const WINDOW: u64 = 512 << 10;
/// Bytes that an end reads before it grants as many again.
const GRANT: u64 = WINDOW / 4;
/// Circuits on one trunk.
const MAX_LEGS: usize = 8_192;

/// What has to be done by someone who can wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A circuit leads here; it stands already.
    Incoming(Circuit, Open),
    /// A circuit leads on: find it a trunk, then [`Exchange::pass`] or [`Exchange::refuse`].
    Onward(Leg, Open),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Circuits of other nodes that lead through this one now.
    pub relaying: u64,
    /// Circuits of other nodes that this one has carried.
    pub relayed: u64,
    /// Bytes carried for others.
    pub relayed_bytes: u64,
    /// Circuits that this node did not carry.
    pub refused: u64,
    /// Circuits that this node's own links took.
    pub opened: u64,
}

#[derive(Debug)]
enum End {
    /// It ends here.
    Ours(Circuit),
    /// It leads on.
    Onward(Leg),
    /// It is to lead on.
    Waits,
    /// It ended here; the other end may not know yet.
    Left,
}

#[derive(Debug)]
enum Item {
    Data(Bytes),
    End,
}

/// One of the one or two legs of a circuit at this node.
#[derive(Debug)]
struct Half {
    end: End,
    priority: u8,
    /// Waits to go out on this leg.
    queue: VecDeque<Item>,
    /// Bytes that may still come in on it.
    may_come: u64,
    in_ended: bool,
    out_ended: bool,
    /// Counts among those that are carried for others.
    carried: bool,
}

#[derive(Debug)]
struct Port {
    peer: NodeId,
    class: u16,
    next: u32,
    legs: HashMap<u32, Half>,
    control: VecDeque<Bytes>,
    /// Legs with something to send, by priority, in turn.
    turns: BTreeMap<Reverse<u8>, VecDeque<u32>>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Ours {
    leg: Leg,
    opened: Option<Result<(), Why>>,
    inbox: VecDeque<Bytes>,
    ended: bool,
    gone: bool,
    may_send: u64,
    /// Bytes read and not granted again.
    read: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Ours {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

/// The trunks and circuits of one node.
#[derive(Debug)]
pub(crate) struct Exchange {
    ports: HashMap<Trunk, Port>,
    ours: HashMap<Circuit, Ours>,
    most: u64,
    next: u64,
    counts: RelayCounts,
}

impl Exchange {
    /// Carries at most that many circuits for others.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            ports: HashMap::new(),
            ours: HashMap::new(),
            most: most as u64,
            next: 0,
            counts: RelayCounts::default(),
        }
    }

    pub(crate) fn counts(&self) -> RelayCounts {
        self.counts
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A trunk is there; `dialled` on the side that opened it.
    pub(crate) fn trunk_up(&mut self, peer: NodeId, class: u16, dialled: bool) -> Trunk {
        let trunk = self.number();
        let port = Port {
            peer,
            class,
            next: u32::from(!dialled),
            legs: HashMap::new(),
            control: VecDeque::new(),
            turns: BTreeMap::new(),
            writer: None,
        };
        self.ports.insert(trunk, port);
        trunk
    }

    /// A trunk to that node.
    pub(crate) fn find(&self, peer: &NodeId, class: u16) -> Option<Trunk> {
        let mut ports = self.ports.iter();
        ports
            .find(|(_, port)| port.peer == *peer && port.class == class)
            .map(|(trunk, _)| *trunk)
    }

    /// Who is at the other end of a trunk.
    pub(crate) fn peer(&self, trunk: Trunk) -> Option<&NodeId> {
        self.ports.get(&trunk).map(|port| &port.peer)
    }

    /// Whether no circuit needs the trunk.
    pub(crate) fn is_unused(&self, trunk: Trunk) -> bool {
        self.ports
            .get(&trunk)
            .is_none_or(|port| port.legs.is_empty() && port.control.is_empty())
    }

    /// A trunk is gone, and every circuit on it.
    pub(crate) fn trunk_down(&mut self, trunk: Trunk) {
        let Some(mut port) = self.ports.remove(&trunk) else {
            return;
        };
        port.writer.take().into_iter().for_each(Waker::wake);
        for half in port.legs.into_values() {
            self.counts.relaying -= u64::from(half.carried);
            match half.end {
                End::Ours(circuit) => self.break_off(circuit),
                End::Onward(other) => self.reset(other),
                End::Waits | End::Left => {}
            }
        }
    }

    fn break_off(&mut self, circuit: Circuit) {
        if let Some(ours) = self.ours.get_mut(&circuit) {
            ours.gone = true;
            ours.wake();
        }
    }

    fn half(&mut self, (trunk, id): Leg) -> Option<&mut Half> {
        self.ports.get_mut(&trunk)?.legs.get_mut(&id)
    }

    fn remove(&mut self, (trunk, id): Leg) -> Option<Half> {
        let half = self.ports.get_mut(&trunk)?.legs.remove(&id)?;
        self.counts.relaying -= u64::from(half.carried);
        Some(half)
    }

    fn say(&mut self, (trunk, id): Leg, frame: &Frame) {
        if let Some(port) = self.ports.get_mut(&trunk) {
            port.control.push_back(frame.encode(id));
            port.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Ends a leg and says so.
    fn reset(&mut self, leg: Leg) {
        if self.remove(leg).is_some() {
            self.say(leg, &Frame::Reset);
        }
    }

    fn put(&mut self, (trunk, id): Leg, item: Item) {
        let Some(port) = self.ports.get_mut(&trunk) else {
            return;
        };
        let Some(half) = port.legs.get_mut(&id) else {
            return;
        };
        if half.queue.is_empty() {
            port.turns
                .entry(Reverse(half.priority))
                .or_default()
                .push_back(id);
        }
        half.queue.push_back(item);
        port.writer.take().into_iter().for_each(Waker::wake);
    }

    /// Takes a number for a circuit on a trunk and asks for it there.
    fn ask(&mut self, trunk: Trunk, open: &Open, end: End) -> Option<Leg> {
        let port = self.ports.get_mut(&trunk)?;
        if port.legs.len() >= MAX_LEGS {
            return None;
        }
        while port.legs.contains_key(&port.next) {
            port.next = port.next.wrapping_add(2);
        }
        let id = port.next;
        port.next = port.next.wrapping_add(2);
        port.legs.insert(id, half(end, open.priority));
        let leg = (trunk, id);
        self.say(leg, &Frame::Open(open.clone()));
        Some(leg)
    }

    /// Leads a circuit that waits for it on over another trunk; false when one of them is gone.
    pub(crate) fn pass(&mut self, from: Leg, trunk: Trunk, mut open: Open) -> bool {
        if !matches!(self.half(from), Some(half) if matches!(half.end, End::Waits)) {
            return false;
        }
        open.hops = open.hops.saturating_sub(1);
        let Some(to) = self.ask(trunk, &open, End::Onward(from)) else {
            return false;
        };
        if let Some(half) = self.half(from) {
            half.end = End::Onward(to);
        }
        self.counts.relayed += 1;
        true
    }

    /// Says of a circuit that waits to be led on that it will not be.
    pub(crate) fn refuse(&mut self, leg: Leg, why: Why) {
        if self.remove(leg).is_some() {
            self.counts.refused += 1;
            self.say(leg, &Frame::Refuse(why));
        }
    }

    /// What is to be written to a trunk now, of about that many bytes; nothing more when it is gone.
    pub(crate) fn poll_take(
        &mut self,
        trunk: Trunk,
        budget: usize,
        context: &mut Context<'_>,
        out: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), Error>> {
        let Some(port) = self.ports.get_mut(&trunk) else {
            return Poll::Ready(Err(Error::Closed));
        };
        let mut taken = 0;
        let mut through = Vec::new();
        while taken < budget
            && let Some(bytes) = port.control.pop_front()
        {
            taken += bytes.len();
            out.push_back(bytes);
        }
        while taken < budget
            && let Some(mut first) = port.turns.first_entry()
        {
            let Some(id) = first.get_mut().pop_front() else {
                first.remove();
                continue;
            };
            let Some(half) = port.legs.get_mut(&id) else {
                continue;
            };
            match half.queue.pop_front() {
                Some(Item::Data(bytes)) => {
                    taken += HEADER + bytes.len();
                    out.push_back(data_header(bytes.len(), id));
                    out.push_back(bytes);
                }
                Some(Item::End) => {
                    half.out_ended = true;
                    out.push_back(Frame::End.encode(id));
                    if half.in_ended {
                        through.push(id);
                    }
                }
                None => continue,
            }
            if !half.queue.is_empty() {
                first.get_mut().push_back(id);
            }
        }
        if out.is_empty() {
            port.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        through.into_iter().for_each(|id| {
            self.remove((trunk, id));
        });
        Poll::Ready(Ok(()))
    }
}

fn half(end: End, priority: u8) -> Half {
    Half {
        end,
        priority,
        queue: VecDeque::new(),
        may_come: WINDOW,
        in_ended: false,
        out_ended: false,
        carried: false,
    }
}

fn ours(leg: Leg, opened: Option<Result<(), Why>>) -> Ours {
    Ours {
        leg,
        opened,
        inbox: VecDeque::new(),
        ended: false,
        gone: false,
        may_send: WINDOW,
        read: 0,
        reader: None,
        writer: None,
    }
}
