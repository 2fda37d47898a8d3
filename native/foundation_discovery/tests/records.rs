//! Records and the table of nodes, without a network.

use foundation_discovery::{Event, Facts, Peers, ProofKey};
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

type Strings = Vec<(String, Vec<u8>)>;

fn facts(node: &str, boot: u64) -> Facts {
    Facts {
        node: node.into(),
        app: "app".into(),
        cluster: "c".into(),
        boot,
        port: 4369,
    }
}

fn key() -> ProofKey {
    ProofKey::derive(b"secret").expect("not empty")
}

fn strings(facts: &Facts, key: &ProofKey) -> Strings {
    let own = |(name, value): (&str, String)| (name.to_owned(), value.into_bytes());
    facts.txt(key).into_iter().map(own).collect()
}

fn borrowed(strings: &Strings) -> impl Iterator<Item = (&str, &[u8])> {
    strings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
}

fn offer(peers: &mut Peers, facts: &Facts, strings: &Strings, addresses: &[u8]) -> Option<Event> {
    let addresses = addresses
        .iter()
        .map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, *last)));
    let fullname = format!("{}-{}._foundation._tcp.local.", facts.node, facts.boot);
    peers.resolved(&fullname, borrowed(strings), facts.port, addresses)
}

fn table() -> Peers {
    Peers::new(facts("me@host", 1), key())
}

#[test]
fn a_node_is_found_once_and_again_at_other_addresses_or_after_a_new_boot() {
    let (mut peers, first, second) = (table(), facts("a@host", 5), facts("a@host", 6));
    let (old, new) = (strings(&first, &key()), strings(&second, &key()));
    assert!(matches!(
        offer(&mut peers, &first, &old, &[1]),
        Some(Event::Found(_))
    ));
    assert_eq!(offer(&mut peers, &first, &old, &[1]), None);
    assert!(
        matches!(offer(&mut peers, &first, &old, &[2, 1]), Some(Event::Found(peer)) if peer.addresses.len() == 2)
    );
    assert!(
        matches!(offer(&mut peers, &second, &new, &[1]), Some(Event::Found(peer)) if peer.facts.boot == 6)
    );
    assert_eq!(offer(&mut peers, &first, &old, &[1]), None);
    assert_eq!(peers.removed("a@host-5._foundation._tcp.local."), None);
    assert_eq!(
        peers.removed("A@HOST-6._foundation._TCP.local."),
        Some(Event::Lost(second))
    );
    let counts = peers.counts();
    assert_eq!(
        (counts.found, counts.repeats, counts.stale, counts.lost),
        (3, 1, 1, 1)
    );
    assert!(peers.is_empty());
}

#[test]
fn our_own_record_and_that_of_another_cluster_are_no_news() {
    let mut peers = table();
    let me = facts("me@host", 1);
    assert_eq!(offer(&mut peers, &me, &strings(&me, &key()), &[1]), None);
    let other = Facts {
        cluster: "d".into(),
        ..facts("a@host", 1)
    };
    assert_eq!(offer(&mut peers, &other, &strings(&other, &key()), &[1]), None);
    assert_eq!((peers.counts().own, peers.counts().other_cluster), (1, 1));
}

#[test]
fn strangers_are_named_once_and_boundedly() {
    let mut peers = table();
    let wrong = ProofKey::derive(b"other").expect("not empty");
    for round in 0..3 {
        for i in 0..40 {
            let stranger = facts(&format!("x{i}@host"), round);
            assert_eq!(
                offer(&mut peers, &stranger, &strings(&stranger, &wrong), &[1]),
                None
            );
        }
    }
    assert_eq!(peers.counts().wrong_proof, 120);
    let names: Vec<&str> = peers.strangers().map(|stranger| stranger.node.as_str()).collect();
    assert_eq!((names.len(), names[15]), (16, "x39@host"));
}

#[test]
fn nothing_of_the_key_is_printed() {
    assert_eq!(format!("{:?}", key()), "ProofKey(..)");
}

