//! Nothing happens.

use super::Setup;
use super::build::{config, ms, secs, settle, start};
use crate::network::Network;
use crate::report::Report;

const SPAN: u64 = 60;

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let mut network = Network::new(config(setup.nodes), setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    // What is known of the members stops being news.
    network.run(secs(30));
    let before = network.traffic();
    network.run(secs(SPAN));
    let after = network.traffic();
    let each = |now: u64, then: u64| (now - then) as f64 / setup.nodes as f64 / SPAN as f64;
    report.row(
        "datagrams for each node and second",
        format!("{:.1}", each(after.datagrams, before.datagrams)),
    );
    report.row(
        "their bytes for each node and second",
        format!("{:.0}", each(after.datagram_bytes, before.datagram_bytes)),
    );
    report.row(
        "frames for each node and second",
        format!("{:.2}", each(after.frames, before.frames)),
    );
    report.row(
        "their bytes for each node and second",
        format!("{:.0}", each(after.frame_bytes, before.frame_bytes)),
    );
    report.row(
        "links opened for each node and minute",
        format!("{:.2}", each(after.connects, before.connects) * 60.0),
    );
    report.row(
        "members declared gone by mistake",
        network.observed.false_positives().to_string(),
    );
    report.expect(network.observed.false_positives() == 0, || {
        "a living node was declared gone".to_owned()
    });
    report.close(&mut network);
}
