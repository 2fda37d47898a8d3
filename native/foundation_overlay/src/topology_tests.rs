//! Links, routes and switches between simulated nodes.
use bytes::Bytes;

use crate::testnet::{Net, index_of, ms, node_id};
use crate::{Config, Input, Role, Route, Topology, Urgency, Workload};

fn with(topology: Topology) -> Config {
    Config {
        topology,
        ..Config::lan()
    }
}

fn up(net: &Net, at: usize) -> Vec<usize> {
    let links = net.nodes[at].overlay.links();
    links.filter(|(_, up)| *up).map(|(id, _)| index_of(id)).collect()
}

/// Broadcasts from one node and counts who got it, failing if anyone got it twice.
fn broadcast(net: &mut Net, from: usize, text: &str) -> usize {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    net.input(
        from,
        Input::Broadcast {
            topic: 0,
            payload: payload.clone(),
            urgency: Urgency::Normal,
        },
    );
    net.run_for(ms(3_000));
    let times = |at: &usize| {
        net.nodes[*at]
            .delivered
            .iter()
            .filter(|(.., got)| *got == payload)
            .count()
    };
    let counts: Vec<_> = net.alive().map(|at| times(&at)).collect();
    assert!(counts.iter().all(|count| *count <= 1), "{counts:?}");
    counts.iter().sum()
}

/// Follows routes hop by hop as a relaying driver would.
fn travel(net: &Net, from: usize, to: usize) -> Option<usize> {
    let target = net.id(to);
    let mut at = from;
    for hops in 1..=8 {
        match net.nodes[at].overlay.route(&target) {
            Route::Direct => return Some(hops),
            Route::Via(next) => at = index_of(&next),
            Route::Dial(_) | Route::Unknown => return None,
        }
    }
    None
}

#[test]
fn a_full_mesh_links_every_two_nodes_once() {
    let mut net = Net::cluster(1, 12, &with(Topology::FullMesh));
    let meshed = |net: &Net| (0..12).all(|at| up(net, at).len() == 11);
    assert!(net.run_to(ms(3_000), meshed).is_some());
    assert!((0..12).all(|at| net.degree(at) == 11));
    assert_eq!(broadcast(&mut net, 3, "to all"), 11);
}

#[test]
fn every_topology_broadcasts_once_to_everyone() {
    for topology in Topology::ALL {
        let mut net = Net::cluster(5, 40, &with(topology));
        net.run_to(ms(10_000), Net::agreed).expect("a cluster");
        net.run_for(ms(3_000));
        for at in [0, 17, 39] {
            assert_eq!(
                broadcast(&mut net, at, &format!("{topology:?} {at}")),
                39,
                "{topology:?}"
            );
        }
    }
}

#[test]
fn clients_are_linked_to_servers_only_and_reach_each_other_through_them() {
    let mut net = Net::new(2);
    let config = with(Topology::ClientServer);
    for at in 0..30 {
        let role = if at < 3 { Role::Server } else { Role::Client };
        net.add_as(&config, role, "");
    }
    (0..30).for_each(|at| net.join(at, &[0, 1]));
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.run_for(ms(8_000));
    for at in 3..30 {
        let links = up(&net, at);
        assert!(
            links.len() == 2 && links.iter().all(|server| *server < 3),
            "{at}: {links:?}"
        );
    }
    for at in 0..3 {
        assert_eq!(
            up(&net, at).iter().filter(|other| **other < 3).count(),
            2,
            "servers are meshed"
        );
    }
    for (a, b) in [(3, 29), (10, 11), (5, 0), (2, 17)] {
        assert!(travel(&net, a, b).is_some_and(|hops| hops <= 3), "{a} to {b}");
    }
    net.kill(0);
    net.run_to(ms(5_000), Net::agreed).expect("noticed");
    net.run_for(ms(2_000));
    assert!(
        (3..30).all(|at| up(&net, at).len() == 2),
        "clients found another server"
    );
    assert!(travel(&net, 3, 29).is_some());
}