#[test]
fn names_that_do_not_fit_are_refused() {
    for node in [
        "",
        "a",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a\n@c",
        &format!("a@{}", "h".repeat(249)),
    ] {
        assert!(facts(node, 1).checked().is_err(), "{node:?}");
    }
    assert!(facts(&format!("a@{}", "h".repeat(248)), 1).checked().is_ok());
    let named = |name: &str| Facts {
        app: name.into(),
        ..facts("a@b", 1)
    };
    assert!(named(&"x".repeat(121)).checked().is_err());
    assert!(named("").checked().is_ok());
    assert!(ProofKey::derive(b"").is_err());
}

prop_compose! {
    fn any_facts()(node in "[a-zé_0-9]{1,20}@[a-z.0-9:-]{1,20}", app in "[a-zA-Zß_]{0,20}", cluster in "[!-~]{0,20}",
                   boot: u64, port: u16) -> Facts {
        Facts { node, app, cluster, boot, port }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_proves_itself(facts in any_facts()) {
        let claim = Facts::read(borrowed(&strings(&facts, &key())), facts.port).expect("read");
        prop_assert_eq!(&claim.facts, &facts);
        prop_assert!(key().verify(&facts, &claim.proof));
        prop_assert!(strings(&facts, &key()).iter().all(|(name, value)| name.len() + value.len() < 255));
    }

    // Whatever is changed in a record, it is no news of anyone: the proof covers every field.
    #[test]
    fn a_changed_record_is_refused(facts in any_facts(), at in 1usize..6, byte: u8, place: prop::sample::Index) {
        let honest = strings(&facts, &key());
        let mut forged = honest.clone();
        prop_assume!(!forged[at].1.is_empty());
        let place = place.index(forged[at].1.len());
        forged[at].1[place] = byte;
        prop_assume!(forged != honest);
        let mut peers = Peers::new(Facts { cluster: facts.cluster.clone(), node: "me@me".into(), ..facts.clone() }, key());
        prop_assert_eq!(offer(&mut peers, &facts, &forged, &[1]), None);
        let moved = Facts { port: facts.port.wrapping_add(1), ..facts.clone() };
        prop_assert_eq!(offer(&mut peers, &moved, &honest, &[1]), None);
        prop_assert!(peers.is_empty());
    }

    #[test]
    fn no_record_panics(raw in prop::collection::vec(("[a-z]{0,6}", prop::collection::vec(any::<u8>(), 0..80)), 0..12)) {
        let mut peers = table();
        prop_assert_eq!(offer(&mut peers, &facts("a@host", 1), &raw, &[1]), None);
        prop_assert_eq!(peers.counts().malformed, 1);
    }

    // Against a plain map from node to boot: the table holds the latest boot of each node that has not left since.
    #[test]
    fn the_table_follows_a_naive_model(steps in prop::collection::vec((0u8..6, 0u64..4, prop::bool::weighted(0.3)), 1..120)) {
        let mut peers = table();
        let mut model: HashMap<String, u64> = HashMap::new();
        for (node, boot, leaves) in steps {
            let facts = facts(&format!("n{node}@host"), boot);
            if leaves {
                let there = model.get(&facts.node) == Some(&boot);
                let event = peers.removed(&format!("{}-{boot}._foundation._tcp.local.", facts.node));
                prop_assert_eq!(event.is_some(), there);
                if there { model.remove(&facts.node); }
            } else {
                let new = model.get(&facts.node).is_none_or(|known| *known < boot);
                let event = offer(&mut peers, &facts, &strings(&facts, &key()), &[1]);
                prop_assert_eq!(event.is_some(), new);
                if new { model.insert(facts.node, boot); }
            }
        }
        let known: HashMap<String, u64> = peers.known().map(|facts| (facts.node.clone(), facts.boot)).collect();
        prop_assert_eq!(known, model);
    }
}
