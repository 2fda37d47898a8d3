//! A Raft group under crashes, disk faults, partitions, lost and doubled messages and skewed clocks.

use super::Setup;
use crate::raft;
use crate::report::Report;
use crate::stats::count;

/// Seeds of one run of the scenario: the next ones after its own.
const SEEDS: u64 = 40;

pub(crate) fn run(setup: Setup, report: &mut Report) {
    let (mut applied, mut terms, mut grants, mut operations, mut undecided) = (0, 0, 0, 0, 0);
    for seed in (setup.seed - 1) * SEEDS + 1..=setup.seed * SEEDS {
        let outcome = raft::run(setup.nodes, seed, None);
        report.hash = report.hash.rotate_left(1) ^ outcome.trace;
        report.events += outcome.events;
        report.simulated += outcome.simulated;
        applied += outcome.applied as u64;
        terms += outcome.terms as u64;
        grants += outcome.grants as u64;
        operations += outcome.operations as u64;
        undecided += u64::from(outcome.undecided);
        for violation in outcome.violations {
            report.expect(false, || format!("seed {seed} of the group: {violation}"));
        }
    }
    report.row("groups, each by a seed of its own", count(SEEDS));
    report.row("terms with a leader", count(terms));
    report.row("entries applied", count(applied));
    report.row(
        "operations of the register, checked for linearizability",
        count(operations),
    );
    report.row("locks granted, checked for mutual exclusion", count(grants));
    report.row("histories on which the checker gave up", count(undecided));
}
