//! Networks to begin with, and conditions to wait for.

use std::time::Duration;

use foundation_overlay::{Config, Topology};
use rand::RngExt;

use crate::graph::{self, Shape};
use crate::network::Network;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Up to so many nodes each knows all others by SWIM; beyond, only its views.
pub(crate) const SWIM_MOST: usize = 1_000;

/// A local network's configuration with partial views, and SWIM where it fits.
pub(crate) fn config(nodes: usize) -> Config {
    let mut config = Config::lan();
    config.topology = Topology::HyParView;
    if nodes > SWIM_MOST {
        config.swim = None;
    }
    config
}

/// Partial views alone, with the sizes that HyParView is usually run with: five links, thirty nodes in reserve.
pub(crate) fn views() -> Config {
    let mut config = Config::lan();
    config.topology = Topology::HyParView;
    config.swim = None;
    config.hyparview.active = Some(5);
    config.hyparview.passive = Some(30);
    config
}

/// The first nodes, through which the others join.
pub(crate) const SEEDS: usize = 3;

/// Starts the nodes one after another within `within`, each joining through the first three.
pub(crate) fn start(network: &mut Network, nodes: usize, within: Duration) {
    let pause = within / nodes.max(1) as u32;
    for at in 0..nodes {
        network.start();
        let through: Vec<usize> = (0..SEEDS.min(nodes)).filter(|seed| *seed < at).collect();
        if !through.is_empty() {
            network.join(at, &through);
        }
        network.run(pause);
    }
}

/// Waits until everyone knows everyone, or without SWIM until the links hold all nodes together.
pub(crate) fn settle(network: &mut Network, limit: Duration) -> Option<Duration> {
    network.run_until(limit, ms(10), |network| is_whole(network))
}

/// Whether everyone knows everyone, or without SWIM whether the links hold all living nodes together.
pub(crate) fn is_whole(network: &Network) -> bool {
    let alive = network.alive().count();
    if network.has_swim() {
        let counts = network.alive().all(|at| network.observed.known(at) + 1 == alive);
        return counts && network.is_one_view();
    }
    let linked = network.alive().all(|at| network.degree(at) > 0);
    linked && shape(network, 0).connected == alive
}

/// Whether no living node was declared gone.
pub(crate) fn quiet(network: &Network) -> bool {
    network.observed.false_positives() == 0
}

/// The graph of links, with ways from this many starts.
pub(crate) fn shape(network: &Network, starts: usize) -> Shape {
    graph::measure(&network.graph(), starts, 1)
}

/// A random living node.
pub(crate) fn anyone(network: &mut Network) -> usize {
    let alive: Vec<usize> = network.alive().collect();
    let at = network.rng().random_range(0..alive.len());
    alive[at]
}

/// So many different living nodes.
pub(crate) fn some(network: &mut Network, count: usize) -> Vec<usize> {
    let mut alive: Vec<usize> = network.alive().collect();
    for at in 0..count.min(alive.len()) {
        let other = network.rng().random_range(at..alive.len());
        alive.swap(at, other);
    }
    alive.truncate(count);
    alive
}

/// The share of a broadcast's destinations that it reached, of `nodes` that were to get it besides its origin.
pub(crate) fn reached(network: &Network, broadcast: usize, among: &[usize]) -> f64 {
    let broadcast = &network.observed.broadcasts[broadcast];
    let to: Vec<_> = among.iter().filter(|at| **at != broadcast.origin).collect();
    let got = to.iter().filter(|at| broadcast.got(***at)).count();
    got as f64 / to.len().max(1) as f64
}
