//! Nodes die, one by one and many at once; the others notice.

use std::time::Duration;

use foundation_overlay::Config;

use super::Setup;
use super::build::{config, ms, secs, settle, some, start};
use crate::faults::Handicap;
use crate::latency::Latency;
use crate::network::Network;
use crate::report::Report;
use crate::stats::{quantile, time};

/// Nodes of a run that die one after another.
const DEATHS: usize = 20;

/// What the network is like meanwhile.
struct Weather {
    name: &'static str,
    loss: f64,
    /// Whether some of the nodes stop for a while, again and again.
    pauses: bool,
    /// Whether the nodes are in two places far apart, with the defaults for that.
    wide: bool,
}

const CALM: Weather = Weather {
    name: "no loss",
    loss: 0.0,
    pauses: false,
    wide: false,
};

const WEATHERS: [Weather; 5] = [
    CALM,
    Weather {
        name: "5 % loss",
        loss: 0.05,
        ..CALM
    },
    Weather {
        name: "30 % loss",
        loss: 0.3,
        ..CALM
    },
    Weather {
        name: "a tenth of the nodes pauses 300 ms each second",
        pauses: true,
        ..CALM
    },
    Weather {
        name: "wide profile, two datacentres 100 ms apart, 1 % loss",
        loss: 0.01,
        wide: true,
        ..CALM
    },
];

impl Weather {
    fn config(&self, nodes: usize) -> Config {
        let mut config = config(nodes);
        if self.wide {
            let wide = Config::wan();
            (config.swim, config.links) = (wide.swim, wide.links);
        }
        config
    }

    fn begin(&self, network: &mut Network, nodes: usize) {
        network.faults.loss = self.loss;
        if self.pauses {
            for at in some(network, nodes / 10) {
                network.node_mut(at).handicap = Handicap {
                    pause: ms(300),
                    every: secs(1),
                    ..Handicap::NONE
                };
            }
        }
    }
}

/// What all runs in one weather found.
#[derive(Default)]
struct Found {
    /// Of each death, until the first survivor knew and until the last did.
    first: Vec<Duration>,
    last: Vec<Duration>,
    /// Until everyone knew of everyone, when three tenths died at once.
    many: Vec<Duration>,
    /// Of a minute in which nobody died.
    suspicions: u64,
    /// Living nodes declared gone.
    mistakes: usize,
    hours: f64,
    /// Deaths that a survivor did not notice in time.
    missed: usize,
}

pub(crate) fn run(setup: Setup, report: &mut Report) {
    // As many nodes in all, whatever the size of one cluster, so that the worst of each means the same.
    let runs = if setup.nodes < 100 {
        2
    } else {
        (1_000 / setup.nodes).clamp(2, 10) as u64
    };
    report.row("runs, each with another seed", runs.to_string());
    for weather in &WEATHERS {
        let mut found = Found::default();
        for run in 0..runs {
            let seed = setup.seed + run * 1_000;
            one(Setup { seed, ..setup }, weather, report, &mut found);
        }
        describe(setup, weather, report, &found);
    }
}

fn one(setup: Setup, weather: &Weather, report: &mut Report, found: &mut Found) {
    let mut network = Network::new(weather.config(setup.nodes), setup.seed);
    if weather.wide {
        network.faults.latency = Latency::TwoDatacentres {
            near: ms(1),
            far: ms(100),
            sigma: 0.3,
        };
    }
    start(&mut network, setup.nodes, ms(setup.nodes as u64));
    let whole = settle(&mut network, secs(60));
    report.expect(whole.is_some(), || {
        format!(
            "{}: the nodes did not come together within a minute",
            weather.name
        )
    });
    network.run(secs(5));
    weather.begin(&mut network, setup.nodes);
    network.run(secs(60));
    found.suspicions += network.observed.false_suspicions;
    let victims = kill(
        &mut network,
        setup.nodes,
        if weather.wide { secs(15) } else { secs(3) },
    );
    collect(&network, &victims, found);
    let rest = network.alive().count();
    for victim in some(&mut network, rest * 3 / 10) {
        network.freeze(victim, true);
    }
    match settle(&mut network, secs(90)) {
        Some(took) => found.many.push(took),
        None => found.missed += 1,
    }
    found.mistakes += network.observed.false_positives();
    found.hours += setup.nodes as f64 * network.now().as_secs_f64() / 3600.0;
    report.close(&mut network);
}

/// Stops some nodes one after another, as a stopped process or as a machine off the network: links tell of neither.
fn kill(network: &mut Network, nodes: usize, pause: Duration) -> Vec<usize> {
    let victims = some(network, DEATHS.min(nodes / 3));
    for (turn, victim) in victims.iter().enumerate() {
        if turn % 2 == 0 {
            network.freeze(*victim, true);
        } else {
            network.vanish(*victim);
        }
        network.run(pause);
    }
    // Whoever has not noticed by then counts as one that never did.
    settle(network, secs(90));
    victims
}

/// When each survivor noticed each death.
fn collect(network: &Network, victims: &[usize], found: &mut Found) {
    let survivors: Vec<usize> = network.alive().collect();
    for victim in victims {
        let mut times = Vec::with_capacity(survivors.len());
        for each in &network.observed.detections {
            if each.subject == *victim && survivors.binary_search(&each.observer).is_ok() {
                times.extend(each.after);
            }
        }
        if times.len() < survivors.len() {
            found.missed += 1;
        }
        found.first.extend(times.iter().min());
        found.last.extend(times.iter().max());
    }
}

fn describe(setup: Setup, weather: &Weather, report: &mut Report, found: &Found) {
    let name = weather.name;
    let spread = |times: &[Duration]| {
        format!(
            "{}; {}; {}",
            time(quantile(times, 0.5)),
            time(quantile(times, 0.99)),
            time(quantile(times, 1.0))
        )
    };
    report.row(
        format!("{name}: the first survivor knows, p50, p99 and worst"),
        spread(&found.first),
    );
    report.row(
        format!(
            "{name}: all survivors know, p50, p99 and worst of {} deaths",
            found.last.len()
        ),
        spread(&found.last),
    );
    report.row(
        format!("{name}: three tenths stop at once, until all know of all, median and worst"),
        format!(
            "{}; {}",
            time(quantile(&found.many, 0.5)),
            time(quantile(&found.many, 1.0))
        ),
    );
    report.row(
        format!(
            "{name}: declared gone by mistake in {:.0} node hours",
            found.hours
        ),
        found.mistakes.to_string(),
    );
    report.row(
        format!("{name}: suspicions of living nodes seen in a minute without deaths, for each node"),
        format!(
            "{:.1}",
            found.suspicions as f64 / (found.many.len().max(1) * setup.nodes) as f64
        ),
    );
    report.expect(found.missed == 0, || {
        format!("{name}: {} deaths were not noticed by everyone", found.missed)
    });
    if weather.loss == 0.0 && !weather.pauses {
        let usual = quantile(&found.last, 0.9);
        report.expect(usual < secs(2), || {
            format!("one death in ten is known to all after {} only", time(usual))
        });
        report.expect(found.mistakes == 0, || {
            "a living node was declared gone".to_owned()
        });
    }
}
