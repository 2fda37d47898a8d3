//! What is simulated: each scenario builds a network, lets something happen to it, and says what came of it.

mod broadcast;
mod build;
mod churn;
mod detect;
mod failures;
mod join;
mod partition;
mod raft;
mod steady;
mod switch;
mod weather;

use std::time::Instant;

use crate::report::Report;

/// What a run is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How many nodes.
    pub nodes: usize,
    /// What everything random comes from.
    pub seed: u64,
}

/// A scenario by its name.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// The sizes of its runs for the table.
    pub sizes: &'static [usize],
    /// The size for a quick look.
    pub small: usize,
    run: fn(Setup, &mut Report),
}

/// All scenarios, in the order of the table.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "join",
        about: "all nodes join within a while: views, with SWIM up to a thousand nodes",
        sizes: &[1_000, 10_000],
        small: 100,
        run: join::run,
    },
    Scenario {
        name: "degree",
        about: "links of each node with partial views and SWIM",
        sizes: &[300],
        small: 60,
        run: join::degree,
    },
    Scenario {
        name: "failures",
        about: "30, 60 and 90 % of the nodes die at once: broadcasts before and after the views heal",
        sizes: &[1_000, 10_000],
        small: 120,
        run: failures::run,
    },
    Scenario {
        name: "broadcast",
        about: "broadcasts over trees: payloads, latency and repair on good and bad networks",
        sizes: &[1_000],
        small: 60,
        run: broadcast::run,
    },
    Scenario {
        name: "topics",
        about: "a tree of its own for each topic",
        sizes: &[300],
        small: 40,
        run: broadcast::topics,
    },
    Scenario {
        name: "steady",
        about: "messages for each node and second when nothing happens",
        sizes: &[100, 1_000],
        small: 50,
        run: steady::run,
    },
    Scenario {
        name: "detect",
        about: "how soon a dead node is declared gone, and living ones by mistake",
        sizes: &[100, 300],
        small: 30,
        run: detect::run,
    },
    Scenario {
        name: "partition",
        about: "the cluster falls into two, also one-sided, and comes together again",
        sizes: &[300],
        small: 40,
        run: partition::run,
    },
    Scenario {
        name: "switch",
        about: "the topology changes while broadcasts are under way",
        sizes: &[60],
        small: 16,
        run: switch::run,
    },
    Scenario {
        name: "churn",
        about: "nodes join, leave, crash and start again all the time",
        sizes: &[500],
        small: 60,
        run: churn::run,
    },
    Scenario {
        name: "weather",
        about: "random faults of all kinds at once, then calm: everything comes together again",
        sizes: &[60],
        small: 24,
        run: weather::run,
    },
    Scenario {
        name: "raft",
        about: "Raft groups under crashes, disk faults, partitions, loss and skew: nothing decided is undecided",
        sizes: &[3, 5],
        small: 3,
        run: raft::run,
    },
];

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self, setup: Setup) -> Report {
        let started = Instant::now();
        let mut report = Report::new(self.name, setup.nodes, setup.seed);
        (self.run)(setup, &mut report);
        report.took = started.elapsed();
        report
    }
}
