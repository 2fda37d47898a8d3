//! Broadcasts over trees.

use std::time::Duration;

use foundation_overlay::{Topology, Urgency};

use super::Setup;
use super::build::{anyone, config, ms, reached, secs, settle, start};
use crate::faults::Faults;
use crate::latency::Latency;
use crate::network::Network;
use crate::report::Report;
use crate::stats::{percent, quantile, time};

const WARM: usize = 20;
const MEASURED: usize = 100;

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let lan = Latency::LAN;
    let far = Latency::TwoDatacentres {
        near: Duration::from_micros(500),
        far: ms(40),
        sigma: 0.3,
    };
    let wide = Latency::LogNormal {
        median: ms(20),
        sigma: 0.6,
    };
    for (name, latency, loss) in [
        ("local network", lan, 0.0),
        ("local network, 5 % loss", lan, 0.05),
        ("two datacentres 40 ms apart", far, 0.0),
        ("log-normal, median 20 ms, 1 % loss", wide, 0.01),
    ] {
        let mut faults = Faults::default();
        (faults.latency, faults.loss) = (latency, loss);
        measure(setup, report, name, faults);
    }
}

fn measure(setup: Setup, report: &mut Report, name: &str, faults: Faults) {
    let mut config = config(setup.nodes);
    // Trees alone are looked at here.
    config.swim = None;
    config.hyparview.active = Some(5);
    let mut network = Network::new(config, setup.seed);
    network.faults = faults;
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        format!("{name}: the nodes did not come together within a minute")
    });
    network.run(secs(20));
    let source = anyone(&mut network);
    for _ in 0..WARM {
        network.broadcast(source, 0, 1_000, Urgency::Normal);
        network.run(ms(500));
    }
    let before = totals(&network);
    let mut sent = Vec::new();
    for _ in 0..MEASURED {
        sent.extend(network.broadcast(source, 0, 1_000, Urgency::Normal));
        network.run(ms(200));
    }
    network.run(secs(15));
    let after = totals(&network);
    let all: Vec<usize> = network.alive().collect();
    let least = sent
        .iter()
        .map(|each| reached(&network, *each, &all))
        .fold(1.0, f64::min);
    report.row(format!("{name}: reached"), percent(least));
    report.expect(least >= 1.0, || {
        format!("{name}: a broadcast did not reach everyone")
    });
    let each = |now: u64, then: u64| (now - then) as f64 / sent.len() as f64 / (setup.nodes - 1) as f64;
    report.row(
        format!("{name}: payloads for each node and broadcast"),
        format!("{:.3}", each(after.0, before.0)),
    );
    report.row(
        format!("{name}: other messages for each node and broadcast"),
        format!("{:.3}", each(after.1, before.1)),
    );
    let broadcasts = &network.observed.broadcasts;
    let last: Vec<Duration> = sent
        .iter()
        .map(|at| broadcasts[*at].last - broadcasts[*at].sent)
        .collect();
    let times: Vec<Duration> = sent
        .iter()
        .flat_map(|at| broadcasts[*at].times.iter().copied())
        .collect();
    report.row(
        format!("{name}: until a node has it, median; until the last has it, median and worst"),
        format!(
            "{}; {}; {}",
            time(quantile(&times, 0.5)),
            time(quantile(&last, 0.5)),
            time(quantile(&last, 1.0))
        ),
    );
    report.close(&mut network);
}

/// Payloads and other messages sent by all trees.
fn totals(network: &Network) -> (u64, u64) {
    network.nodes().iter().fold((0, 0), |(payloads, control), node| {
        let stats = node.overlay.tree_stats();
        (payloads + stats.payloads_sent, control + stats.control_sent)
    })
}

pub(crate) fn topics(setup: Setup, report: &mut Report) {
    let mut config = config(setup.nodes);
    config.topology = Topology::PubSub;
    let mut network = Network::new(config, setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    // Topic 1 has a tenth of the nodes, topic 2 half of them.
    let tenth: Vec<usize> = (0..setup.nodes).filter(|at| at % 10 == 3).collect();
    let half: Vec<usize> = (0..setup.nodes).filter(|at| at % 2 == 1).collect();
    for (topic, nodes) in [(1, &tenth), (2, &half)] {
        nodes.iter().for_each(|at| network.subscribe(*at, topic));
    }
    network.run(secs(15));
    for (topic, nodes, name) in [(1, &tenth, "a tenth"), (2, &half, "half")] {
        let mut sent = Vec::new();
        let frames = network.traffic().frame_bytes;
        for turn in 0..MEASURED {
            sent.extend(network.broadcast(nodes[turn % nodes.len()], topic, 4_000, Urgency::Normal));
            network.run(ms(100));
        }
        network.run(secs(5));
        let payload = (network.traffic().frame_bytes - frames) as f64 / 4_000.0 / sent.len() as f64;
        let least = sent
            .iter()
            .map(|each| reached(&network, *each, nodes))
            .fold(1.0, f64::min);
        let strangers = sent
            .iter()
            .map(|each| network.observed.broadcasts[*each].count)
            .max()
            .unwrap_or(0);
        report.row(format!("{name} of the nodes subscribe: reached"), percent(least));
        report.expect(least >= 1.0, || format!("{name}: a subscriber was not reached"));
        report.expect(strangers < nodes.len(), || {
            format!("{name}: who did not subscribe got it")
        });
        report.beside(
            format!("{name} of the nodes subscribe: bytes of all links for a broadcast, in payloads"),
            format!("{payload:.1}"),
            format!("{} subscribers besides the publisher", nodes.len() - 1),
        );
    }
    report.close(&mut network);
}
