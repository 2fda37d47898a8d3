//! Branch and bound for winner determination.

use super::cliques;
use super::instance::Instance;
use super::prices::{Fate, SHIFT, bound, by_density, descend, excess, greedy, scaled};
use crate::Limits;
use crate::lp::Tableau;

/// The best allocation found, and what no other can exceed.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) bids: Vec<usize>,
    pub(super) value: i128,
    pub(super) bound: i128,
    pub(super) nodes: u64,
}

/// Cells of a dense tableau that is still worth its time.
const MAX_CELLS: usize = 2_000_000;
/// Cells that all waiting nodes may keep together; the others start again from the root's basis.
const MAX_KEPT: usize = 32_000_000;
/// A value of the relaxation that is this close to an integer is one.
const INTEGRAL: f64 = 1e-6;

/// A part of the search that waits.
struct Node {
    fates: Vec<Fate>,
    /// No allocation in it is worth more, in scaled units.
    bound: i128,
    tableau: Option<Tableau>,
    /// What the tableau does not know yet.
    decision: Option<(usize, bool)>,
}

/// The relaxation of an instance, solved once for all searches.
pub(super) struct Solver<'i> {
    instance: &'i Instance,
    root: Option<Tableau>,
    /// Which resource each row stands for.
    resources: Vec<u32>,
    /// Values are divided by this in the tableau.
    scale: f64,
    density: Vec<usize>,
}

/// The resources that someone wants.
fn wanted(instance: &Instance) -> Vec<u32> {
    let all = 0..instance.resources as u32;
    all.filter(|&at| !instance.takers[at as usize].is_empty())
        .collect()
}

/// The relaxation's optimal basis; none when it is too large or the limits end it.
fn solved(instance: &Instance, scale: f64, limits: &Limits<'_>) -> Option<Tableau> {
    let (bids, resources) = (&instance.bids, wanted(instance));
    if (resources.len() + 1) * (bids.len() + 1) > MAX_CELLS {
        return None;
    }
    let row = |at: u32| {
        let mut row = vec![0.0; bids.len()];
        for &bid in &instance.takers[at as usize] {
            row[bid as usize] = 1.0;
        }
        (row, 1.0)
    };
    let rows: Vec<(Vec<f64>, f64)> = resources.into_iter().map(row).collect();
    let values: Vec<f64> = bids.iter().map(|bid| bid.value as f64 / scale).collect();
    let mut tableau = Tableau::new(&rows, &values);
    tableau.maximise(limits).ok()?;
    Some(tableau)
}

struct Best {
    bids: Vec<usize>,
    value: i128,
}

impl Best {
    fn take(&mut self, instance: &Instance, bids: Vec<usize>) {
        let value = instance.worth(&bids);
        if value > self.value && instance.feasible(&bids) {
            *self = Self { bids, value };
        }
    }

    /// Whether a part with that bound may hold something better.
    fn beaten_by(&self, bound: i128) -> bool {
        bound >> SHIFT > self.value
    }
}

impl<'i> Solver<'i> {
    pub(super) fn new(instance: &'i mut Instance, limits: &Limits<'_>) -> Self {
        let density = by_density(instance);
        let scale = instance.bids.iter().map(|bid| bid.value).max().unwrap_or(1) as f64;
        let mut root = solved(instance, scale, limits);
        let mut resources = wanted(instance);
        if let Some(tableau) = &mut root {
            let first = instance.resources as u32;
            cliques::strengthen(instance, tableau, limits);
            resources.extend(first..instance.resources as u32);
        }
        Self {
            resources,
            instance,
            root,
            scale,
            density,
        }
    }

