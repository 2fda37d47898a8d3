//! Faults of all kinds, chosen by the seed; then calm.

use std::time::Duration;

use foundation_overlay::{Topology, Urgency};
use rand::RngExt;

use super::Setup;
use super::build::{anyone, config, is_whole, ms, reached, secs, shape, some, start};
use crate::faults::{Faults, Handicap};
use crate::latency::Latency;
use crate::network::Network;
use crate::report::Report;
use crate::stats::time;

/// From the calm until everyone knows everyone, at most.
const MOST: Duration = secs(10);

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let mut config = config(setup.nodes);
    config.topology = Topology::ALL[(setup.seed % 4) as usize];
    let mut network = Network::new(config, setup.seed);
    clocks(&mut network, setup.nodes);
    start(&mut network, setup.nodes, ms(5 * setup.nodes as u64));
    network.run(secs(5));
    let mut weather = Vec::new();
    for _ in 0..12 {
        weather.push(change(&mut network));
        let span = ms(network.rng().random_range(200..4_000));
        for _ in 0..4 {
            let from = anyone(&mut network);
            network.broadcast(from, 0, 100, Urgency::Normal);
            network.run(span / 4);
        }
    }
    calm(&mut network);
    let whole = network.run_until(secs(90), ms(20), |network| {
        is_whole(network) && connected(network)
    });
    report.row("weather", weather.join(", "));
    report.row(
        "from the calm until everyone knows everyone",
        whole.map_or("never".into(), time),
    );
    report.expect(whole.is_some(), || {
        let alive = network.alive().count();
        let known: Vec<usize> = network.alive().map(|at| network.observed.known(at) + 1).collect();
        format!("the cluster of {alive} did not come together: the nodes know {known:?}")
    });
    report.expect(whole.is_none_or(|took| took < MOST), || {
        format!("the cluster took more than {} to come together", time(MOST))
    });
    network.run(secs(5));
    let all: Vec<usize> = network.alive().collect();
    let from = anyone(&mut network);
    let last = network.broadcast(from, 0, 100, Urgency::Normal);
    network.run(secs(10));
    let reached = last.map_or(0.0, |last| reached(&network, last, &all));
    report.expect(reached >= 1.0, || {
        format!("a broadcast in calm reached {reached:.3} of the nodes")
    });
    report.close(&mut network);
}

fn connected(network: &Network) -> bool {
    let shape = shape(network, 0);
    shape.connected == shape.nodes
}

/// Clocks that are off by up to a minute and run up to 200 ppm fast or slow.
fn clocks(network: &mut Network, nodes: usize) {
    let drawn: Vec<_> = (0..nodes)
        .map(|_| {
            (
                network.rng().random_range(-200..=200),
                ms(network.rng().random_range(0..60_000)),
            )
        })
        .collect();
    network.handicaps = drawn
        .into_iter()
        .map(|(drift_ppm, ahead)| Handicap {
            drift_ppm,
            ahead,
            ..Handicap::NONE
        })
        .collect();
}

fn change(network: &mut Network) -> String {
    let share = [0.0, 0.05, 0.2][network.rng().random_range(0..3)];
    match network.rng().random_range(0..9) {
        0 => network.faults.loss = share,
        1 => (network.faults.duplicates, network.faults.disorder) = (share, share),
        2 => {
            network.faults.latency = Latency::LogNormal {
                median: ms(5),
                sigma: 0.8,
            }
        }
        3 => {
            for at in 0..network.nodes().len() {
                network.node_mut(at).group = (at % 3) as u8;
            }
            let (from, to) = (network.rng().random_range(0..3), network.rng().random_range(0..3));
            network.faults.cut(from, to);
            return format!("cut {from} to {to}");
        }
        4 => network.heal(),
        5 => {
            for at in some(network, 2) {
                let handicap = network.nodes()[at].handicap;
                network.node_mut(at).handicap = Handicap {
                    pause: ms(400),
                    every: secs(1),
                    ..handicap
                };
            }
            return "two pause".to_owned();
        }
        6 => {
            let at = anyone(network);
            if network.alive().count() > 4 {
                network.crash(at);
            }
            return format!("crash {at}");
        }
        7 => {
            let dead = (0..network.nodes().len()).find(|at| !network.nodes()[*at].alive);
            if let Some(at) = dead {
                network.restart(at);
                let through = anyone(network);
                network.join(at, &[through, 0]);
            }
            return format!("restart {dead:?}");
        }
        _ => {
            let topology = Topology::ALL[network.rng().random_range(0..4)];
            let at = anyone(network);
            network.switch(at, topology);
            return format!("switch to {}", topology.name());
        }
    }
    format!("{share} loss or disorder")
}

fn calm(network: &mut Network) {
    network.heal();
    network.faults = Faults::default();
    for at in 0..network.nodes().len() {
        network.node_mut(at).handicap.pause = Duration::ZERO;
    }
}
