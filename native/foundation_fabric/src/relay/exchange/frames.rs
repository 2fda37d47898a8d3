//! What frames mean that came over a trunk.

use super::{Circuit, End, Event, Exchange, Item, Leg, MAX_LEGS, half, ours};
use crate::error::Error;
use crate::relay::frame::{Frame, Open, Why};
use bytes::Bytes;
use foundation_overlay::NodeId;
use std::task::Waker;

impl Exchange {
    /// A frame came over a trunk. An error: the peer does not keep to the protocol, and the trunk has to go.
    pub(crate) fn frame(
        &mut self,
        me: &NodeId,
        (trunk, id): Leg,
        frame: Frame,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let leg = (trunk, id);
        if let Frame::Open(open) = frame {
            return self.asked(me, leg, open, events);
        }
        // One that is gone here: the other side will hear of it, or has.
        let Some(half) = self.half(leg) else { return Ok(()) };
        match (frame, &half.end) {
            (Frame::Data(bytes), _) => {
                let length = bytes.len() as u64;
                half.may_come = half.may_come.checked_sub(length).ok_or(Error::Malformed)?;
                self.data(leg, bytes)?;
            }
            (Frame::End, _) => self.ended(leg),
            (Frame::Credit(more), End::Onward(other)) => {
                let other = *other;
                self.say(other, &Frame::Credit(more));
                if let Some(half) = self.half(other) {
                    half.may_come = half.may_come.saturating_add(more.into());
                }
            }
            (Frame::Credit(more), End::Ours(circuit)) => {
                let circuit = *circuit;
                if let Some(ours) = self.ours.get_mut(&circuit) {
                    ours.may_send = ours.may_send.saturating_add(more.into());
                    ours.writer.take().into_iter().for_each(Waker::wake);
                }
            }
            (Frame::Accept, End::Onward(other)) => {
                let other = *other;
                self.say(other, &Frame::Accept);
            }
            (Frame::Accept, End::Ours(circuit)) => {
                let circuit = *circuit;
                self.answered(circuit, Ok(()));
            }
            (Frame::Refuse(why), _) => match self.remove(leg).map(|half| half.end) {
                Some(End::Onward(other)) => {
                    self.remove(other);
                    self.say(other, &Frame::Refuse(why));
                }
                Some(End::Ours(circuit)) => self.answered(circuit, Err(why)),
                _ => {}
            },
            (Frame::Reset, _) => match self.remove(leg).map(|half| half.end) {
                Some(End::Onward(other)) => self.reset(other),
                Some(End::Ours(circuit)) => self.break_off(circuit),
                _ => {}
            },
            (Frame::Credit(_) | Frame::Accept | Frame::Open(_), _) => {}
        }
        Ok(())
    }

    fn answered(&mut self, circuit: Circuit, answer: Result<(), Why>) {
        if let Some(ours) = self.ours.get_mut(&circuit) {
            ours.opened.get_or_insert(answer);
            ours.wake();
        }
    }

    fn asked(&mut self, me: &NodeId, leg: Leg, open: Open, events: &mut Vec<Event>) -> Result<(), Error> {
        let (trunk, id) = leg;
        let (most, relaying) = (self.most, self.counts.relaying);
        let Some(port) = self.ports.get_mut(&trunk) else {
            return Ok(());
        };
        // Each side gives numbers of its own.
        if id % 2 == port.next % 2 || port.legs.contains_key(&id) {
            return Err(Error::Malformed);
        }
        let refused = match () {
            () if port.legs.len() >= MAX_LEGS => Some(Why::Busy),
            () if open.to == *me => None,
            () if open.hops == 0 || open.from == *me => Some(Why::Hops),
            () if relaying >= most => Some(Why::Busy),
            () => None,
        };
        if let Some(why) = refused {
            self.counts.refused += 1;
            self.say(leg, &Frame::Refuse(why));
            return Ok(());
        }
        if open.to == *me {
            let circuit = self.number();
            let taken = half(End::Ours(circuit), open.priority);
            self.ports
                .get_mut(&trunk)
                .and_then(|port| port.legs.insert(id, taken));
            self.ours.insert(circuit, ours(leg, Some(Ok(()))));
            self.say(leg, &Frame::Accept);
            events.push(Event::Incoming(circuit, open));
        } else {
            let mut taken = half(End::Waits, open.priority);
            taken.carried = true;
            port.legs.insert(id, taken);
            self.counts.relaying += 1;
            events.push(Event::Onward(leg, open));
        }
        Ok(())
    }

    fn data(&mut self, leg: Leg, bytes: Bytes) -> Result<(), Error> {
        match self.half(leg).map(|half| &half.end) {
            Some(End::Onward(other)) => {
                let other = *other;
                self.counts.relayed_bytes += bytes.len() as u64;
                self.put(other, Item::Data(bytes));
            }
            Some(End::Ours(circuit)) => {
                let circuit = *circuit;
                if let Some(ours) = self.ours.get_mut(&circuit) {
                    ours.inbox.push_back(bytes);
                    ours.reader.take().into_iter().for_each(Waker::wake);
                }
            }
            Some(End::Left) | None => {}
            // Nothing is sent before a circuit stands.
            Some(End::Waits) => return Err(Error::Malformed),
        }
        Ok(())
    }

    /// Nothing more comes in on a leg.
    fn ended(&mut self, leg: Leg) {
        let Some(half) = self.half(leg) else { return };
        half.in_ended = true;
        let through = half.out_ended;
        match half.end {
            End::Onward(other) => self.put(other, Item::End),
            End::Ours(circuit) => {
                if let Some(ours) = self.ours.get_mut(&circuit) {
                    ours.ended = true;
                    ours.reader.take().into_iter().for_each(Waker::wake);
                }
            }
            End::Left | End::Waits => {}
        }
        if through {
            self.remove(leg);
        }
    }
}
