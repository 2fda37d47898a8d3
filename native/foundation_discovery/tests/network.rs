//! Real sockets and real multicast on one host; each test has a port of its own.

use foundation_discovery::{Config, Discovery, Event, Facts};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(10);

struct Node {
    discovery: Discovery,
    events: Receiver<Event>,
}

fn facts(node: &str, cluster: &str, boot: u64) -> Facts {
    Facts {
        node: node.into(),
        app: "app".into(),
        cluster: cluster.into(),
        boot,
        port: 4369,
    }
}

fn start(port: u16, facts: Facts, secret: &str) -> Node {
    let config = Config {
        facts,
        announce: true,
        port,
        interfaces: Vec::new(),
    };
    let (sender, events) = channel();
    let sink = move |event| {
        let _ = sender.send(event);
    };
    let discovery = Discovery::start(config, secret.as_bytes(), sink).expect("valid facts");
    Node { discovery, events }
}

fn node(port: u16, name: &str) -> Node {
    start(port, facts(name, "c", 1), "secret")
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {WAIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn knows(node: &Node, names: &[&str]) -> Option<()> {
    (node.discovery.stats().nodes == names).then_some(())
}

#[test]
fn nodes_find_each_other_and_notice_a_goodbye() {
    let started = Instant::now();
    let (a, b) = (node(15_301, "a@host"), node(15_301, "b@host"));
    until("a finds b", || knows(&a, &["b@host"]));
    until("b finds a", || knows(&b, &["a@host"]));
    println!("found after {:?}", started.elapsed());
    assert!(b.discovery.stop(WAIT));
    until("a loses b", || knows(&a, &[]));
    let mut seen: Vec<Event> = a.events.try_iter().collect();
    assert_eq!(seen.pop(), Some(Event::Lost(facts("b@host", "c", 1))));
    assert!(!seen.is_empty());
    for event in &seen {
        assert!(
            matches!(event, Event::Found(peer) if peer.facts.node == "b@host"),
            "{event:?}"
        );
    }
    assert!(!b.discovery.stats().running);
}

#[test]
fn a_wrong_secret_is_ignored_counted_and_named() {
    let a = node(15_302, "a@host");
    let stranger = start(15_302, facts("x@host", "c", 1), "another");
    let other = start(15_302, facts("o@host", "other", 1), "secret");
    let wrong = || {
        let stats = a.discovery.stats();
        (stats.counts.wrong_proof > 0 && stats.counts.other_cluster > 0).then_some(stats)
    };
    let stats = until("both are counted", wrong);
    assert_eq!(stats.nodes, Vec::<String>::new());
    assert_eq!(stats.strangers.len(), 1);
    assert_eq!(stats.strangers[0].node, "x@host");
    until("the stranger counts us", || {
        (stranger.discovery.stats().counts.wrong_proof > 0).then_some(())
    });
    assert!(a.events.try_iter().next().is_none());
    drop(other);
}

#[test]
fn dropping_a_node_says_goodbye_and_a_later_boot_is_found_again() {
    let a = node(15_303, "a@host");
    let b = node(15_303, "b@host");
    until("a finds b", || knows(&a, &["b@host"]));
    drop(b);
    until("a loses b", || knows(&a, &[]));
    let again = start(15_303, facts("b@host", "c", 2), "secret");
    until("a finds b again", || knows(&a, &["b@host"]));
    until("b finds a", || knows(&again, &["a@host"]));
    let last = a.events.try_iter().last();
    assert!(matches!(last, Some(Event::Found(peer)) if peer.facts.boot == 2));
}

#[test]
fn an_announcement_is_taken_back_and_made_again() {
    let (a, b) = (node(15_304, "a@host"), node(15_304, "b@host"));
    until("a finds b", || knows(&a, &["b@host"]));
    b.discovery.announce(false).expect("the daemon runs");
    until("a loses b", || knows(&a, &[]));
    until("b still knows a", || knows(&b, &["a@host"]));
    b.discovery.announce(true).expect("the daemon runs");
    until("a finds b again", || knows(&a, &["b@host"]));
}

#[test]
fn five_nodes_all_find_all() {
    let names = ["n1@h", "n2@h", "n3@h", "n4@h", "n5@h"];
    let nodes = names.map(|name| node(15_305, name));
    let started = Instant::now();
    for (name, node) in names.iter().zip(&nodes) {
        let others: Vec<&str> = names.iter().copied().filter(|other| other != name).collect();
        until("all but oneself", || knows(node, &others));
    }
    println!("five nodes after {:?}", started.elapsed());
}

// Packets that no responder sends: random bytes, cut-off headers, compression loops, huge counts.
#[test]
fn hostile_packets_change_nothing() {
    let (a, b) = (node(15_306, "a@host"), node(15_306, "b@host"));
    until("a finds b", || knows(&a, &["b@host"]));
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..3_000 {
        let len = 1 + (random() % 600) as usize;
        let mut packet: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if round % 2 == 0 && len > 14 {
            packet[..12].copy_from_slice(&[0, 0, 0x84, 0, 0, 0, 0, 9, 0, 0, 0, 0]);
            packet[12..14].copy_from_slice(&[0xc0, 12]);
        }
        if round % 3 == 0 && len > 40 {
            packet[12..37].copy_from_slice(b"\x0b_foundation\x04_tcp\x05local\x00\x00");
        }
        socket.send_to(&packet, "224.0.0.251:15306").expect("sent");
    }
    let c = node(15_306, "c@host");
    until("b still finds", || knows(&b, &["a@host", "c@host"]));
    until("a still finds", || knows(&a, &["b@host", "c@host"]));
    until("c finds both", || knows(&c, &["a@host", "b@host"]));
    assert_eq!(a.discovery.stats().counts.wrong_proof, 0);
}