    pub(super) fn instance(&self) -> &'i Instance {
        self.instance
    }

    /// Prices of all resources, from the tableau's.
    fn prices(&self, tableau: &Tableau) -> Vec<i128> {
        let mut prices = vec![0.0; self.instance.resources];
        for (&at, dual) in self.resources.iter().zip(tableau.duals()) {
            prices[at as usize] = dual * self.scale;
        }
        scaled(&prices)
    }

    /// The best allocation without the bids of `out`; `start` is one that is known, `cap` what none can exceed.
    pub(super) fn solve(
        &self,
        out: &[usize],
        start: &[usize],
        cap: Option<i128>,
        limits: &Limits<'_>,
    ) -> Found {
        let mut fates = vec![Fate::Open; self.instance.bids.len()];
        for &bid in out {
            fates[bid] = Fate::Out;
        }
        let mut best = Best {
            bids: Vec::new(),
            value: 0,
        };
        best.take(self.instance, start.to_vec());
        best.take(self.instance, greedy(self.instance, &fates, &self.density));
        let cap = cap.map_or(i128::MAX, |cap| cap << SHIFT);
        let Some(root) = &self.root else {
            let priced = descend(self.instance, &fates, best.bids.clone(), limits);
            best.take(self.instance, priced.bids);
            let top = (priced.bound.min(cap) >> SHIFT).max(best.value);
            return self.found(best, top, 1);
        };
        let first = Node {
            bound: bound(self.instance, &self.prices(root), &fates).min(cap),
            tableau: None,
            decision: None,
            fates,
        };
        self.search(first, best, limits)
    }

    fn found(&self, best: Best, bound: i128, nodes: u64) -> Found {
        Found {
            bids: best.bids,
            value: best.value,
            bound,
            nodes,
        }
    }

    fn search(&self, first: Node, mut best: Best, limits: &Limits<'_>) -> Found {
        let mut waiting = vec![first];
        let mut nodes = 0;
        while let Some(node) = waiting.pop() {
            if !best.beaten_by(node.bound) {
                continue;
            }
            if !limits.go_on(1) {
                waiting.push(node);
                break;
            }
            nodes += 1;
            if let Some((kept, next)) = self.expand(node, &mut best, waiting.len()) {
                waiting.push(kept);
                waiting.push(next);
            }
        }
        let open = waiting.iter().map(|node| node.bound >> SHIFT).max();
        let top = open.unwrap_or(best.value).max(best.value);
        self.found(best, top, nodes)
    }

    /// Bounds a part of the search; splits it in two unless the bound settles it.
    fn expand(&self, mut node: Node, best: &mut Best, depth: usize) -> Option<(Node, Node)> {
        let mut tableau = match node.tableau.take() {
            Some(mut tableau) => {
                if let Some((bid, up)) = node.decision.take() {
                    settle(&mut tableau, &node.fates, bid, up);
                }
                tableau
            }
            None => self.rebuilt(&node.fates)?,
        };
        tableau.repair(10 * (tableau.rows + tableau.cols));
        let prices = self.prices(&tableau);
        node.bound = node.bound.min(bound(self.instance, &prices, &node.fates));
        if !best.beaten_by(node.bound) {
            return None;
        }
        let x = tableau.primal();
        let mut order: Vec<usize> = self.density.clone();
        order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
        best.take(self.instance, greedy(self.instance, &node.fates, &order));
        if !best.beaten_by(node.bound) {
            return None;
        }
        self.exclude(&mut node, &prices, best);
        let bid = self.branch(&node.fates, &x)?;
        Some(self.split(node, tableau, bid, depth))
    }

    /// Rules out the bids that no better allocation can have.
    fn exclude(&self, node: &mut Node, prices: &[i128], best: &Best) {
        let here = bound(self.instance, prices, &node.fates);
        for bid in 0..node.fates.len() {
            let above = excess(self.instance, prices, bid);
            if node.fates[bid] == Fate::Open && above < 0 && !best.beaten_by(here + above) {
                node.fates[bid] = Fate::Out;
            }
        }
    }

    /// The open bid that the relaxation is least sure of, weighed by its value; when it is sure of all, the one it takes
    /// most of, so that every split makes the rest smaller.
    fn branch(&self, fates: &[Fate], x: &[f64]) -> Option<usize> {
        let open = || (0..fates.len()).filter(|&bid| fates[bid] == Fate::Open);
        let doubt = |bid: usize| x[bid].min(1.0 - x[bid]);
        let weight = |bid: usize| doubt(bid) * self.instance.bids[bid].value as f64;
        open()
            .filter(|&bid| doubt(bid) > INTEGRAL)
            .max_by(|&a, &b| weight(a).total_cmp(&weight(b)))
            .or_else(|| open().max_by(|&a, &b| x[a].total_cmp(&x[b])))
    }

    /// The part without the bid, and the part with it, which is looked at first.
    fn split(&self, node: Node, tableau: Tableau, bid: usize, depth: usize) -> (Node, Node) {
        let mut with = node.fates.clone();
        with[bid] = Fate::In;
        for &at in &self.instance.bids[bid].takes {
            for &other in &self.instance.takers[at as usize] {
                if other as usize != bid {
                    with[other as usize] = Fate::Out;
                }
            }
        }
        let mut without = node.fates;
        without[bid] = Fate::Out;
        let cells = tableau.rows * tableau.cols;
        let kept = (depth * cells < MAX_KEPT).then(|| tableau.clone());
        let next = Node {
            fates: with,
            bound: node.bound,
            tableau: Some(tableau),
            decision: Some((bid, true)),
        };
        let rest = Node {
            fates: without,
            bound: node.bound,
            tableau: kept,
            decision: Some((bid, false)),
        };
        (rest, next)
    }

    /// The relaxation of a part of the search, from the root's basis.
    fn rebuilt(&self, fates: &[Fate]) -> Option<Tableau> {
        let mut tableau = self.root.clone()?;
        tableau.shrink(|bid| fates[bid] == Fate::Out);
        for (bid, _) in fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::In) {
            tableau.fix(bid as u32, true);
        }
        rule_out(&mut tableau, fates);
        Some(tableau)
    }
}

/// Tells a tableau that a bid wins (`up`) or does not, and which others do not.
fn settle(tableau: &mut Tableau, fates: &[Fate], bid: usize, up: bool) {
    tableau.shrink(|other| other != bid && fates[other] == Fate::Out);
    tableau.fix(bid as u32, up);
    rule_out(tableau, fates);
}

/// Takes bids out of the basis that do not win.
fn rule_out(tableau: &mut Tableau, fates: &[Fate]) {
    let out: Vec<usize> = tableau.inside().filter(|&bid| fates[bid] == Fate::Out).collect();
    for bid in out {
        tableau.fix(bid as u32, false);
    }
}
