//! Small runs of the scenarios, and that runs repeat.

use foundation_overlay::{Config, Topology, Urgency};
use foundation_sim::scenarios::{ALL, Scenario, Setup};
use foundation_sim::{Network, Violation};
use std::time::Duration;

fn passes(name: &str, seeds: std::ops::Range<u64>) {
    let scenario = Scenario::named(name).expect("it is in the list");
    for seed in seeds {
        let report = scenario.run(Setup {
            nodes: scenario.small,
            seed,
        });
        assert!(report.violations.is_empty(), "{}", report.text());
    }
}

#[test]
fn joining() {
    passes("join", 1..3);
    passes("degree", 1..2);
}

#[test]
fn failures() {
    passes("failures", 1..2);
}

#[test]
fn broadcasts() {
    passes("broadcast", 1..2);
    passes("topics", 1..3);
}

#[test]
fn calm() {
    passes("steady", 1..2);
}

#[test]
fn detection() {
    passes("detect", 1..2);
}

#[test]
fn partitions() {
    passes("partition", 1..3);
}

#[test]
fn switches() {
    passes("switch", 1..4);
}

#[test]
fn churn() {
    passes("churn", 1..2);
}

#[test]
fn any_weather() {
    passes("weather", 1..25);
}

#[test]
fn a_seed_decides_everything() {
    for name in ["weather", "partition", "churn"] {
        let scenario = Scenario::named(name).expect("it is in the list");
        let run = |seed| scenario.run(Setup { nodes: 20, seed });
        let (first, again, other) = (run(7), run(7), run(8));
        assert_eq!(
            (first.hash, first.events, &first.rows),
            (again.hash, again.events, &again.rows),
            "{name}"
        );
        assert_ne!(first.hash, other.hash, "{name}");
    }
}

#[test]
fn a_failure_says_how_to_have_it_again() {
    let scenario = &ALL[0];
    let mut report = scenario.run(Setup { nodes: 5, seed: 3 });
    assert!(!report.text().contains("again:"));
    report.violations.push(Violation::Invented { node: 1 });
    assert!(
        report
            .text()
            .contains("again: cargo run --release -p foundation_sim -- run join --nodes 5 --seed 3")
    );
}

fn cluster(nodes: usize, seed: u64) -> Network {
    let mut config = Config::lan();
    config.topology = Topology::HyParView;
    let mut network = Network::new(config, seed);
    for at in 0..nodes {
        network.start();
        if at > 0 {
            network.join(at, &[0]);
        }
        network.run(Duration::from_millis(1));
    }
    network.run(Duration::from_secs(5));
    network
}

#[test]
fn a_network_that_loses_everything_is_noticed() {
    // The simulation itself: what cannot arrive does not, and the looks at it say so.
    let mut network = cluster(10, 1);
    assert!(network.is_one_view());
    for at in 0..10 {
        network.node_mut(at).group = at as u8;
        for other in 0..10 {
            network.faults.cut(at as u8, other);
        }
    }
    let lost = network
        .broadcast(0, 0, 100, Urgency::Urgent)
        .expect("it is small");
    network.run(Duration::from_secs(10));
    assert!(!network.is_one_view());
    assert_eq!(network.observed.broadcasts[lost].count, 0);
    assert!(network.observed.false_positives() > 0);
    network.heal();
    network.run(Duration::from_secs(15));
    assert!(network.is_one_view());
    assert_eq!(
        network.observed.broadcasts[lost].count, 9,
        "kept until the links were back"
    );
}

#[test]
fn a_link_keeps_order_and_a_crash_ends_it() {
    let mut network = cluster(6, 2);
    network.faults.loss = 0.3;
    let sent: Vec<usize> = (0..200)
        .filter_map(|turn| network.broadcast(turn % 6, 0, 50, Urgency::Normal))
        .collect();
    network.run(Duration::from_secs(20));
    assert!(
        sent.iter()
            .all(|each| network.observed.broadcasts[*each].count == 5)
    );
    assert_eq!(network.observed.violations, []);
    network.crash(3);
    network.run(Duration::from_secs(20));
    assert!(network.is_one_view());
    assert!(network.graph().iter().flatten().all(|links| !links.contains(&3)));
}
