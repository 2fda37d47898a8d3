//! Partial views between simulated nodes.
use crate::testnet::{Net, ms};
use crate::{Config, Topology};

fn views() -> Config {
    Config {
        topology: Topology::HyParView,
        ..Config::lan()
    }
}

/// Links of each living node that both ends hold open and its topology wants.
fn degrees(net: &Net) -> Vec<usize> {
    let open = |at: usize| net.nodes[at].overlay.links().filter(|(_, up)| *up).count();
    net.alive().map(open).collect()
}

#[test]
fn three_hundred_nodes_are_connected_with_at_most_ten_links_each() {
    let mut net = Net::cluster(1, 300, &views());
    let took = net.run_to(ms(30_000), Net::agreed);
    assert!(took.is_some());
    net.run_for(ms(20_000));
    let degrees = degrees(&net);
    println!(
        "agreed after {took:?}; degrees {}..{}",
        degrees.iter().min().unwrap(),
        degrees.iter().max().unwrap()
    );
    assert!(net.alive().all(|at| net.degree(at) <= 10), "open connections");
    assert!(degrees.iter().all(|degree| *degree <= 7), "{degrees:?}");
    assert!(degrees.iter().all(|degree| *degree >= 2), "{degrees:?}");
    assert_eq!(net.reach(), 300);
}

#[test]
fn the_overlay_heals_when_half_of_it_dies() {
    for seed in 0..3 {
        let mut net = Net::cluster(seed, 60, &views());
        net.run_to(ms(20_000), Net::agreed).expect("a cluster");
        net.run_for(ms(5_000));
        (0..60).filter(|at| at % 2 == 1).for_each(|at| net.kill(at));
        assert!(net.run_to(ms(20_000), Net::agreed).is_some(), "seed {seed}");
        net.run_for(ms(3_000));
        assert_eq!(net.reach(), 30, "seed {seed}");
    }
}

#[test]
fn partial_views_do_without_swim() {
    let config = Config {
        swim: None,
        ..views()
    };
    let mut net = Net::cluster(2, 200, &config);
    net.run_for(ms(30_000));
    let degrees = degrees(&net);
    assert!(
        degrees.iter().all(|degree| (2..=7).contains(degree)),
        "{degrees:?}"
    );
    assert_eq!(net.reach(), 200);
}
