//! Many nodes die at once.

use super::Setup;
use super::build::{anyone, ms, reached, secs, settle, shape, some, start, views};
use crate::network::Network;
use crate::report::Report;
use crate::stats::{percent, quantile, time};
use foundation_overlay::Urgency;

/// Broadcasts at each point.
const EACH: usize = 20;

pub(crate) fn run(setup: Setup, report: &mut Report) {
    report.row(
        "views",
        "5 links, 30 in reserve, walks of 6 and 3: HyParView's usual sizes",
    );
    for share in [0.3, 0.6, 0.9] {
        fail(setup, report, share);
    }
}

fn fail(setup: Setup, report: &mut Report, share: f64) {
    let mut network = Network::new(views(), setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64).min(secs(10)));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    network.run(secs(50));
    let dead = (setup.nodes as f64 * share) as usize;
    for victim in some(&mut network, dead) {
        network.crash(victim);
    }
    let left: Vec<usize> = network.alive().collect();
    let name = |what: &str| format!("{:.0} % die: {what}", share * 100.0);
    let broken = shape(&network, 0);
    report.row(
        name("largest part of the survivors right after"),
        percent(broken.connected as f64 / left.len() as f64),
    );
    // Nobody has noticed yet.
    let before = send(&mut network, Urgency::Urgent);
    let treed = send(&mut network, Urgency::Normal);
    network.run(secs(1));
    let early = mean(&network, &before, &left);
    network.run(secs(29));
    let healed = shape(&network, 0);
    report.row(
        name("flooded at that instant, reached within 1 s"),
        percent(early),
    );
    report.row(
        name("flooded at that instant, reached in the end"),
        percent(mean(&network, &before, &left)),
    );
    report.row(
        name("by the tree at that instant, reached in the end"),
        percent(mean(&network, &treed, &left)),
    );
    report.row(
        name("survivors that hang together after 30 s"),
        percent(healed.connected as f64 / left.len() as f64),
    );
    report.row(
        name("links after 30 s, mean"),
        format!("{:.2}", healed.mean_degree()),
    );
    let after = send(&mut network, Urgency::Normal);
    network.run(secs(30));
    let last: Vec<_> = after
        .iter()
        .map(|each| network.observed.broadcasts[*each].last - network.observed.broadcasts[*each].sent)
        .collect();
    report.row(
        name("sent after 30 s, reached"),
        percent(mean(&network, &after, &left)),
    );
    report.row(
        name("sent after 30 s, until the last node, median"),
        time(quantile(&last, 0.5)),
    );
    let expected = healed.connected == left.len();
    report.expect(!expected || mean(&network, &after, &left) >= 1.0, || {
        format!(
            "{:.0} %: a broadcast after healing did not reach everyone",
            share * 100.0
        )
    });
    report.expect(share > 0.8 || healed.connected == left.len(), || {
        format!("{:.0} %: the survivors do not hang together again", share * 100.0)
    });
    report.close(&mut network);
}

fn send(network: &mut Network, urgency: Urgency) -> Vec<usize> {
    (0..EACH)
        .filter_map(|_| {
            let origin = anyone(network);
            network.broadcast(origin, 0, 100, urgency)
        })
        .collect()
}

fn mean(network: &Network, broadcasts: &[usize], among: &[usize]) -> f64 {
    let total: f64 = broadcasts.iter().map(|each| reached(network, *each, among)).sum();
    total / broadcasts.len().max(1) as f64
}
