//! Senders take lanes that have room, and their messages keep their order.

use super::remote::{Lane, Outlet};
use crate::channel::outbox::Frame;
use crate::channel::{Channel, Reliability, Settings};
use crate::frame::{Grant, Messages};
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

const WIDE: Grant = Grant {
    delivered: 0,
    bytes: 1 << 40,
    messages: 1 << 40,
};

/// An outlet with links, and what is under way on them.
struct Model {
    outlet: Outlet,
    under_way: Vec<VecDeque<Frame>>,
    arrived: Vec<u64>,
    /// What came of each sender.
    seen: HashMap<u64, Vec<u64>>,
    sent: HashMap<u64, u64>,
}

impl Model {
    fn new(lanes: u16, reliability: Reliability) -> Self {
        let settings = Settings {
            lanes,
            reliability,
            ..Settings::default()
        };
        let channel = Arc::new(Channel {
            name: "channel".into(),
            settings,
        });
        let lane = |number| {
            let lane = Lane::new(&channel, number, Instant::now(), true);
            lane.outbox.lock().link_up(WIDE, 1 << 20, 0);
            lane.linked.store(true, Ordering::Relaxed);
            Arc::new(lane)
        };
        Self {
            outlet: Outlet::new(&channel, (0..lanes).map(lane).collect()),
            under_way: (0..lanes).map(|_| VecDeque::new()).collect(),
            arrived: vec![0; lanes.into()],
            seen: HashMap::new(),
            sent: HashMap::new(),
        }
    }

    fn push(&mut self, flow: u64) {
        let next = self.sent.entry(flow).or_default();
        let message = [flow.to_le_bytes(), next.to_le_bytes()].concat();
        *next += 1;
        self.outlet.push(flow, &message, None).unwrap();
    }

    fn held(&self) -> Vec<u64> {
        let lanes = self.outlet.lanes.iter();
        lanes.map(|lane| lane.outbox.lock().held()).collect()
    }

    /// The link takes what waits.
    fn take(&mut self, lane: usize) {
        let mut frames = Vec::new();
        self.outlet.lanes[lane].outbox.lock().take(1, 0, &mut frames);
        self.under_way[lane].extend(frames);
    }

    /// The other node takes what is on the link.
    fn arrive(&mut self, lane: usize) {
        for frame in self.under_way[lane].drain(..) {
            let bytes = frame.parts.concat();
            for message in Messages::new(&bytes, frame.header.count) {
                let (flow, number) = message.unwrap().split_at(8);
                let flow = u64::from_le_bytes(flow.try_into().unwrap());
                let number = u64::from_le_bytes(number.try_into().unwrap());
                self.seen.entry(flow).or_default().push(number);
                self.arrived[lane] += 1;
            }
        }
    }

    fn acknowledge(&mut self, lane: usize) {
        let delivered = self.arrived[lane];
        let grant = Grant { delivered, ..WIDE };
        self.outlet.lanes[lane].outbox.lock().acked(grant, 0);
    }
}

#[test]
fn eight_senders_fill_four_lanes_evenly() {
    for step in [1, 16, 48, 1024] {
        let mut model = Model::new(4, Reliability::AtLeastOnce);
        for round in 0..50 {
            (0..8).for_each(|n| model.push(7 + (round / 10 * 8 + n) * step));
        }
        let held = model.held();
        assert!(held.iter().all(|held| *held >= 50), "{step}: {held:?}");
    }
}

#[test]
fn a_sender_moves_only_when_all_of_it_has_arrived() {
    let mut model = Model::new(2, Reliability::AtLeastOnce);
    model.push(1);
    let crowded = model.held().iter().position(|held| *held == 1).unwrap();
    let same = (2..).find(|flow| model.outlet.lane_of(*flow) == crowded).unwrap();
    (0..100).for_each(|_| model.push(1));
    assert_eq!(model.held()[crowded], 101, "it goes on where it began");
    model.push(same);
    assert_eq!(
        model.held()[1 - crowded],
        1,
        "one of whom nothing is under way goes elsewhere"
    );
    model.take(crowded);
    model.arrive(crowded);
    model.push(1);
    assert_eq!(
        model.held()[1 - crowded],
        1,
        "what was not acknowledged may be under way"
    );
    model.acknowledge(crowded);
    (0..9).for_each(|_| model.push(same));
    assert_eq!(model.held(), if crowded == 0 { [1, 10] } else { [10, 1] });
}

#[test]
fn a_sender_stays_where_nothing_is_acknowledged() {
    let mut model = Model::new(2, Reliability::BestEffort);
    let lane = model.outlet.lane_of(1);
    let same = (2..).find(|flow| model.outlet.lane_of(*flow) == lane).unwrap();
    (0..100).for_each(|_| model.push(1));
    model.push(same);
    assert_eq!(model.held()[lane], 101);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Take(usize),
    Arrive(usize),
    Acknowledge(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..40_u64).prop_map(Step::Push),
        1 => (0..3_usize).prop_map(Step::Take),
        1 => (0..3_usize).prop_map(Step::Arrive),
        1 => (0..3_usize).prop_map(Step::Acknowledge),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// Whatever becomes of the links, the messages of each sender arrive in the order in which it sent them.
    #[test]
    fn order_is_kept(steps in steps()) {
        let mut model = Model::new(3, Reliability::AtLeastOnce);
        for step in steps {
            match step {
                Step::Push(flow) => model.push(flow),
                Step::Take(lane) => model.take(lane),
                Step::Arrive(lane) => model.arrive(lane),
                Step::Acknowledge(lane) => model.acknowledge(lane),
            }
        }
        for lane in 0..3 {
            while model.held()[lane] > 0 {
                model.take(lane);
                model.arrive(lane);
                model.acknowledge(lane);
            }
        }
        for (flow, sent) in &model.sent {
            prop_assert_eq!(&model.seen[flow], &(0..*sent).collect::<Vec<_>>(), "of {}", flow);
        }
    }
}
