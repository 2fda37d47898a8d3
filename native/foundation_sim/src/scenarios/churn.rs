//! Nodes come and go all the time.

use foundation_overlay::Urgency;
use rand::RngExt;

use super::Setup;
use super::build::{anyone, config, is_whole, ms, secs, settle, shape, start};
use crate::network::Network;
use crate::report::Report;
use crate::stats::{count, percent, time};

const SPAN: u64 = 60;

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let mut network = Network::new(config(setup.nodes), setup.seed);
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        "the nodes did not come together within a minute".to_owned()
    });
    network.run(secs(10));
    let mut changes = 0;
    let mut sent: Vec<(usize, Vec<usize>)> = Vec::new();
    let (mut whole_looks, mut looks, mut worst) = (0, 0, 1.0_f64);
    // Each second one node in fifty changes.
    let pause = ms(1000 * 50 / setup.nodes as u64);
    let steps = SPAN * 1000 / pause.as_millis() as u64;
    for step in 0..steps {
        changes += usize::from(change(&mut network, setup.nodes));
        network.run(pause);
        if step % 8 == 0 {
            let from = anyone(&mut network);
            let living: Vec<usize> = network.alive().collect();
            sent.extend(
                network
                    .broadcast(from, 0, 100, Urgency::Normal)
                    .map(|each| (each, living)),
            );
            let shape = shape(&network, 0);
            looks += 1;
            whole_looks += usize::from(shape.connected == shape.nodes);
            worst = worst.min(shape.connected as f64 / shape.nodes as f64);
        }
    }
    let calm = network.run_until(secs(60), ms(10), |network| is_whole(network));
    network.run(secs(20));
    let (mut got, mut due) = (0, 0);
    for (each, living) in &sent {
        let broadcast = &network.observed.broadcasts[*each];
        for at in living
            .iter()
            .filter(|at| **at != broadcast.origin && network.lived_since(**at, broadcast.sent))
        {
            due += 1;
            got += usize::from(broadcast.got(*at));
        }
    }
    report.row(
        format!("joins, leaves, crashes and restarts in {SPAN} s"),
        count(changes as u64),
    );
    report.row(
        "looks at which the links held all nodes together",
        format!("{whole_looks} of {looks}"),
    );
    report.row("smallest share of the nodes that hung together", percent(worst));
    report.row(
        "deliveries to nodes that lived throughout, of those due",
        percent(got as f64 / due.max(1) as f64),
    );
    report.row(
        "from the last change until everyone knows everyone",
        calm.map_or("never".into(), time),
    );
    report.row(
        "declared gone by mistake",
        network.observed.false_positives().to_string(),
    );
    report.expect(calm.is_some(), || {
        "the cluster did not come together within a minute".to_owned()
    });
    report.expect(got == due, || {
        format!("{} deliveries of {due} are missing", due - got)
    });
    report.close(&mut network);
}

/// One node joins, leaves, crashes or starts again; about as many come as go.
fn change(network: &mut Network, nodes: usize) -> bool {
    let alive = network.alive().count();
    let grow = if alive < nodes { 0.7 } else { 0.3 };
    if network.rng().random_bool(grow) {
        let dead: Vec<usize> = (0..network.nodes().len())
            .filter(|at| !network.nodes()[*at].alive)
            .collect();
        let through = anyone(network);
        let at = if dead.is_empty() || network.rng().random_bool(0.3) {
            network.start()
        } else {
            let which = network.rng().random_range(0..dead.len());
            network.restart(dead[which]);
            dead[which]
        };
        network.join(at, &[through]);
        return true;
    }
    if alive <= nodes / 2 {
        return false;
    }
    let at = anyone(network);
    match network.rng().random_range(0..3) {
        0 => network.leave(at),
        1 => network.crash(at),
        _ => network.vanish(at),
    }
    true
}
