//! Circuits over a chain of nodes whose trunks take what is written to them in any order of events.

use super::exchange::{Circuit, Event, Exchange, Leg, Trunk, WINDOW};
use super::frame::{Frame, HEADER, MAX_DATA, Open, Why, length};
use bytes::{Bytes, BytesMut};
use foundation_overlay::NodeId;
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

fn id(at: usize) -> NodeId {
    NodeId::new(&format!("n{at}"), 1).unwrap()
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// One direction of a trunk: what was written and has not arrived.
struct Wire {
    from: (usize, Trunk),
    to: (usize, Trunk),
    bytes: BytesMut,
}

struct Net {
    nodes: Vec<Exchange>,
    wires: Vec<Wire>,
    arrived: Vec<(usize, Circuit, Open)>,
}

impl Net {
    /// Nodes in a line, each with a trunk to the next.
    fn line(count: usize, most: usize) -> Self {
        let mut net = Self {
            nodes: (0..count).map(|_| Exchange::new(most)).collect(),
            wires: Vec::new(),
            arrived: Vec::new(),
        };
        (1..count).for_each(|at| net.link(at - 1, at));
        net
    }

    fn link(&mut self, a: usize, b: usize) {
        let there = self.nodes[a].trunk_up(id(b), 0, true);
        let back = self.nodes[b].trunk_up(id(a), 0, false);
        for (from, to) in [((a, there), (b, back)), ((b, back), (a, there))] {
            self.wires.push(Wire {
                from,
                to,
                bytes: BytesMut::new(),
            });
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        for (x, y) in [(a, b), (b, a)] {
            let trunk = self.nodes[x].find(&id(y), 0).unwrap();
            self.nodes[x].trunk_down(trunk);
            self.wires
                .retain(|wire| wire.from != (x, trunk) && wire.to != (x, trunk));
        }
    }

    fn open(&mut self, from: usize, to: usize, priority: u8) -> Circuit {
        let next = if to > from { from + 1 } else { from - 1 };
        let trunk = self.nodes[from].find(&id(next), 0).unwrap();
        let open = Open {
            hops: 8,
            priority,
            to: id(to),
            from: id(from),
        };
        self.nodes[from].open(trunk, &open).unwrap()
    }

    /// A node writes to one of its trunks, and some of that arrives.
    fn move_some(&mut self, at: usize, most: usize) {
        let Wire { from, to, bytes } = &mut self.wires[at];
        let (from, to) = (*from, *to);
        let mut out = VecDeque::new();
        if let Poll::Ready(taken) = self.nodes[from.0].poll_take(from.1, most, &mut context(), &mut out) {
            taken.unwrap();
        }
        out.into_iter().for_each(|piece| bytes.extend_from_slice(&piece));
        let mut events = Vec::new();
        let mut moved = 0;
        while let Some(head) = bytes.first_chunk::<HEADER>().copied()
            && moved <= most
        {
            let whole = bytes.split_to(HEADER + length(&head)).freeze();
            moved += whole.len();
            let (circuit, frame) = Frame::decode(&head, whole.slice(HEADER..)).unwrap();
            let leg = (to.1, circuit);
            self.nodes[to.0]
                .frame(&id(to.0), leg, frame, &mut events)
                .unwrap();
        }
        events.into_iter().for_each(|event| self.happened(to.0, event));
    }

    fn happened(&mut self, at: usize, event: Event) {
        match event {
            Event::Incoming(circuit, open) => self.arrived.push((at, circuit, open)),
            Event::Onward(leg, open) => self.onward(at, leg, open),
        }
    }

    fn onward(&mut self, at: usize, leg: Leg, open: Open) {
        let to = open.to.name.as_str()[1..].parse::<usize>().unwrap();
        let next = if to > at { at + 1 } else { at.wrapping_sub(1) };
        match self.nodes[at].find(&id(next), 0) {
            Some(trunk) => assert!(self.nodes[at].pass(leg, trunk, open)),
            None => self.nodes[at].refuse(leg, Why::NoWay),
        }
    }

    fn settle(&mut self) {
        for _ in 0..64 {
            (0..self.wires.len()).for_each(|at| self.move_some(at, 1 << 20));
        }
    }

    fn opened(&mut self, at: usize, circuit: Circuit) -> Poll<Result<(), Option<Why>>> {
        self.nodes[at].poll_opened(circuit, &mut context())
    }

    fn write(&mut self, at: usize, circuit: Circuit, bytes: &[u8]) -> usize {
        match self.nodes[at].poll_write(circuit, bytes, &mut context()) {
            Poll::Ready(written) => written.unwrap(),
            Poll::Pending => 0,
        }
    }

    fn read(&mut self, at: usize, circuit: Circuit, most: usize) -> Option<Bytes> {
        match self.nodes[at].poll_read(circuit, most, &mut context()) {
            Poll::Ready(read) => Some(read.unwrap()),
            Poll::Pending => None,
        }
    }

    fn unused(&self) -> bool {
        let wires = self.wires.iter();
        wires
            .map(|wire| wire.from)
            .all(|(at, trunk)| self.nodes[at].is_unused(trunk))
    }
}

/// Both ends of a circuit that stands.
fn pair(net: &mut Net, from: usize, to: usize) -> ((usize, Circuit), (usize, Circuit)) {
    let near = net.open(from, to, 9);
    net.settle();
    assert_eq!(net.opened(from, near), Poll::Ready(Ok(())));
    let (at, far, open) = net.arrived.pop().unwrap();
    assert_eq!((at, open.from), (to, id(from)));
    ((from, near), (to, far))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_arrive_whole_and_in_order_both_ways(seed: u64, nodes in 2_usize..6, circuits in 1_usize..5) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut net = Net::line(nodes, 100);
        let mut flows = Vec::new();
        for n in 0..circuits {
            let ends = if rng.random() { (0, nodes - 1) } else { (nodes - 1, 0) };
            let (near, far) = pair(&mut net, ends.0, ends.1);
            for (from, to) in [(near, far), (far, near)] {
                let mut bytes = vec![0; rng.random_range(1..400_000)];
                rng.fill_bytes(&mut bytes);
                flows.push((from, to, bytes, 0, Vec::new(), n));
            }
        }
        let mut left = 1_000_000;
        while flows.iter().any(|(_, _, bytes, _, read, _)| read.len() < bytes.len()) {
            left -= 1;
            prop_assert!(left > 0, "it comes to an end");
            let wire = rng.random_range(0..net.wires.len());
            net.move_some(wire, rng.random_range(1..100_000));
            let flow = rng.random_range(0..flows.len());
            let (from, to, bytes, written, read, _) = &mut flows[flow];
            let more = bytes.len().min(*written + rng.random_range(0..60_000));
            *written += net.write(from.0, from.1, &bytes[*written..more]);
            if let Some(bytes) = net.read(to.0, to.1, rng.random_range(1..60_000)) {
                read.extend_from_slice(&bytes);
            }
        }
        for (_, _, bytes, _, read, _) in &flows {
            prop_assert!(bytes == read);
        }
        let relayed: u64 = flows.iter().map(|flow| flow.2.len() as u64).sum();
        for at in 1..nodes - 1 {
            prop_assert_eq!(net.nodes[at].counts().relayed_bytes, relayed);
        }
        let ends: HashMap<_, _> = flows.iter().map(|flow| (flow.0, ())).collect();
        for (at, circuit) in ends.into_keys() {
            if rng.random() { net.nodes[at].end(circuit); }
            net.nodes[at].close(circuit);
        }
        net.settle();
        prop_assert!(net.unused(), "no leg stays behind");
        prop_assert!((0..nodes).all(|at| net.nodes[at].counts().relaying == 0));
    }
}

#[test]
fn a_reader_that_is_slow_stops_the_writer() {
    let mut net = Net::line(3, 10);
    let (near, far) = pair(&mut net, 0, 2);
    let bytes = vec![7; 1 << 20];
    let mut written = 0;
    for _ in 0..100 {
        written += net.write(near.0, near.1, &bytes);
        net.settle();
    }
    assert_eq!(written as u64, WINDOW);
    let mut read = 0;
    while let Some(bytes) = net.read(far.0, far.1, usize::MAX) {
        read += bytes.len();
    }
    assert_eq!(read as u64, WINDOW);
    net.settle();
    assert!(net.write(near.0, near.1, &bytes) > 0);
}

#[test]
fn who_sends_more_than_was_granted_is_cut_off() {
    let mut node = Exchange::new(10);
    let trunk = node.trunk_up(id(1), 0, false);
    let open = Open {
        hops: 1,
        priority: 0,
        to: id(0),
        from: id(1),
    };
    let mut events = Vec::new();
    node.frame(&id(0), (trunk, 0), Frame::Open(open.clone()), &mut events)
        .unwrap();
    let data = Frame::Data(Bytes::from(vec![0; MAX_DATA]));
    for _ in 0..WINDOW / MAX_DATA as u64 {
        node.frame(&id(0), (trunk, 0), data.clone(), &mut events).unwrap();
    }
    assert!(node.frame(&id(0), (trunk, 0), data, &mut events).is_err());
    // Nor may it use our numbers, or one twice.
    for number in [0, 1] {
        let again = Frame::Open(open.clone());
        assert!(node.frame(&id(0), (trunk, number), again, &mut events).is_err());
    }
}

#[test]
fn a_relay_that_goes_is_told_to_both_ends() {
    for cut in [(0, 1), (1, 2), (2, 3)] {
        let mut net = Net::line(4, 10);
        let (near, far) = pair(&mut net, 0, 3);
        net.write(near.0, near.1, b"before");
        net.settle();
        net.cut(cut.0, cut.1);
        net.settle();
        assert_eq!(net.read(far.0, far.1, 100).unwrap(), "before");
        for (at, circuit) in [near, far] {
            let read = net.nodes[at].poll_read(circuit, 100, &mut context());
            assert!(matches!(read, Poll::Ready(Err(_))), "{cut:?}");
            let written = net.nodes[at].poll_write(circuit, b"after", &mut context());
            assert!(matches!(written, Poll::Ready(Err(_))), "{cut:?}");
            net.nodes[at].close(circuit);
        }
        net.settle();
        assert!(net.unused());
    }
}

#[test]
fn the_end_is_told_after_all_bytes() {
    let mut net = Net::line(3, 10);
    let (near, far) = pair(&mut net, 0, 2);
    assert_eq!(net.write(near.0, near.1, b"last words"), 10);
    net.nodes[near.0].end(near.1);
    net.settle();
    assert_eq!(net.read(far.0, far.1, 100).unwrap(), "last words");
    assert_eq!(net.read(far.0, far.1, 100).unwrap(), "");
    assert_eq!(net.write(far.0, far.1, b"reply"), 5);
    net.nodes[far.0].end(far.1);
    net.nodes[far.0].close(far.1);
    net.settle();
    assert_eq!(net.read(near.0, near.1, 100).unwrap(), "reply");
    assert_eq!(net.read(near.0, near.1, 100).unwrap(), "");
    net.nodes[near.0].close(near.1);
    assert!(net.unused());
}

#[test]
fn refusals_come_back_and_leave_nothing() {
    let mut net = Net::line(4, 1);
    let first = net.open(0, 3, 0);
    net.settle();
    assert_eq!(net.opened(0, first), Poll::Ready(Ok(())));
    let second = net.open(0, 3, 0);
    net.settle();
    assert_eq!(net.opened(0, second), Poll::Ready(Err(Some(Why::Busy))));
    let nowhere = net.open(2, 9, 0);
    net.settle();
    assert_eq!(net.opened(2, nowhere), Poll::Ready(Err(Some(Why::NoWay))));
    assert_eq!(net.nodes[1].counts().refused, 1);
    for (at, circuit) in [(0, first), (0, second), (2, nowhere), (3, net.arrived[0].1)] {
        net.nodes[at].close(circuit);
    }
    net.settle();
    assert!(net.unused());
}

#[test]
fn a_circuit_takes_only_so_many_hops() {
    let mut net = Net::line(12, 10);
    let far = net.open(0, 11, 0);
    let near = net.open(0, 9, 0);
    net.settle();
    assert_eq!(net.opened(0, far), Poll::Ready(Err(Some(Why::Hops))));
    assert_eq!(net.opened(0, near), Poll::Ready(Ok(())));
}

#[test]
fn the_greater_priority_goes_first() {
    let mut net = Net::line(2, 10);
    let low = net.open(0, 1, 1);
    let high = net.open(0, 1, 200);
    net.settle();
    net.write(0, low, &[1; 100_000]);
    net.write(0, high, &[2; 10]);
    let trunk = net.nodes[0].find(&id(1), 0).unwrap();
    let mut out = VecDeque::new();
    assert!(
        net.nodes[0]
            .poll_take(trunk, 1, &mut context(), &mut out)
            .is_ready()
    );
    assert_eq!(out[1], Bytes::from_static(&[2; 10]));
}
