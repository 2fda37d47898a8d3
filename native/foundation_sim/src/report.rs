//! What a scenario found, and the table of all of them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::network::Network;
use crate::observe::Violation;
use crate::stats::count;

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure, with its unit.
    pub figure: String,
    /// What it is compared with, if anything.
    pub beside: String,
}

/// What one run of a scenario found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// The nodes it had.
    pub nodes: usize,
    /// The seed that decides everything.
    pub seed: u64,
    /// The figures.
    pub rows: Vec<Row>,
    /// What must not happen and did.
    pub violations: Vec<Violation>,
    /// Equal for equal runs.
    pub hash: u64,
    /// Events handled.
    pub events: u64,
    /// The time that passed in the simulation.
    pub simulated: Duration,
    /// The time it took.
    pub took: Duration,
}

impl Report {
    /// A report without figures.
    #[must_use]
    pub fn new(scenario: &'static str, nodes: usize, seed: u64) -> Self {
        Self {
            scenario,
            nodes,
            seed,
            rows: Vec::new(),
            violations: Vec::new(),
            hash: seed,
            events: 0,
            simulated: Duration::ZERO,
            took: Duration::ZERO,
        }
    }

    /// Adds a figure.
    pub fn row(&mut self, what: impl Into<String>, figure: impl Into<String>) {
        self.beside(what, figure, "");
    }

    /// Adds a figure and what it is compared with.
    pub fn beside(&mut self, what: impl Into<String>, figure: impl Into<String>, beside: impl Into<String>) {
        self.rows.push(Row {
            what: what.into(),
            figure: figure.into(),
            beside: beside.into(),
        });
    }

    /// Notes that something demanded did not come true.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation::Expected(what()));
        }
    }

    /// Takes over what a network saw.
    pub fn close(&mut self, network: &mut Network) {
        self.violations.append(&mut network.observed.violations);
        self.hash = self.hash.rotate_left(1) ^ network.hash();
        self.events += network.traffic().events;
        self.simulated += network.now();
    }

    /// The command that repeats this run.
    #[must_use]
    pub fn command(&self) -> String {
        format!(
            "cargo run --release -p foundation_sim -- run {} --nodes {} --seed {}",
            self.scenario, self.nodes, self.seed
        )
    }

    /// The report as text for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} ({} nodes, seed {})\n", self.scenario, self.nodes, self.seed);
        for row in &self.rows {
            let beside = if row.beside.is_empty() {
                String::new()
            } else {
                format!("  [{}]", row.beside)
            };
            let _ = writeln!(text, "  {:<58} {}{beside}", row.what, row.figure);
        }
        let _ = writeln!(
            text,
            "  {} events, {:.1} s simulated in {:.1} s, hash {:016x}",
            count(self.events),
            self.simulated.as_secs_f64(),
            self.took.as_secs_f64(),
            self.hash
        );
        for violation in &self.violations {
            let _ = writeln!(text, "  FAILED: {violation}");
        }
        if !self.violations.is_empty() {
            let _ = writeln!(text, "  again: {}", self.command());
        }
        text
    }
}

/// All reports as a document in Markdown.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let mut text = String::from(
        "# Simulated figures\n\nWritten by `make sim`. The nodes run the overlay's own code; network, clocks and \
         randomness are simulated, so each figure can be had again with its command. Times are simulated times.\n",
    );
    for report in reports {
        let _ = write!(
            text,
            "\n## {} · {} nodes · seed {}\n\n`{}`\n\n| what | figure | beside |\n|---|---|---|\n",
            report.scenario,
            count(report.nodes as u64),
            report.seed,
            report.command()
        );
        for row in &report.rows {
            let _ = writeln!(text, "| {} | {} | {} |", row.what, row.figure, row.beside);
        }
        let _ = writeln!(
            text,
            "| events; simulated time; hash | {}; {:.1} s; `{:016x}` | |",
            count(report.events),
            report.simulated.as_secs_f64(),
            report.hash
        );
        for violation in &report.violations {
            let _ = writeln!(text, "\n**Failed:** {violation}");
        }
    }
    text
}
