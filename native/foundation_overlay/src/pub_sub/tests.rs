use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::plumtree::tests::node;
use crate::types::Urgency;

fn nth(index: usize) -> NodeId {
    node(&format!("n{index:04}"))
}

enum Event {
    Message {
        from: usize,
        to: usize,
        message: Message,
    },
    Timer(usize),
    Link(usize, usize),
}

/// Nodes that publish, an overlay of fixed links between them, and links that topics ask for.
struct Net {
    now: Duration,
    nodes: Vec<PubSub>,
    base: BTreeSet<(usize, usize)>,
    wants: BTreeMap<(usize, usize), BTreeSet<usize>>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, Event>,
    serial: u64,
    got: BTreeMap<(usize, Bytes), usize>,
    index: BTreeMap<NodeId, usize>,
    /// Payloads handled by nodes, by the way they came.
    payloads: BTreeMap<(Option<u32>, usize), usize>,
}

impl Net {
    fn new(count: usize, degree: usize, seed: u64) -> Self {
        let mut nodes = Vec::new();
        for at in 0..count {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&rings::mix(seed ^ at as u64).to_le_bytes());
            nodes.push(PubSub::new(Config::default(), nth(at), key));
        }
        let mut net = Self {
            now: Duration::ZERO,
            nodes,
            base: BTreeSet::new(),
            wants: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            serial: 0,
            got: BTreeMap::new(),
            index: (0..count).map(|at| (nth(at), at)).collect(),
            payloads: BTreeMap::new(),
        };
        for at in 0..count {
            for step in 0..degree.div_ceil(2) {
                net.link(at, (at + 1 + step * 7) % count);
            }
            for member in 0..count {
                net.nodes[at].member_up(&nth(member));
            }
        }
        net
    }

    fn link(&mut self, a: usize, b: usize) {
        if a != b && self.base.insert((a.min(b), a.max(b))) {
            self.act(a, |node, now, out| node.neighbor_up(now, &nth(b), out));
            self.act(b, |node, now, out| node.neighbor_up(now, &nth(a), out));
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.base.remove(&(a.min(b), a.max(b)));
        self.act(a, |node, now, out| node.link_down(now, &nth(b), out));
        self.act(b, |node, now, out| node.link_down(now, &nth(a), out));
    }

    fn is_up(&self, a: usize, b: usize) -> bool {
        let key = (a.min(b), a.max(b));
        self.base.contains(&key) || self.wants.get(&key).is_some_and(|wants| !wants.is_empty())
    }

    fn act(&mut self, at: usize, act: impl FnOnce(&mut PubSub, Duration, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        act(&mut self.nodes[at], self.now, &mut out);
        self.perform(at, out);
    }

    fn perform(&mut self, at: usize, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => {
                    for peer in to {
                        let to = self.index[&peer];
                        let latency =
                            Duration::from_micros(500 + ((at.min(to) * 31 + at.max(to)) % 3000) as u64);
                        self.at(
                            self.now + latency,
                            Event::Message {
                                from: at,
                                to,
                                message: message.clone(),
                            },
                        );
                    }
                }
                Effect::Deliver { payload, .. } => *self.got.entry((at, payload)).or_default() += 1,
                Effect::Wake(when) => self.at(when, Event::Timer(at)),
                Effect::Link(peer) => {
                    self.at(
                        self.now + Duration::from_millis(3),
                        Event::Link(at, self.index[&peer]),
                    );
                }
                Effect::Unlink(peer) => {
                    let peer = self.index[&peer];
                    let key = (at.min(peer), at.max(peer));
                    self.wants.entry(key).or_default().remove(&at);
                    if !self.is_up(at, peer) {
                        for (end, other) in [(at, peer), (peer, at)] {
                            let mut out = Vec::new();
                            self.nodes[end].link_down(self.now, &nth(other), &mut out);
                            self.perform(end, out);
                        }
                    }
                }
            }
        }
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((when.max(self.now), self.serial)));
        self.events.insert(self.serial, event);
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(&Reverse((when, serial))) = self.queue.peek() {
            if when > end {
                break;
            }
            self.queue.pop();
            self.now = when;
            match self.events.remove(&serial).expect("each event is queued once") {
                Event::Timer(at) => self.act(at, |node, now, out| node.timer(now, out)),
                Event::Message { from, to, message } => {
                    if !self.is_up(from, to) {
                        continue;
                    }
                    match &message {
                        Message::Shared(plumtree::Message::Gossip(_)) => {
                            *self.payloads.entry((None, to)).or_default() += 1;
                        }
                        Message::Topic(topic, plumtree::Message::Gossip(_)) => {
                            *self.payloads.entry((Some(*topic), to)).or_default() += 1;
                        }
                        _ => {}
                    }
                    let message = crate::plumtree::tests::over_the_wire(&message);
                    self.act(to, |node, now, out| node.receive(now, &nth(from), message, out));
                }
                Event::Link(a, b) => {
                    self.wants.entry((a.min(b), a.max(b))).or_default().insert(a);
                    self.act(a, |node, now, out| node.link_up(now, &nth(b), out));
                    self.act(b, |node, now, out| node.link_up(now, &nth(a), out));
                }
            }
        }
        self.now = end;
    }

    fn subscribe(&mut self, at: usize, topic: u32) {
        self.act(at, |node, now, out| {
            node.subscribe(now, topic, out).expect("few topics")
        });
    }

    fn publish(&mut self, at: usize, topic: u32, text: &str, urgency: Urgency) {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.act(at, |node, now, out| {
            node.broadcast(now, topic, payload, urgency, out).expect("small")
        });
    }

    fn topics(&mut self) {
        for at in 0..self.nodes.len() {
            self.act(at, |node, now, out| node.set_mode(now, Mode::Topics, out));
        }
    }

    /// The nodes that got it, each once.
    fn reached(&self, text: &str) -> Vec<usize> {
        let of_text = self.got.iter().filter(|((_, payload), _)| payload == text);
        of_text
            .map(|((at, _), times)| {
                assert_eq!(*times, 1, "node {at} got {text} {times} times");
                *at
            })
            .collect()
    }
}

