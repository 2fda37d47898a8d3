//! Whatever arrives, and whatever happens to the cluster, the overlay stays in order.
use bytes::Bytes;
use proptest::prelude::*;

use crate::testnet::{Net, addr, index_of, ms, node_id};
use crate::wire::{self, VERSION};
use crate::{Config, Effect, Error, Input, MemberEvent, Overlay, Peer, Role, Topology, Urgency};

fn alone() -> Overlay {
    let me = Peer {
        id: node_id(0, 1),
        addr: addr(0),
        role: Role::Peer,
        meta: Bytes::new(),
    };
    Overlay::new(Config::lan(), me, [1; 32]).unwrap()
}

/// Real datagrams and frames, to be changed a little.
fn specimens() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for topology in Topology::ALL {
        let config = Config {
            topology,
            ..Config::lan()
        };
        let mut net = Net::cluster(1, 12, &config);
        net.keep_specimens = true;
        net.run_for(ms(2_000));
        net.input(3, Input::Switch(Topology::FullMesh));
        net.input(
            1,
            Input::Broadcast {
                topic: 0,
                payload: Bytes::from_static(b"x"),
                urgency: Urgency::Normal,
            },
        );
        net.input(2, Input::LinkDown(node_id(9, 1)));
        net.run_for(ms(500));
        net.input(4, Input::Leave);
        net.run_for(ms(500));
        all.append(&mut net.specimens);
    }
    all.sort();
    all.dedup();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_counted_and_dropped(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..24, framed: bool) {
        let mut overlay = alone();
        let mut out = Vec::new();
        overlay.handle(ms(1), Input::LinkUp(node_id(1, 1)), &mut out).unwrap();
        for versioned in [false, true] {
            if versioned && bytes.len() >= 2 {
                (bytes[0], bytes[1]) = (VERSION, kind);
            }
            let before = overlay.stats().counters.malformed;
            let from = node_id(1, 1);
            let input = if framed {
                Input::Frame { from: &from, bytes: &bytes }
            } else {
                Input::Datagram { from: addr(1), bytes: &bytes }
            };
            let result = overlay.handle(ms(2), input, &mut out);
            let refused = matches!(result, Err(Error::Malformed(_) | Error::Version(_)));
            prop_assert!(refused || result.is_ok(), "{result:?}");
            prop_assert_eq!(overlay.stats().counters.malformed - before, u64::from(refused));
        }
    }
}

#[test]
fn damaged_messages_never_cause_a_panic() {
    let specimens = specimens();
    let kinds: std::collections::BTreeSet<_> = specimens.iter().map(|bytes| bytes[1]).collect();
    assert!(kinds.len() >= 7, "every kind of message was seen: {kinds:?}");
    let mut overlay = alone();
    let mut out = Vec::new();
    for at in 1..12 {
        overlay
            .handle(ms(1), Input::LinkUp(node_id(at, 1)), &mut out)
            .unwrap();
    }
    let mut now = ms(1);
    for (round, specimen) in specimens.iter().enumerate() {
        for damage in 0..24 {
            let mut bytes = specimen.clone();
            let at = (round * 31 + damage * 7) % bytes.len().max(1);
            match damage % 4 {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << (damage / 4),
                2 => bytes.insert(at, 0xff),
                _ => bytes[at] = 0x80,
            }
            now += ms(1);
            let from = node_id(1 + round % 11, 1);
            let _ = overlay.handle(
                now,
                Input::Frame {
                    from: &from,
                    bytes: &bytes,
                },
                &mut out,
            );
            let _ = overlay.handle(
                now,
                Input::Datagram {
                    from: addr(1),
                    bytes: &bytes,
                },
                &mut out,
            );
            out.clear();
        }
    }
    assert!(overlay.stats().counters.malformed > 0);
}

#[test]
fn another_version_is_refused_by_name() {
    let mut overlay = alone();
    let knock = wire::encode(wire::kind::PROBE, &wire::Probe::Knock);
    let mut out = Vec::new();
    overlay
        .handle(
            ms(1),
            Input::Datagram {
                from: addr(1),
                bytes: &knock,
            },
            &mut out,
        )
        .unwrap();
    assert!(
        out.iter().any(|effect| matches!(effect, Effect::Datagram { .. })),
        "answered"
    );
    let mut other = knock.to_vec();
    other[0] = VERSION + 1;
    let refused = overlay.handle(
        ms(2),
        Input::Datagram {
            from: addr(1),
            bytes: &other,
        },
        &mut out,
    );
    assert_eq!(refused, Err(Error::Version(VERSION + 1)));
}