#[test]
fn without_servers_the_oldest_peers_serve() {
    let mut net = Net::cluster(2, 12, &with(Topology::ClientServer));
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.run_for(ms(7_000));
    for at in 3..12 {
        assert!(
            up(&net, at).iter().all(|server| *server < 3),
            "{:?}",
            up(&net, at)
        );
    }
}

#[test]
fn a_switch_reaches_everyone_and_lets_the_former_links_go() {
    let mut net = Net::cluster(4, 30, &with(Topology::FullMesh));
    net.run_to(ms(5_000), |net| (0..30).all(|at| up(net, at).len() == 29))
        .expect("a mesh");
    for (at, topology) in [
        (7, Topology::HyParView),
        (3, Topology::ClientServer),
        (9, Topology::PubSub),
        (1, Topology::FullMesh),
    ] {
        net.input(at, Input::Switch(topology));
        let switched = |net: &Net| {
            net.nodes
                .iter()
                .all(|node| node.overlay.topology() == topology && node.overlay.stats().settled)
        };
        assert!(net.run_to(ms(25_000), switched).is_some(), "{topology:?}");
        assert_eq!(net.reach(), 30);
        assert_eq!(broadcast(&mut net, 5, topology.name()), 29, "{topology:?}");
        let most = (0..30).map(|at| net.degree(at)).max().unwrap();
        match topology {
            Topology::FullMesh => assert_eq!(most, 29),
            Topology::HyParView | Topology::PubSub => assert!(most <= 10, "{most}"),
            Topology::ClientServer => assert!((3..30).all(|at| up(&net, at).len() == 2)),
        }
        let events = &net.nodes[11].topologies;
        assert_eq!(events.last().map(|last| (last.0, last.2)), Some((topology, true)));
    }
}

#[test]
fn two_who_switch_at_once_come_to_the_same() {
    for seed in 0..5 {
        let mut net = Net::cluster(seed, 20, &with(Topology::FullMesh));
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.input(4, Input::Switch(Topology::ClientServer));
        net.input(15, Input::Switch(Topology::HyParView));
        net.run_for(ms(5_000));
        let first = net.nodes[0].overlay.stats();
        assert!(net.nodes.iter().all(|node| {
            let stats = node.overlay.stats();
            (stats.topology, stats.epoch) == (Topology::HyParView, 1)
        }));
        assert_eq!(first.epoch, 1);
    }
}

#[test]
fn who_was_away_catches_up_with_a_switch() {
    let mut net = Net::cluster(8, 10, &with(Topology::FullMesh));
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.partition(|at| at == 6);
    net.run_for(ms(6_000));
    net.input(1, Input::Switch(Topology::HyParView));
    net.run_for(ms(3_000));
    assert_eq!(net.nodes[6].overlay.topology(), Topology::FullMesh);
    net.cut.clear();
    let caught_up = |net: &Net| net.nodes[6].overlay.topology() == Topology::HyParView;
    assert!(net.run_to(ms(3_000), caught_up).is_some());
}

#[test]
fn broadcasts_survive_switches_under_load() {
    let mut net = Net::cluster(9, 24, &with(Topology::FullMesh));
    net.run_to(ms(5_000), |net| (0..24).all(|at| up(net, at).len() == 23))
        .expect("a mesh");
    let mut sent = 0;
    for round in 0..200_u32 {
        if round % 50 == 10 {
            let topology = Topology::ALL[(round as usize / 50 + 1) % 4];
            net.input(round as usize % 24, Input::Switch(topology));
        }
        let payload = Bytes::copy_from_slice(&round.to_be_bytes());
        net.input(
            round as usize * 7 % 24,
            Input::Broadcast {
                topic: 0,
                payload,
                urgency: Urgency::Normal,
            },
        );
        sent += 1;
        net.run_for(ms(50));
    }
    net.run_for(ms(10_000));
    for (at, node) in net.nodes.iter().enumerate() {
        let mut got: Vec<_> = node
            .delivered
            .iter()
            .map(|(.., payload)| payload.clone())
            .collect();
        let all = got.len();
        got.sort();
        got.dedup();
        assert_eq!(got.len(), all, "nothing twice at {at}");
        let own = (0..200_usize).filter(|round| round * 7 % 24 == at).count();
        assert_eq!(got.len(), sent - own, "everything at {at}");
    }
}