#[test]
fn the_shared_tree_delivers_to_subscribers_only() {
    let mut net = Net::new(40, 4, 1);
    for at in [3, 9, 27] {
        net.subscribe(at, 5);
    }
    net.publish(0, 5, "five", Urgency::Normal);
    net.publish(0, EVERYONE, "all", Urgency::Normal);
    net.run(Duration::from_secs(2));
    assert_eq!(net.reached("five"), [3, 9, 27]);
    assert_eq!(net.reached("all").len(), 39);
}

#[test]
fn every_node_learns_who_subscribes_to_what() {
    let mut net = Net::new(60, 4, 2);
    for at in 0..60 {
        net.subscribe(at, 1 + at as u32 % 3);
    }
    net.run(Duration::from_secs(1));
    net.act(7, |node, now, out| node.unsubscribe(now, 2, out));
    net.run(Duration::from_secs(1));
    for node in &net.nodes {
        assert_eq!(node.subscribers(1).count(), 20);
        assert_eq!(node.subscribers(2).count(), 19);
    }
}

#[test]
fn tables_that_drifted_apart_meet_again() {
    let mut net = Net::new(8, 2, 3);
    // Two halves of the ring.
    net.cut(3, 4);
    net.cut(0, 7);
    net.subscribe(1, 5);
    net.subscribe(6, 5);
    net.run(Duration::from_secs(1));
    assert_eq!(net.nodes[0].subscribers(5).count(), 1);
    net.link(3, 4);
    net.run(Duration::from_secs(1));
    assert!(net.nodes.iter().all(|node| node.subscribers(5).count() == 2));
}

#[test]
fn a_topic_has_a_tree_that_only_its_subscribers_carry() {
    let mut net = Net::new(60, 4, 4);
    net.topics();
    let subscribers: Vec<usize> = (0..60).filter(|at| at % 3 == 0).collect();
    for at in &subscribers {
        net.subscribe(*at, 5);
    }
    net.run(Duration::from_secs(1));
    for round in 0..10 {
        net.publish(30, 5, &format!("message {round}"), Urgency::Normal);
        net.run(Duration::from_secs(1));
        let expected: Vec<usize> = subscribers.iter().copied().filter(|at| *at != 30).collect();
        assert_eq!(net.reached(&format!("message {round}")), expected);
    }
    for ((topic, at), count) in &net.payloads {
        assert_eq!(*topic, Some(5), "the shared tree is not used");
        assert!(at % 3 == 0, "node {at} carries what it did not subscribe to");
        assert!(*count <= 13, "node {at} got {count} payloads of 10 messages");
    }
    let links = net.nodes.iter().map(|node| node.links().count()).max();
    assert!(links <= Some(4), "{links:?} links for one topic");
}

#[test]
fn a_publisher_that_does_not_subscribe_enters_by_a_subscriber() {
    let mut net = Net::new(60, 4, 5);
    net.topics();
    for at in (0..60).filter(|at| at % 4 == 0) {
        net.subscribe(at, 5);
    }
    net.run(Duration::from_secs(1));
    net.publish(1, 5, "by the shared tree", Urgency::Normal);
    net.run(Duration::from_secs(1));
    net.payloads.clear();
    net.publish(1, 5, "by the topic's", Urgency::Normal);
    net.run(Duration::from_secs(1));
    assert_eq!(net.reached("by the shared tree").len(), 15);
    assert_eq!(net.reached("by the topic's").len(), 15);
    assert!(
        net.payloads
            .keys()
            .all(|(topic, at)| *topic == Some(5) && at % 4 == 0)
    );
    // Its links close when it is done.
    net.run(Duration::from_secs(60));
    assert_eq!(net.nodes[1].links().count(), 0);
    assert!(net.nodes[1].topic_stats(5).is_none());
    net.publish(1, 5, "again", Urgency::Normal);
    net.run(Duration::from_secs(1));
    assert_eq!(net.reached("again").len(), 15);
}

