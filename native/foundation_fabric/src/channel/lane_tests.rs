//! Both ends of a lane, with a link between them that breaks: what is queued arrives once and in order, or is counted.

use super::inbox::{Arrived, Inbox, Next, Promise, Receiver, Session, Taken, Verdict};
use super::outbox::{Frame, Outbox, Settled};
use super::{Reliability, Settings};
use crate::compress;
use crate::frame::{Grant, Kind, LAST, Messages, PACKED, u64_at};
use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Messages as they were handed over: flow, number, length.
type Log = Arc<Mutex<Vec<(u8, u32, usize)>>>;

/// Messages that are delivered when the test says so.
#[derive(Default)]
struct Left {
    /// Whether batches are left for later.
    lazy: bool,
    jobs: VecDeque<(Vec<Vec<u8>>, oneshot::Sender<Arrived>)>,
}

#[derive(Clone, Default)]
struct Recorder {
    log: Log,
    left: Arc<Mutex<Left>>,
}

impl Recorder {
    fn record(&self, bytes: &[u8]) -> Verdict {
        let number = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
        assert!(
            bytes[5..]
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == pattern(number, at))
        );
        self.log.lock().push((bytes[0], number, bytes.len()));
        Verdict::Delivered
    }

    fn leave(&self, messages: Vec<Vec<u8>>) -> Promise {
        let (done, when) = oneshot::channel();
        self.left.lock().jobs.push_back((messages, done));
        when
    }

    fn take(&self, bytes: &[u8]) -> Taken {
        if self.left.lock().jobs.is_empty() {
            Taken::Now(self.record(bytes))
        } else {
            Taken::Later(self.leave(vec![bytes.to_vec()]))
        }
    }

    /// Delivers what was left first; false when nothing was.
    fn deliver(&self) -> bool {
        let Some((messages, done)) = self.left.lock().jobs.pop_front() else {
            return false;
        };
        let mut arrived = Arrived::default();
        for message in messages {
            arrived.verdict(self.record(&message), message.len());
        }
        let _ = done.send(arrived);
        true
    }
}

impl Receiver for Recorder {
    type Buffer = Vec<u8>;

    fn buffer(&self, length: usize) -> Option<Vec<u8>> {
        Some(vec![0; length])
    }

    fn batch(&self, batch: &[u8], count: u16) -> Option<Promise> {
        let left = self.left.lock();
        if !left.lazy && left.jobs.is_empty() {
            return None;
        }
        drop(left);
        let messages = Messages::new(batch, count).map(|message| message.unwrap().to_vec());
        Some(self.leave(messages.collect()))
    }

    fn small(&self, bytes: &[u8]) -> Taken {
        self.take(bytes)
    }

    fn large(&self, buffer: Vec<u8>) -> Taken {
        self.take(&buffer)
    }
}

fn pattern(number: u32, at: usize) -> u8 {
    (number as usize).wrapping_mul(31).wrapping_add(at * 7) as u8
}

fn message(flow: u8, number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![flow];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend((0..length.max(5) - 5).map(|at| pattern(number, at)));
    bytes
}

struct Wire {
    outbox: Outbox,
    session: Session,
    inbox: Option<Inbox<Recorder>>,
    settings: Settings,
    recorder: Recorder,
    /// Whether tokens are the numbers of messages, and no link broke: what was on the way then may be said to be
    /// delivered when it is only about to be.
    exact: bool,
    there: VecDeque<(Frame, Vec<u8>)>,
    back: VecDeque<(Kind, Grant, u16)>,
    paused: bool,
    now: u64,
    settled: Settled,
}

impl Wire {
    fn new(settings: Settings) -> Self {
        let mut wire = Self {
            outbox: Outbox::new(&settings),
            session: Session::default(),
            inbox: None,
            settings,
            recorder: Recorder::default(),
            exact: false,
            there: VecDeque::new(),
            back: VecDeque::new(),
            paused: false,
            now: 0,
            settled: Settled::default(),
        };
        wire.link();
        wire
    }

    fn collect(&mut self, settled: Settled) {
        self.settled.delivered.extend(settled.delivered);
        self.settled.failed.extend(settled.failed);
        self.settled.too_large.extend(settled.too_large);
        self.settled.room.extend(settled.room);
        self.settled.lost += settled.lost;
    }

