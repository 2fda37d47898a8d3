//! A node dies; the others notice.

use std::time::Duration;

use super::Setup;
use super::build::{config, ms, secs, settle, some, start};
use crate::faults::Handicap;
use crate::network::Network;
use crate::report::Report;
use crate::stats::{quantile, time};

/// Nodes that die, one after another.
const DEATHS: usize = 20;

pub(crate) fn run(setup: Setup, report: &mut Report) {
    for (name, loss, slow) in [
        ("no loss", 0.0, false),
        ("5 % loss", 0.05, false),
        ("30 % loss", 0.3, false),
        ("a tenth of the nodes pauses 300 ms each second", 0.0, true),
    ] {
        detect(setup, report, name, loss, slow);
    }
}

fn detect(setup: Setup, report: &mut Report, name: &str, loss: f64, slow: bool) {
    let mut network = Network::new(config(setup.nodes), setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        format!("{name}: the nodes did not come together within a minute")
    });
    network.run(secs(10));
    network.faults.loss = loss;
    if slow {
        for at in some(&mut network, setup.nodes / 10) {
            network.node_mut(at).handicap = Handicap {
                pause: ms(300),
                every: secs(1),
                ..Handicap::NONE
            };
        }
    }
    network.run(secs(60));
    let calm = network.observed.false_positives();
    let suspected = network.observed.false_suspicions;
    let victims = some(&mut network, DEATHS.min(setup.nodes / 3));
    for (turn, victim) in victims.iter().enumerate() {
        // A stopped process, and a machine off the network: links tell of neither.
        if turn % 2 == 0 {
            network.freeze(*victim, true);
        } else {
            network.vanish(*victim);
        }
        network.run(secs(4));
    }
    network.run(secs(10));
    let mut first = Vec::new();
    let mut all = Vec::new();
    for victim in &victims {
        let of = |each: &&crate::observe::Detection| each.subject == *victim && each.after.is_some();
        let times: Vec<Duration> = network
            .observed
            .detections
            .iter()
            .filter(of)
            .filter_map(|each| each.after)
            .collect();
        first.extend(times.iter().min());
        all.extend(times.iter().max());
    }
    report.expect(all.len() == victims.len(), || {
        format!("{name}: not every death was noticed")
    });
    report.row(
        format!("{name}: first node that knows, median; all know, median and worst"),
        format!(
            "{}; {}; {}",
            time(quantile(&first, 0.5)),
            time(quantile(&all, 0.5)),
            time(quantile(&all, 1.0))
        ),
    );
    let hours = setup.nodes as f64 * network.now().as_secs_f64() / 3600.0;
    report.row(
        format!("{name}: declared gone by mistake in a minute, and in all ({hours:.0} node hours)"),
        format!("{}; {}", calm, network.observed.false_positives()),
    );
    report.row(
        format!("{name}: suspicions of living nodes in that minute, refuted"),
        suspected.to_string(),
    );
    if loss == 0.0 && !slow {
        report.expect(quantile(&all, 0.5) < secs(2), || {
            "detection takes two seconds or more".to_owned()
        });
        report.expect(network.observed.false_positives() == 0, || {
            "a living node was declared gone".to_owned()
        });
    }
    report.close(&mut network);
}
