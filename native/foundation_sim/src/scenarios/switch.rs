//! The topology changes under way.

use std::time::Duration;

use foundation_overlay::{Topology, Urgency};

use super::Setup;
use super::build::{config, ms, quiet, reached, secs, settle, some, start};
use crate::network::Network;
use crate::report::Report;
use crate::stats::{count, percent, quantile, time};

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let mut config = config(setup.nodes);
    config.topology = Topology::FullMesh;
    let mut network = Network::new(config, setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    network.run(secs(5));
    let all: Vec<usize> = network.alive().collect();
    all.iter().for_each(|at| network.subscribe(*at, 7));
    let mut sent = Vec::new();
    let (mut adopted, mut settled) = (Vec::new(), Vec::new());
    let round = [
        Topology::HyParView,
        Topology::ClientServer,
        Topology::PubSub,
        Topology::FullMesh,
    ];
    for (turn, topology) in round.into_iter().chain(round).enumerate() {
        let from = network.now();
        let deciders = some(&mut network, 1 + turn / 4);
        // In the second round two nodes decide at once, for different topologies.
        for (which, decider) in deciders.iter().enumerate() {
            let chosen = if which == 0 {
                topology
            } else {
                round[(turn + 2) % 4]
            };
            network.switch(*decider, chosen);
        }
        load(&mut network, &mut sent, secs(8));
        let seen: Vec<_> = network.observed.topologies.values().copied().collect();
        let agreed = seen.windows(2).all(|pair| pair[0].0 == pair[1].0);
        report.expect(agreed && seen.len() == all.len(), || {
            format!("switch {turn}: the nodes do not agree")
        });
        adopted.extend(
            network
                .observed
                .adopted
                .iter()
                .filter(|at| **at >= from)
                .map(|at| *at - from),
        );
        settled.extend(
            seen.iter()
                .filter(|each| each.1)
                .map(|each| each.2.saturating_sub(from)),
        );
    }
    network.run(secs(20));
    let least = sent
        .iter()
        .map(|each| reached(&network, *each, &all))
        .fold(1.0, f64::min);
    let missing = sent
        .iter()
        .filter(|each| reached(&network, **each, &all) < 1.0)
        .count();
    report.row(
        "switches, half of them decided by two nodes at once",
        (2 * round.len()).to_string(),
    );
    report.row("broadcasts meanwhile", count(sent.len() as u64));
    report.row("worst of them reached", percent(least));
    report.row("broadcasts that missed a node", missing.to_string());
    report.row(
        "until a node has changed, median and last; until it has let go of the old links, median",
        format!(
            "{}; {}; {}",
            time(quantile(&adopted, 0.5)),
            time(quantile(&adopted, 1.0)),
            time(quantile(&settled, 0.5))
        ),
    );
    report.expect(missing == 0, || format!("{missing} broadcasts missed a node"));
    report.expect(quiet(&network), || "a node was declared gone".to_owned());
    report.close(&mut network);
}

/// Broadcasts from all sides, 50 a second.
fn load(network: &mut Network, sent: &mut Vec<usize>, span: Duration) {
    for turn in 0..span.as_millis() / 20 {
        let from = some(network, 1)[0];
        let (topic, urgency) = match turn % 5 {
            0 => (0, Urgency::Urgent),
            1 | 2 => (0, Urgency::Normal),
            _ => (7, Urgency::Normal),
        };
        sent.extend(network.broadcast(from, topic, 200, urgency));
        network.run(ms(20));
    }
}
