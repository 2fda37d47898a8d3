//! The cluster falls into two, and comes together again.

use foundation_overlay::Urgency;

use super::Setup;
use super::build::{config, is_whole, ms, reached, secs, settle, shape, start};
use crate::network::Network;
use crate::report::Report;
use crate::stats::{percent, time};

pub(crate) fn run(setup: Setup, report: &mut Report) {
    for (name, both, span) in [
        ("20 s, both ways", true, 20),
        ("20 s, one way", false, 20),
        ("3 s, both ways", true, 3),
    ] {
        part(setup, report, name, both, span);
    }
}

fn part(setup: Setup, report: &mut Report, name: &str, both: bool, span: u64) {
    let mut network = Network::new(config(setup.nodes), setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        format!("{name}: the nodes did not come together within a minute")
    });
    network.run(secs(10));
    let all: Vec<usize> = network.alive().collect();
    let (left, right) = all.split_at(all.len() * 3 / 5);
    right.iter().for_each(|at| network.node_mut(*at).group = 1);
    network.faults.cut(0, 1);
    if both {
        network.faults.cut(1, 0);
    }
    network.run(secs(span) / 2);
    let mut sent = Vec::new();
    for from in [left[0], right[0]] {
        sent.extend(network.broadcast(from, 0, 100, Urgency::Normal));
    }
    network.run(secs(span) / 2);
    let side = sent
        .iter()
        .zip([left, right])
        .map(|(each, side)| reached(&network, *each, side));
    let side = side.fold(1.0, f64::min);
    network.heal();
    let limit = secs(60);
    let linked = network.run_until(limit, ms(10), |network| {
        let alive = network.alive().count();
        shape(network, 0).connected == alive
    });
    let after = network.broadcast(left[1], 0, 100, Urgency::Normal);
    let view = network.run_until(limit, ms(10), |network| is_whole(network));
    let view = view.zip(linked).map(|(view, linked)| view + linked);
    network.run(secs(20));
    let both_sides = sent
        .iter()
        .map(|each| reached(&network, *each, &all))
        .fold(1.0, f64::min);
    let after = after.map_or(0.0, |each| reached(&network, each, &all));
    report.row(
        format!("{name}: broadcasts meanwhile reach their own side"),
        percent(side),
    );
    report.row(
        format!("{name}: from the heal until the links hold all together"),
        linked.map_or("never".into(), time),
    );
    report.row(
        format!("{name}: from the heal until everyone knows everyone"),
        view.map_or("never".into(), time),
    );
    report.row(
        format!("{name}: broadcasts of before the heal reach the other side in the end"),
        percent(both_sides),
    );
    report.row(
        format!("{name}: a broadcast right after the links are back reaches"),
        percent(after),
    );
    report.expect(view.is_some(), || {
        format!("{name}: the cluster did not come together within a minute")
    });
    report.expect(side >= 1.0 || !both, || {
        format!("{name}: a broadcast did not reach its own side")
    });
    report.expect(both_sides >= 1.0, || {
        format!("{name}: a broadcast never reached the other side")
    });
    report.expect(after >= 1.0, || {
        format!("{name}: a broadcast after the heal did not reach everyone")
    });
    report.close(&mut network);
}