#[test]
fn switching_modes_under_way_loses_and_repeats_nothing() {
    let mut net = Net::new(30, 4, 6);
    for at in 0..30 {
        net.subscribe(at, 5);
    }
    net.run(Duration::from_secs(1));
    for turn in 0..40 {
        net.publish(turn % 30, 5, &format!("turn {turn}"), Urgency::Normal);
        // Nodes switch one after another, forth and back.
        let mode = if turn < 20 { Mode::Topics } else { Mode::Shared };
        for at in [turn % 20, (turn + 10) % 30] {
            net.act(at, |node, now, out| node.set_mode(now, mode, out));
        }
        net.run(Duration::from_millis(20));
    }
    net.run(Duration::from_secs(20));
    for turn in 0..40 {
        assert_eq!(net.reached(&format!("turn {turn}")).len(), 29, "turn {turn}");
    }
}

#[test]
fn a_subscriber_that_dies_is_routed_around() {
    let mut net = Net::new(40, 4, 7);
    net.topics();
    for at in 0..40 {
        net.subscribe(at, 5);
    }
    net.run(Duration::from_secs(1));
    net.publish(0, 5, "grow", Urgency::Normal);
    net.run(Duration::from_secs(1));
    for victim in [5, 17] {
        for other in (0..40).filter(|other| *other != victim) {
            net.base.remove(&(victim.min(other), victim.max(other)));
            net.wants.remove(&(victim.min(other), victim.max(other)));
            net.act(other, |node, now, out| node.link_down(now, &nth(victim), out));
        }
    }
    net.publish(0, 5, "before it is noticed", Urgency::Normal);
    net.run(Duration::from_secs(2));
    for victim in [5, 17] {
        for other in (0..40).filter(|other| *other != victim) {
            net.act(other, |node, now, out| node.member_down(now, &nth(victim), out));
        }
    }
    net.run(Duration::from_secs(1));
    net.publish(0, 5, "after", Urgency::Urgent);
    net.run(Duration::from_secs(2));
    assert_eq!(net.reached("before it is noticed").len(), 37);
    assert_eq!(net.reached("after").len(), 37);
}

#[test]
fn a_mesh_is_reached_directly_or_in_stages() {
    let mut net = Net::new(24, 2, 8);
    for a in 0..24 {
        for b in 0..a {
            net.link(a, b);
        }
    }
    net.publish(0, EVERYONE, "small", Urgency::Normal);
    net.run(Duration::from_secs(1));
    assert_eq!(
        (net.reached("small").len(), net.payloads.values().sum::<usize>()),
        (23, 23)
    );
    net.payloads.clear();
    let large = "large ".repeat(20_000);
    net.publish(0, EVERYONE, &large, Urgency::Normal);
    net.run(Duration::from_secs(1));
    assert_eq!(
        (net.reached(&large).len(), net.payloads.values().sum::<usize>()),
        (23, 23)
    );
    assert_eq!(
        net.nodes[0].shared_stats().payloads_sent,
        23 + 8,
        "the second goes to eight parts"
    );
}

#[test]
fn refusals_change_nothing() {
    let config = Config {
        max_topics: 2,
        ..Config::default()
    };
    let mut node = PubSub::new(config, nth(0), [0; 32]);
    let mut out = Vec::new();
    for topic in [1, 2, 2] {
        node.subscribe(Duration::ZERO, topic, &mut out).unwrap();
    }
    assert_eq!(
        node.subscribe(Duration::ZERO, 3, &mut out),
        Err(Refused::TooManyTopics { max: 2 })
    );
    let large = Bytes::from(vec![0; (1 << 20) + 1]);
    let refused = node.broadcast(Duration::ZERO, 1, large, Urgency::Normal, &mut out);
    assert_eq!(refused, Err(Refused::TooLarge { max: 1 << 20 }));
}

#[test]
fn what_is_due_after_an_earlier_alarm_is_not_forgotten() {
    let ms = Duration::from_millis;
    let mut node = PubSub::new(Config::default(), nth(0), [0; 32]);
    let mut out = Vec::new();
    node.neighbor_up(ms(0), &nth(1), &mut out);
    node.receive(
        ms(0),
        &nth(1),
        Message::Shared(plumtree::Message::Prune),
        &mut out,
    );
    node.broadcast(
        ms(0),
        EVERYONE,
        Bytes::from_static(b"mine"),
        Urgency::Normal,
        &mut out,
    )
    .unwrap();
    assert!(out.contains(&Effect::Wake(ms(50))), "the batch of announcements");
    let held = plumtree::Held {
        seq: 0,
        round: 0,
        age_ms: 1,
    };
    let theirs = plumtree::Announced {
        origin: nth(2),
        messages: vec![held],
    };
    node.receive(
        ms(10),
        &nth(1),
        Message::Shared(plumtree::Message::Have(vec![theirs])),
        &mut out,
    );
    out.clear();
    node.timer(ms(50), &mut out);
    assert!(
        out.contains(&Effect::Wake(ms(110))),
        "the wait for what was announced: {out:?}"
    );
    out.clear();
    node.timer(ms(110), &mut out);
    let graft = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::Shared(plumtree::Message::Graft(_)),
                ..
            }
        )
    };
    assert!(out.iter().any(graft), "{out:?}");
}