#[derive(Clone, Debug)]
enum Event {
    Kill(usize),
    Restart(usize),
    Partition(u64),
    Heal,
    Switch(usize, Topology),
    Freeze(usize),
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = 1..16_usize;
    let event = prop_oneof![
        node.clone().prop_map(Event::Kill),
        node.clone().prop_map(Event::Restart),
        (1..1_000_u64).prop_map(Event::Partition),
        Just(Event::Heal),
        (node.clone(), 0..4_usize).prop_map(|(at, which)| Event::Switch(at, Topology::ALL[which])),
        node.prop_map(Event::Freeze),
        (1..2_000_u64).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 1..12)
}

fn play(net: &mut Net, event: &Event, config: &Config, boot: &mut u64) {
    match *event {
        Event::Kill(at) => net.kill(at),
        Event::Restart(at) => {
            *boot += 1;
            net.kill(at);
            net.restart(at, *boot, config);
            net.join(at, &[0, 1, 2]);
        }
        Event::Partition(bits) => net.partition(|at| bits >> (at % 10) & 1 == 1),
        Event::Heal => net.cut.clear(),
        Event::Switch(at, topology) if net.nodes[at].alive => net.input(at, Input::Switch(topology)),
        Event::Switch(..) => {}
        Event::Freeze(at) => {
            let until = net.now + ms(1_500);
            net.freeze(at, until);
        }
        Event::Wait(millis) => net.run_for(ms(millis)),
    }
    net.run_for(ms(50));
}

/// Once the network is whole again and left alone, every node knows exactly the living ones, all have the same
/// topology, links are mutual and lead everywhere, and none leads to a node itself.
fn comes_to_order(seed: u64, events: &[Event]) -> Result<(), TestCaseError> {
    let config = with_partial_views();
    let mut net = Net::cluster(seed, 16, &config);
    let mut boot = 1;
    net.run_for(ms(1_000));
    for event in events {
        play(&mut net, event, &config, &mut boot);
    }
    net.cut.clear();
    prop_assert!(net.run_to(ms(40_000), Net::agreed).is_some(), "no agreement");
    net.run_for(ms(25_000));
    let topologies: Vec<_> = net.alive().map(|at| net.nodes[at].overlay.topology()).collect();
    prop_assert!(
        topologies.iter().all(|topology| *topology == topologies[0]),
        "{topologies:?}"
    );
    prop_assert_eq!(net.reach(), net.alive().count());
    for at in net.alive() {
        for (id, up) in net.nodes[at].overlay.links() {
            let other = index_of(id);
            prop_assert!(other != at);
            prop_assert!(up, "{at} wants {other}");
            let me = net.id(at);
            prop_assert!(
                net.nodes[other]
                    .overlay
                    .links()
                    .any(|(back, up)| *back == me && up),
                "{at} and {other}"
            );
        }
        if matches!(topologies[0], Topology::HyParView | Topology::PubSub) {
            prop_assert!(net.degree(at) <= 10);
        }
    }
    let before = net.count(|event| matches!(event, MemberEvent::Down { .. }));
    net.run_for(ms(5_000));
    prop_assert_eq!(
        net.count(|event| matches!(event, MemberEvent::Down { .. })),
        before,
        "quiet"
    );
    Ok(())
}

fn with_partial_views() -> Config {
    Config {
        topology: Topology::HyParView,
        ..Config::lan()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn order_returns_after_any_disorder(seed in 0..10_000_u64, events in events()) {
        comes_to_order(seed, &events)?;
    }
}

/// The oldest serve. When one of them dies, a client takes its place, and its link to another server, which it had as
/// a client, breaks: that server must go on wanting it, though it is its client no more.
#[test]
fn a_client_that_becomes_a_server_stays_wanted() {
    let events = [
        Event::Wait(653),
        Event::Switch(1, Topology::ClientServer),
        Event::Freeze(1),
        Event::Kill(2),
    ];
    comes_to_order(1_728, &events).unwrap();
}