#[test]
fn a_node_that_cannot_be_dialled_is_reached_through_neighbours() {
    let mut net = Net::cluster(3, 30, &with(Topology::HyParView));
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.run_for(ms(3_000));
    let from = 4;
    let linked = up(&net, from);
    let to = (0..30).find(|at| *at != from && !linked.contains(at)).unwrap();
    assert!(matches!(
        net.nodes[from].overlay.route(&net.id(to)),
        Route::Dial(_)
    ));
    let target = net.id(to);
    net.input(from, Input::LinkDown(target.clone()));
    net.run_for(ms(100));
    assert!(matches!(net.nodes[from].overlay.route(&target), Route::Via(_)));
    assert!(travel(&net, from, to).is_some_and(|hops| hops <= 5));
    assert!(travel(&net, to, from).is_some_and(|hops| hops <= 5), "and back");
    assert_eq!(net.nodes[from].overlay.route(&node_id(999, 1)), Route::Unknown);
}

#[test]
fn the_topology_is_chosen_when_asked_and_then_left_alone() {
    let mut config = with(Topology::FullMesh);
    config.automatic.every = ms(1_000);
    config.automatic.cool_down = ms(20_000);
    let mut net = Net::cluster(6, 120, &config);
    net.run_to(ms(10_000), Net::agreed).expect("a cluster");
    (0..120).for_each(|at| net.input(at, Input::Automatic(Some(Workload::Measured))));
    let chosen = |net: &Net| {
        net.nodes
            .iter()
            .all(|node| node.overlay.topology() != Topology::FullMesh)
    };
    assert!(net.run_to(ms(10_000), chosen).is_some());
    net.run_for(ms(60_000));
    let switches = net.nodes[50].overlay.stats().epoch;
    assert_eq!(switches, 1, "one decision, and no second thoughts");
}

#[test]
fn what_is_measured_is_what_the_network_does() {
    let mut net = Net::cluster(7, 10, &with(Topology::FullMesh));
    net.latency = (5_000, 5_000);
    net.run_to(ms(10_000), Net::agreed).expect("a cluster");
    net.run_for(ms(70_000));
    let before = net.nodes[0].overlay.analyze();
    let rtt = before.rtt.expect("measured");
    assert!((9_900.0..=10_100.0).contains(&rtt.median), "{rtt:?}");
    assert!(before.loss < 0.01 && before.churn_per_minute < 0.1, "{before:?}");
    net.loss = 0.2;
    net.kill(9);
    net.run_for(ms(40_000));
    let partner = net.id(3);
    net.input(
        0,
        Input::Traffic {
            peer: &partner,
            sent: 6_000_000,
            received: 600,
            lost: 3,
        },
    );
    let after = net.nodes[0].overlay.analyze();
    assert!((0.1..0.3).contains(&after.loss), "{}", after.loss);
    assert!(after.churn_per_minute > 0.5, "{}", after.churn_per_minute);
    assert!(
        (90_000.0..140_000.0).contains(&after.sent_per_second),
        "{}",
        after.sent_per_second
    );
    assert_eq!(after.partners, 1);
    let report = after.peers.iter().find(|report| report.id == partner).unwrap();
    assert_eq!(
        (report.sent, report.received, report.lost, report.linked),
        (6_000_000, 600, 3, true)
    );
}