    /// Breaks the link, with what is on it, and opens another.
    fn link(&mut self) {
        self.there.clear();
        self.back.clear();
        if self.inbox.is_some() {
            self.exact = false;
            let settled = self.outbox.link_down();
            self.collect(settled);
        }
        let inbox = Inbox::new(self.recorder.clone(), &self.settings, self.session.begin());
        let resume = inbox.resume().resume(self.settings.max_message);
        let header = crate::frame::Header::decode(resume.first_chunk().unwrap()).unwrap();
        let grant = Grant::read(&header, &resume[16..]);
        let settled = self.outbox.link_up(grant, u64_at(&resume, 32), self.now);
        self.collect(settled);
        self.inbox = Some(inbox);
    }

    fn send(&mut self, budget: usize) {
        let mut frames = Vec::new();
        let settled = self.outbox.take(budget, self.now, &mut frames);
        self.collect(settled);
        for mut frame in frames {
            let mut body = frame.parts.concat();
            assert_eq!(body.len(), frame.header.length as usize);
            if self
                .settings
                .compress_above
                .is_some_and(|above| body.len() >= above as usize)
                && let Some(packed) = compress::pack(&body)
            {
                frame.header.flags |= PACKED;
                frame.header.length = packed.len() as u32;
                body = packed;
            }
            self.there.push_back((frame, body));
        }
    }

    fn receive(&mut self) {
        let Some((frame, body)) = self.there.pop_front() else {
            return;
        };
        let header = crate::frame::Header::decode(&frame.header.encode()).unwrap();
        let last = header.kind == Kind::Chunk && header.has(LAST);
        while self.inbox().is_behind() || (last && self.inbox().owes_delivery()) {
            assert!(self.deliver(), "what is owed is somewhere");
        }
        let inbox = self.inbox.as_mut().unwrap();
        if header.kind == Kind::Batch {
            inbox.batch(&self.session, &header, &body).unwrap();
        } else {
            let raw = if header.has(PACKED) {
                compress::raw_length(&body, 1 << 20).unwrap()
            } else {
                body.len()
            };
            match inbox.chunk(&self.session, &header, raw).unwrap() {
                Next::Place if header.has(PACKED) => inbox.packed(&self.session, &header, &body).unwrap(),
                Next::Place => {
                    inbox.place(&header).copy_from_slice(&body);
                    inbox.placed(&self.session, &header, body.len()).unwrap();
                }
                Next::Refuse => self
                    .back
                    .push_back((Kind::Refuse, Grant::default(), header.count)),
                Next::Skip => {}
            }
        }
        self.acknowledge(false);
    }

    fn inbox(&self) -> &Inbox<Recorder> {
        self.inbox.as_ref().unwrap()
    }

    fn deliver(&mut self) -> bool {
        let any = self.recorder.deliver();
        self.inbox.as_mut().unwrap().catch_up().unwrap();
        self.acknowledge(false);
        any
    }

    fn acknowledge(&mut self, due: bool) {
        if let Some(grant) = self.inbox.as_mut().unwrap().ack(self.paused, due) {
            self.back.push_back((Kind::Ack, grant, 0));
        }
    }

    fn hear(&mut self) {
        let Some((kind, grant, id)) = self.back.pop_front() else {
            return;
        };
        let settled = match kind {
            Kind::Refuse => self.outbox.refused(id),
            _ => self.outbox.acked(grant, self.now),
        };
        let log = self.recorder.log.lock();
        let is_there = |token: &u64| log.iter().any(|(_, number, _)| u64::from(*number) == *token);
        assert!(!self.exact || settled.delivered.iter().all(is_there));
        drop(log);
        self.collect(settled);
    }

