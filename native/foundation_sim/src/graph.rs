//! Measures of the graph that the links make.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What the links of the living nodes look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Nodes.
    pub nodes: usize,
    /// Nodes in the largest part that hangs together.
    pub connected: usize,
    /// Parts that hang together.
    pub parts: usize,
    /// How many nodes have how many links, by the number of links.
    pub degrees: Vec<usize>,
    /// The mean clustering coefficient: how often two neighbours of a node are neighbours.
    pub clustering: f64,
    /// The mean length of shortest ways, over a sample of starts.
    pub path: f64,
    /// The longest of them.
    pub longest: usize,
}

impl Shape {
    /// The mean number of links.
    #[must_use]
    pub fn mean_degree(&self) -> f64 {
        let links: usize = self
            .degrees
            .iter()
            .enumerate()
            .map(|(degree, nodes)| degree * nodes)
            .sum();
        links as f64 / self.nodes.max(1) as f64
    }

    /// The clustering coefficient and the mean way to be expected of a graph that is random but for its degrees, by
    /// Newman, Strogatz and Watts, "Random graphs with arbitrary degree distributions" (2001): from the mean numbers of
    /// nodes one and two steps away.
    #[must_use]
    pub fn expected(&self) -> (f64, f64) {
        let nodes = self.nodes.max(1) as f64;
        let one = self.mean_degree();
        let degrees = self.degrees.iter().enumerate();
        let squares: usize = degrees.map(|(degree, nodes)| degree * degree * nodes).sum();
        let two = squares as f64 / nodes - one;
        let clustering = two * two / (nodes * one.powi(3));
        (clustering, (nodes / one).ln() / (two / one).ln() + 1.0)
    }

    /// The greatest number of links.
    #[must_use]
    pub fn max_degree(&self) -> usize {
        self.degrees.len().saturating_sub(1)
    }

    /// The smallest number of links.
    #[must_use]
    pub fn min_degree(&self) -> usize {
        self.degrees.iter().position(|nodes| *nodes > 0).unwrap_or(0)
    }
}

/// Measures a graph given by the sorted neighbours of each node; nodes that are `None` are not part of it.
///
/// Ways are measured from at most `starts` nodes, chosen by the seed.
#[must_use]
pub fn measure(graph: &[Option<Vec<u32>>], starts: usize, seed: u64) -> Shape {
    let nodes: Vec<usize> = (0..graph.len()).filter(|at| graph[*at].is_some()).collect();
    let neighbours = |at: usize| {
        graph[at]
            .as_deref()
            .unwrap_or_default()
            .iter()
            .map(|peer| *peer as usize)
    };
    let living = |at: usize| neighbours(at).filter(|peer| graph[*peer].is_some());
    let mut degrees = Vec::new();
    let mut clustering = 0.0;
    for &at in &nodes {
        let around: Vec<usize> = living(at).collect();
        if degrees.len() <= around.len() {
            degrees.resize(around.len() + 1, 0);
        }
        degrees[around.len()] += 1;
        let pairs = around.len() * around.len().saturating_sub(1);
        if pairs > 0 {
            let linked: usize = around
                .iter()
                .map(|peer| living(*peer).filter(|other| around.contains(other)).count())
                .sum();
            clustering += linked as f64 / pairs as f64;
        }
    }
    let (connected, parts) = components(graph.len(), &nodes, &living);
    let (path, longest) = ways(graph.len(), &nodes, &living, starts, seed);
    let clustering = clustering / nodes.len().max(1) as f64;
    Shape {
        nodes: nodes.len(),
        connected,
        parts,
        degrees,
        clustering,
        path,
        longest,
    }
}

fn components<I: Iterator<Item = usize>>(
    count: usize,
    nodes: &[usize],
    living: &impl Fn(usize) -> I,
) -> (usize, usize) {
    let mut seen = vec![false; count];
    let (mut largest, mut parts) = (0, 0);
    for &start in nodes {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let (mut stack, mut size) = (vec![start], 0);
        while let Some(at) = stack.pop() {
            size += 1;
            for peer in living(at) {
                if !std::mem::replace(&mut seen[peer], true) {
                    stack.push(peer);
                }
            }
        }
        largest = largest.max(size);
        parts += 1;
    }
    (largest, parts)
}

fn ways<I: Iterator<Item = usize>>(
    count: usize,
    nodes: &[usize],
    living: &impl Fn(usize) -> I,
    starts: usize,
    seed: u64,
) -> (f64, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut total, mut pairs, mut longest) = (0_u64, 0_u64, 0);
    for turn in 0..starts.min(nodes.len()) {
        let start = if starts >= nodes.len() {
            nodes[turn]
        } else {
            nodes[rng.random_range(0..nodes.len())]
        };
        let mut distance = vec![usize::MAX; count];
        distance[start] = 0;
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for peer in living(at) {
                if distance[peer] == usize::MAX {
                    distance[peer] = distance[at] + 1;
                    total += distance[peer] as u64;
                    pairs += 1;
                    longest = longest.max(distance[peer]);
                    queue.push_back(peer);
                }
            }
        }
    }
    (total as f64 / pairs.max(1) as f64, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u32, u32)], count: usize) -> Vec<Option<Vec<u32>>> {
        let mut graph = vec![Some(Vec::new()); count];
        for &(a, b) in edges {
            for (from, to) in [(a, b), (b, a)] {
                graph[from as usize]
                    .as_mut()
                    .expect("all are part of it")
                    .push(to);
            }
        }
        graph
    }

    #[test]
    fn a_triangle_with_a_tail() {
        let shape = measure(&graph(&[(0, 1), (1, 2), (2, 0), (2, 3)], 4), 10, 1);
        assert_eq!(shape.degrees, [0, 1, 2, 1]);
        assert_eq!((shape.connected, shape.parts, shape.longest), (4, 1, 2));
        // 1 and 1 for the two at the base, 1/3 for the one with the tail, 0 for the tail.
        assert!((shape.clustering - (1.0 + 1.0 + 1.0 / 3.0) / 4.0).abs() < 1e-9);
        assert!((shape.path - 16.0 / 12.0).abs() < 1e-9);
        assert_eq!(
            (shape.min_degree(), shape.max_degree(), shape.mean_degree()),
            (1, 3, 2.0)
        );
    }

    #[test]
    fn the_dead_are_no_part_of_it() {
        let mut graph = graph(&[(0, 1), (1, 2), (2, 3)], 4);
        graph[1] = None;
        let shape = measure(&graph, 10, 1);
        assert_eq!((shape.nodes, shape.connected, shape.parts), (3, 2, 2));
    }
}
