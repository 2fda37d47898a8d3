//! Ways between simulated nodes, while some of them come and go.
use crate::testnet::{Net, index_of, ms};
use crate::{Config, NodeId, Role, Route, Topology};

const SERVERS: usize = 4;
const NODES: usize = 24;

fn clients_and_servers(seed: u64) -> (Net, Config) {
    let config = Config {
        topology: Topology::ClientServer,
        ..Config::lan()
    };
    let mut net = Net::new(seed);
    for at in 0..NODES {
        let role = if at < SERVERS { Role::Server } else { Role::Client };
        net.add_as(&config, role, "");
    }
    (0..NODES).for_each(|at| net.join(at, &[0, 1]));
    (net, config)
}

/// No way of a client is to dial another client, or leads through one.
fn clients_keep_apart(net: &Net) {
    for from in net.alive().filter(|at| *at >= SERVERS) {
        for to in (SERVERS..NODES).filter(|to| *to != from) {
            for way in net.nodes[from].overlay.ways(&net.id(to)) {
                match way {
                    Route::Via(next) => assert!(index_of(&next) < SERVERS, "{from} to {to} via {next}"),
                    way => panic!("{from} to {to}: {way:?}"),
                }
            }
        }
        let links = net.nodes[from].overlay.links();
        assert!(links.into_iter().all(|(id, _)| index_of(id) < SERVERS), "{from}");
    }
}

/// How many relays a message needs that always takes the first way.
fn relays(net: &Net, from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    for relays in 0..4 {
        match net.nodes[at].overlay.ways(&net.id(to)).into_iter().next()? {
            Route::Direct | Route::Dial(_) => return Some(relays),
            Route::Via(next) => at = index_of(&next),
            Route::Unknown => return None,
        }
    }
    None
}

#[test]
fn clients_never_dial_clients_whatever_becomes_of_the_servers() {
    for seed in 0..4 {
        let (mut net, config) = clients_and_servers(seed);
        let look = |net: &mut Net, millis: u64| {
            for _ in 0..millis / 100 {
                net.run_for(ms(100));
                clients_keep_apart(net);
            }
        };
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        look(&mut net, 2_000);
        net.kill(0);
        look(&mut net, 3_000);
        net.partition(|at| at == 1 || (8..12).contains(&at));
        look(&mut net, 4_000);
        net.cut.clear();
        net.restart(0, 2, &config);
        net.join(0, &[2, 3]);
        look(&mut net, 8_000);
        net.run_to(ms(20_000), Net::agreed).expect("a cluster again");
        look(&mut net, 2_000);
        for (from, to) in (SERVERS..NODES).flat_map(|from| (SERVERS..NODES).map(move |to| (from, to))) {
            if from != to {
                let through = relays(&net, from, to);
                assert!(
                    matches!(through, Some(1 | 2)),
                    "seed {seed}: {from} to {to}: {through:?}"
                );
            }
        }
    }
}

#[test]
fn without_any_server_a_client_waits() {
    let (mut net, _) = clients_and_servers(9);
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.run_for(ms(2_000));
    // Cut off from all servers, it sees the other clients for a while.
    net.partition(|at| at >= SERVERS);
    for _ in 0..30 {
        net.run_for(ms(100));
        let overlay = &net.nodes[20].overlay;
        let ways = overlay.ways(&net.id(21));
        let served = (0..SERVERS).any(|at| overlay.member(&net.id(at).name).is_some());
        assert!(
            !served || !ways.iter().any(|way| matches!(way, Route::Dial(_))),
            "{ways:?}"
        );
    }
}

#[test]
fn beside_dialling_neighbours_are_named_elsewhere() {
    let config = Config {
        topology: Topology::HyParView,
        ..Config::lan()
    };
    let mut net = Net::cluster(5, 30, &config);
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.run_for(ms(3_000));
    for to in 1..30 {
        let ways = net.nodes[0].overlay.ways(&net.id(to));
        if ways[0] == Route::Direct {
            continue;
        }
        let dial = ways
            .iter()
            .position(|way| matches!(way, Route::Dial(peer) if peer.id == net.id(to)));
        // Before it a way that was found because dialling had failed, behind it neighbours.
        let (before, after) = (&ways[..dial.unwrap()], &ways[dial.unwrap() + 1..]);
        let linked = |next: &NodeId| net.nodes[0].overlay.links().any(|(id, up)| up && id == next);
        let relays = |ways: &[Route]| {
            ways.iter()
                .all(|way| matches!(way, Route::Via(next) if linked(next)))
        };
        assert!(relays(before) && relays(after), "{ways:?}");
        assert!(before.len() <= 1 && after.len() == 3, "{ways:?}");
    }
    let mut stranger = net.id(3);
    stranger.boot += 1;
    assert!(net.nodes[0].overlay.ways(&stranger).is_empty(), "another life");
}
