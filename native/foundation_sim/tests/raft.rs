//! Raft groups by seeds: nothing forbidden happens, runs repeat, and planted bugs are found.

use foundation_sim::raft::{Bug, Outcome, run};

fn seeds(size: usize, seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let outcomes = seeds.map(|seed| {
        let outcome = run(size, seed, None);
        let again = format!(
            "FOUNDATION_SIM_RAFT='{size} {seed}' cargo test --release -p foundation_sim --test raft one_seed"
        );
        assert!(
            outcome.violations.is_empty(),
            "{again}: {:#?}",
            outcome.violations
        );
        outcome
    });
    outcomes.collect()
}

fn worked(outcomes: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>() / outcomes.len();
    assert!(
        sum(|outcome| outcome.applied) > 20,
        "the groups hardly did anything: {outcomes:#?}"
    );
    assert!(sum(|outcome| outcome.terms) > 1, "leaders hardly changed");
    let undecided = outcomes.iter().filter(|outcome| outcome.undecided).count();
    assert!(
        undecided * 50 <= outcomes.len(),
        "{undecided} histories were left undecided"
    );
}

#[test]
fn three_nodes_keep_every_promise() {
    worked(&seeds(3, 1..60));
}

#[test]
fn five_nodes_keep_every_promise() {
    worked(&seeds(5, 1..30));
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in 100..104 {
        assert_eq!(run(3, seed, None), run(3, seed, None), "seed {seed}");
    }
}

/// A promise is broken, and not just a group unable to go on; by the bug, and not by anything else.
fn is_found(bug: Bug) -> String {
    let broken = |violation: &String| !violation.starts_with("the group does not come together");
    let found = (1..1_000).find_map(|seed| {
        let violation = run(3, seed, Some(bug)).violations.into_iter().find(broken)?;
        Some((seed, violation))
    });
    let (seed, violation) = found.expect("the bug is found");
    println!("{bug:?} is found by seed {seed}: {violation:.150}");
    seeds(3, seed..seed + 1);
    violation
}

#[test]
fn acknowledging_before_the_disk_has_it_is_found() {
    is_found(Bug::AcknowledgeEarly);
}

#[test]
fn forgetting_votes_over_a_restart_is_found() {
    is_found(Bug::ForgetVotes);
}

fn is_found_by_reads(bug: Bug) {
    let violation = is_found(bug);
    let expected = "the register is not linearizable";
    assert!(violation.starts_with(expected), "{violation}");
}

#[test]
fn a_leader_that_asks_nobody_is_found() {
    is_found_by_reads(Bug::AskNobody);
}

#[test]
fn a_member_that_agrees_with_every_leader_is_found() {
    is_found_by_reads(Bug::AgreeAlways);
}

/// Runs the seed that is asked for, to look at what an earlier run has found.
#[test]
fn one_seed() {
    let Ok(asked) = std::env::var("FOUNDATION_SIM_RAFT") else {
        return;
    };
    let mut words = asked
        .split(' ')
        .map(|word| word.parse::<u64>().expect("a size and a seed"));
    let (size, seed) = (words.next().expect("a size"), words.next().expect("a seed"));
    println!("{:#?}", run(size as usize, seed, None));
}