    fn settle(&mut self) {
        self.paused = false;
        for _ in 0..100_000 {
            self.now += 1000;
            self.send(1 << 18);
            while !self.there.is_empty() {
                self.receive();
            }
            while self.deliver() {}
            self.acknowledge(true);
            while !self.back.is_empty() {
                self.hear();
            }
            if !self.outbox.waits() && !self.outbox.expects_ack() {
                return;
            }
        }
        panic!("the lane never came to rest: {:?}", self.outbox.counts());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { flow: u8, length: usize, asks: bool },
    Send(usize),
    Receive,
    Acknowledge,
    Hear,
    Break,
    Pause(bool),
    Lazy(bool),
    Deliver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![6 => 5usize..300, 2 => 300usize..20_000, 2 => 20_000usize..400_000];
    let step = prop_oneof![
        8 => (0u8..4, length, any::<bool>()).prop_map(|(flow, length, asks)| Step::Push { flow, length, asks }),
        6 => (1usize..300_000).prop_map(Step::Send),
        8 => Just(Step::Receive),
        3 => Just(Step::Acknowledge),
        5 => Just(Step::Hear),
        1 => Just(Step::Break),
        1 => any::<bool>().prop_map(Step::Pause),
        2 => any::<bool>().prop_map(Step::Lazy),
        2 => Just(Step::Deliver),
    ];
    proptest::collection::vec(step, 1..200)
}

fn reliabilities() -> impl Strategy<Value = Settings> {
    let kinds = prop_oneof![
        Just(Reliability::BestEffort),
        Just(Reliability::AtLeastOnce),
        Just(Reliability::Ordered)
    ];
    (kinds, any::<bool>(), any::<bool>()).prop_map(|(reliability, small, packs)| Settings {
        reliability,
        max_messages: if small { 8 } else { 100_000 },
        window_bytes: if small { 256 << 10 } else { 8 << 20 },
        window_messages: if small { 16 } else { 16_384 },
        compress_above: packs.then_some(64),
        ..Settings::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_message_arrives_once_and_in_order(settings in reliabilities(), steps in steps()) {
        let keeps = settings.keeps();
        let ordered = settings.reliability == Reliability::Ordered;
        let mut wire = Wire::new(settings);
        wire.exact = true;
        let mut queued: Vec<(u8, u32, usize)> = Vec::new();
        let mut asked = HashSet::new();
        for step in steps {
            wire.now += 500;
            match step {
                Step::Push { flow, length, asks } => {
                    let number = queued.len() as u32;
                    let token = asks.then_some(u64::from(number));
                    let bytes = message(flow, number, length);
                    let put = if length > 16 << 10 {
                        let (a, b) = bytes.split_at(length / 3);
                        wire.outbox.push_large(flow.into(), vec![Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)], token, wire.now)
                    } else {
                        wire.outbox.push(flow.into(), &bytes, token, wire.now)
                    };
                    if put.is_ok() {
                        queued.push((flow, number, length));
                        asked.extend(token);
                    }
                }
                Step::Send(budget) => wire.send(budget),
                Step::Receive => wire.receive(),
                Step::Acknowledge => wire.acknowledge(true),
                Step::Hear => wire.hear(),
                Step::Break => wire.link(),
                Step::Pause(paused) => wire.paused = paused,
                Step::Lazy(lazy) => wire.recorder.left.lock().lazy = lazy,
                Step::Deliver => _ = wire.deliver(),
            }
        }
        wire.settle();
        let got = wire.recorder.log.lock().clone();
        let unique: HashSet<_> = got.iter().map(|(_, number, _)| *number).collect();
        prop_assert_eq!(unique.len(), got.len(), "nothing arrives twice");
        let mut flows: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for (flow, number, length) in &got {
            prop_assert!(queued.contains(&(*flow, *number, *length)));
            flows.entry(if ordered { 0 } else { *flow }).or_default().push(*number);
        }
        prop_assert!(flows.values().all(|numbers| numbers.is_sorted()), "a sender's messages keep their order: {:?}", flows);
        if keeps {
            prop_assert_eq!(got.len(), queued.len());
            prop_assert_eq!(wire.settled.lost, 0);
            let delivered: HashSet<_> = wire.settled.delivered.iter().copied().collect();
            prop_assert_eq!(&delivered, &asked, "whoever asked is told");
            prop_assert_eq!(wire.settled.delivered.len(), asked.len(), "and once");
        } else {
            prop_assert!(got.len() as u64 + wire.settled.lost >= queued.len() as u64, "what is lost is counted");
            let told = wire.settled.delivered.len() + wire.settled.failed.len();
            prop_assert_eq!(told, asked.len());
        }
        let counts = wire.outbox.counts();
        prop_assert_eq!((counts.held_messages, counts.held_bytes), (0, 0));
    }
}

fn plain(length: usize) -> Settings {
    Settings {
        max_message: length as u64,
        ..Settings::default()
    }
}

#[test]
fn a_small_message_is_not_held_up_by_a_large_one_of_another_sender() {
    let mut wire = Wire::new(plain(64 << 20));
    wire.outbox
        .push_large(1, vec![message(1, 0, 10 << 20).into()], None, 0)
        .unwrap();
    wire.send(1 << 17);
    wire.outbox.push(2, &message(2, 1, 50), None, 0).unwrap();
    wire.outbox.push(1, &message(1, 2, 50), None, 0).unwrap();
    wire.send(1 << 17);
    while !wire.there.is_empty() {
        wire.receive();
    }
    assert_eq!(*wire.recorder.log.lock(), [(2, 1, 50)]);
    wire.settle();
    assert_eq!(
        *wire.recorder.log.lock(),
        [(2, 1, 50), (1, 0, 10 << 20), (1, 2, 50)]
    );
}

#[test]
fn large_messages_take_turns() {
    let mut wire = Wire::new(plain(64 << 20));
    for flow in 0..3 {
        let bytes = message(flow, flow.into(), 1 << 20);
        wire.outbox
            .push_large(flow.into(), vec![bytes.into()], None, 0)
            .unwrap();
    }
    wire.send(6 * (64 << 10));
    let ids: Vec<_> = wire.there.iter().map(|(frame, _)| frame.header.count).collect();
    assert_eq!(ids, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_full_queue_refuses_and_tells_when_half_of_it_is_free() {
    let settings = Settings {
        max_messages: 4,
        ..Settings::default()
    };
    let mut wire = Wire::new(settings);
    for number in 0..4 {
        wire.outbox.push(0, &message(0, number, 20), None, 0).unwrap();
    }
    assert!(matches!(
        wire.outbox.push(0, &message(0, 4, 20), None, 0),
        Err(crate::Error::Busy)
    ));
    assert!(!wire.outbox.wait_room(77));
    assert_eq!(wire.outbox.counts().busy, 1);
    wire.settle();
    assert_eq!(wire.settled.room, [77]);
    assert!(wire.outbox.wait_room(78));
}

#[test]
fn credit_stops_the_sender_while_the_receiver_is_paused() {
    let settings = Settings {
        window_messages: 16,
        ..Settings::default()
    };
    let mut wire = Wire::new(settings);
    wire.paused = true;
    for number in 0..10_000 {
        wire.outbox.push(0, &message(0, number, 100), None, 0).unwrap();
        if number % 10 == 0 {
            wire.now += 1000;
            wire.send(1 << 20);
            while !wire.there.is_empty() {
                wire.receive();
            }
            wire.acknowledge(true);
            while !wire.back.is_empty() {
                wire.hear();
            }
        }
    }
    let taken = wire.recorder.log.lock().len();
    assert!((16..16 + 700).contains(&taken), "{taken}");
    assert!(!wire.outbox.is_ready());
    wire.settle();
    assert_eq!(wire.recorder.log.lock().len(), 10_000);
}

#[test]
fn a_message_larger_than_the_receiver_takes_is_refused_and_the_rest_goes_on() {
    let mut sender = plain(64 << 20);
    sender.max_bytes = 1 << 30;
    let mut wire = Wire::new(sender.clone());
    wire.outbox.link_down();
    // Queued before the receiver's bound is known.
    let large =
        |flow: u8, number, length| (u64::from(flow), vec![Bytes::from(message(flow, number, length))]);
    let (flow, parts) = large(1, 0, 3 << 20);
    wire.outbox.push_large(flow, parts, Some(5), 0).unwrap();
    let (flow, parts) = large(2, 1, 90 << 10);
    wire.outbox.push_large(flow, parts, Some(6), 0).unwrap();
    wire.outbox.push(1, &message(1, 2, 40), Some(7), 0).unwrap();
    wire.inbox = None;
    wire.settings.max_message = 80 << 10;
    wire.link();
    wire.settle();
    let mut refused = wire.settled.too_large.clone();
    refused.sort_unstable();
    assert_eq!(refused, [5, 6]);
    assert_eq!(wire.settled.delivered, [7]);
    assert_eq!(*wire.recorder.log.lock(), [(1, 2, 40)]);
    assert!(matches!(
        wire.outbox.push_large(1, vec![vec![0; 81 << 10].into()], None, 0),
        Err(crate::Error::TooLarge)
    ));
}

#[test]
fn a_link_that_was_replaced_delivers_nothing_more() {
    let mut wire = Wire::new(Settings::default());
    wire.outbox.push(0, &message(0, 0, 20), None, 0).unwrap();
    wire.send(1 << 20);
    let (frame, body) = wire.there.pop_front().unwrap();
    let mut old = wire.inbox.take().unwrap();
    wire.outbox.link_down();
    wire.link();
    assert!(old.batch(&wire.session, &frame.header, &body).is_err());
    wire.settle();
    assert_eq!(wire.recorder.log.lock().len(), 1);
}

#[test]
fn what_goes_beyond_the_credit_is_malformed() {
    let mut wire = Wire::new(plain(1 << 20));
    let mut inbox = wire.inbox.take().unwrap();
    wire.outbox.push(0, &message(0, 0, 60_000), None, 0).unwrap();
    wire.send(1);
    let (frame, body) = wire.there.pop_front().unwrap();
    let mut taken = 0;
    while inbox.batch(&wire.session, &frame.header, &body).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, (8_usize << 20).div_ceil(body.len()));
}

#[test]
fn a_new_queue_goes_on_behind_what_its_receiver_has_seen() {
    let mut wire = Wire::new(Settings::default());
    wire.outbox.push(0, &message(0, 0, 20), None, 0).unwrap();
    wire.settle();
    wire.outbox = Outbox::new(&wire.settings);
    wire.inbox = None;
    wire.link();
    wire.outbox.push(0, &message(0, 1, 20), None, 0).unwrap();
    wire.settle();
    assert_eq!(wire.recorder.log.lock().len(), 2);
}

#[test]
fn monotonic_messages_take_each_others_place() {
    let mut wire = Wire::new(Settings::default());
    for number in 0..1000 {
        wire.outbox
            .push_monotonic((number % 2).into(), &message(9, number, 20))
            .unwrap();
    }
    assert_eq!(wire.outbox.counts().held_messages, 2);
    wire.settle();
    assert_eq!(*wire.recorder.log.lock(), [(9, 998, 20), (9, 999, 20)]);
    assert_eq!(wire.outbox.counts().superseded, 998);
}

#[test]
fn giving_up_tells_everyone_and_counts() {
    let mut wire = Wire::new(Settings::default());
    wire.outbox.push(0, &message(0, 0, 20), Some(1), 0).unwrap();
    wire.send(1 << 20);
    wire.outbox
        .push_large(0, vec![message(0, 1, 1 << 20).into()], Some(2), 0)
        .unwrap();
    wire.outbox.push(0, &message(0, 2, 20), Some(3), 0).unwrap();
    wire.outbox.push(1, &message(1, 3, 20), Some(4), 0).unwrap();
    wire.outbox.link_down();
    let settled = wire.outbox.clear();
    let mut failed = settled.failed.clone();
    failed.sort_unstable();
    assert_eq!((failed, settled.lost), (vec![1, 2, 3, 4], 4));
    wire.link();
    wire.settle();
    let counts = wire.outbox.counts();
    assert_eq!((counts.held_messages, counts.held_bytes, counts.lost), (0, 0, 4));
}

#[test]
fn what_is_delivered_later_is_acknowledged_then() {
    let mut wire = Wire::new(Settings::default());
    wire.recorder.left.lock().lazy = true;
    wire.outbox.push(0, &message(0, 0, 20), Some(0), 0).unwrap();
    wire.send(1 << 20);
    wire.receive();
    wire.acknowledge(true);
    wire.hear();
    assert!(wire.settled.delivered.is_empty());
    assert!(wire.deliver());
    wire.hear();
    assert_eq!(wire.settled.delivered, [0]);
}

#[test]
fn a_receiver_that_will_not_deliver_ends_the_link() {
    let mut wire = Wire::new(Settings::default());
    wire.recorder.left.lock().lazy = true;
    wire.outbox.push(0, &message(0, 0, 20), Some(0), 0).unwrap();
    wire.send(1 << 20);
    wire.receive();
    wire.recorder.left.lock().jobs.clear();
    assert!(wire.inbox.as_mut().unwrap().catch_up().is_err());
}
