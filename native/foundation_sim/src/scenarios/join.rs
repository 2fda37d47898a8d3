//! All nodes join within a while.

use super::Setup;
use super::build::{config, ms, secs, settle, shape, start};
use crate::network::Network;
use crate::report::Report;
use crate::stats::{count, time};

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let config = config(setup.nodes);
    let swim = config.swim.is_some();
    let mut network = Network::new(config, setup.seed);
    // A thousand nodes a second, at most.
    let within = ms(setup.nodes as u64).min(secs(10));
    start(&mut network, setup.nodes, within);
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    let traffic = network.traffic();
    let what = if swim {
        "everyone knows everyone"
    } else {
        "the links hold all nodes together"
    };
    report.row(
        "membership",
        if swim {
            "SWIM, everyone knows everyone"
        } else {
            "partial views only"
        },
    );
    report.row(
        format!("from the start of the last node until {what}"),
        whole.map_or("never".into(), time),
    );
    report.row("time over which the nodes were started", time(within));
    let each = |total: u64| format!("{:.1}", total as f64 / setup.nodes as f64);
    report.row("datagrams sent for each node until then", each(traffic.datagrams));
    report.row("frames sent for each node until then", each(traffic.frames));
    report.row("links opened for each node until then", each(traffic.connects));
    // A few exchanges of views later.
    network.run(secs(30));
    describe(&network, setup, report);
    report.close(&mut network);
}

/// The figures of the graph, beside those of a random one.
fn describe(network: &Network, setup: Setup, report: &mut Report) {
    let shape = shape(network, 200);
    let (clustering, path) = shape.expected();
    let random = |figure: String| format!("a random graph with these degrees: {figure}");
    report.expect(shape.connected == setup.nodes, || {
        format!("the links fall into {} parts", shape.parts)
    });
    report.row(
        "connected after 30 s",
        format!(
            "{} of {}",
            count(shape.connected as u64),
            count(setup.nodes as u64)
        ),
    );
    let degrees: Vec<String> = shape
        .degrees
        .iter()
        .enumerate()
        .filter(|(_, nodes)| **nodes > 0)
        .map(|(degree, nodes)| format!("{degree}: {}", count(*nodes as u64)))
        .collect();
    report.row("links: nodes", degrees.join(", "));
    report.row(
        "links, mean and most",
        format!("{:.2}; {}", shape.mean_degree(), shape.max_degree()),
    );
    report.beside(
        "clustering coefficient",
        format!("{:.5}", shape.clustering),
        random(format!("{clustering:.5}")),
    );
    report.beside(
        "shortest way, mean",
        format!("{:.2}", shape.path),
        random(format!("{path:.2}")),
    );
    report.row("shortest way, longest", shape.longest.to_string());
}

pub(crate) fn degree(setup: Setup, report: &mut Report) {
    let mut network = Network::new(config(setup.nodes), setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    let mut most = 0;
    for _ in 0..60 {
        network.run(secs(1));
        most = most.max(network.alive().map(|at| network.degree(at)).max().unwrap_or(0));
    }
    report.beside(
        "links of one node, most in a minute after all have joined",
        most.to_string(),
        "at most 10",
    );
    report.expect(most <= 10, || format!("a node had {most} links"));
    describe(&network, setup, report);
    report.close(&mut network);
}
