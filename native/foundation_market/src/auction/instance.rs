//! A winner determination problem as set packing: every bid takes resources, and a resource is taken once.

use super::combinatorial::{Bidding, BundleBid};
use crate::{Error, Money, Result};
use hashbrown::HashMap;

/// A bid that may win.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Its place in the caller's list.
    pub(super) place: usize,
    pub(super) bidder: u32,
    /// In millionths, above 0.
    pub(super) value: i64,
    /// Ascending: items, and for an exclusive bidder one resource of its own.
    pub(super) takes: Vec<u32>,
}

/// The problem without the bids that cannot matter.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) resources: usize,
    pub(super) bids: Vec<Packed>,
    /// The bids that take each resource.
    pub(super) takers: Vec<Vec<u32>>,
}

impl Instance {
    pub(super) fn new(items: u32, bids: &[BundleBid], bidding: Bidding) -> Result<Self> {
        if items > MAX_ITEMS {
            return Err(Error::TooLarge("items"));
        }
        let mut packed = Vec::with_capacity(bids.len());
        for (place, bid) in bids.iter().enumerate() {
            let mut takes = bid.items.clone();
            takes.sort_unstable();
            takes.dedup();
            if takes.is_empty() || takes.last().is_some_and(|&item| item >= items) {
                return Err(Error::Invalid("items"));
            }
            if bid.price > Money::ZERO {
                packed.push(Packed {
                    place,
                    bidder: bid.bidder,
                    value: bid.price.micros(),
                    takes,
                });
            }
        }
        Money::sum(packed.iter().map(|bid| Money::from_micros(bid.value)))?;
        drop_dominated(&mut packed);
        let resources = items as usize + exclude(&mut packed, items, bidding);
        let mut takers = vec![Vec::new(); resources];
        for (at, bid) in packed.iter().enumerate() {
            for &resource in &bid.takes {
                takers[resource as usize].push(at as u32);
            }
        }
        Ok(Self {
            resources,
            bids: packed,
            takers,
        })
    }

    /// Adds a resource that these bids take, of which no two can win together anyway.
    pub(super) fn add_resource(&mut self, takers: Vec<u32>) {
        for &bid in &takers {
            self.bids[bid as usize].takes.push(self.resources as u32);
        }
        self.resources += 1;
        self.takers.push(takers);
    }

    /// Whether a set of bids shares no resource.
    pub(super) fn feasible(&self, bids: &[usize]) -> bool {
        let mut taken = vec![false; self.resources];
        bids.iter().all(|&bid| {
            let takes = &self.bids[bid].takes;
            takes
                .iter()
                .all(|&resource| !std::mem::replace(&mut taken[resource as usize], true))
        })
    }

    pub(super) fn worth(&self, bids: &[usize]) -> i128 {
        bids.iter().map(|&bid| i128::from(self.bids[bid].value)).sum()
    }
}

/// A bidder's bid that takes all that another one of the same bidder takes, for no more money, can be exchanged for it.
/// Of bids of different bidders that is not so: payments need the second best.
fn drop_dominated(bids: &mut Vec<Packed>) {
    let mut of_bidder: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, bid) in bids.iter().enumerate() {
        of_bidder.entry(bid.bidder).or_default().push(at);
    }
    let mut dropped = vec![false; bids.len()];
    for own in of_bidder.values().filter(|own| own.len() <= MAX_COMPARED) {
        for &at in own {
            dropped[at] = own.iter().any(|&other| {
                other != at
                    && !dropped[other]
                    && bids[other].value >= bids[at].value
                    && bids[other].takes.len() <= bids[at].takes.len()
                    && (bids[other].takes != bids[at].takes
                        || bids[other].value > bids[at].value
                        || other < at)
                    && contains(&bids[at].takes, &bids[other].takes)
            });
        }
    }
    let mut kept = dropped.iter().map(|dropped| !dropped);
    bids.retain(|_| kept.next().unwrap_or(true));
}

/// Items of one auction.
const MAX_ITEMS: u32 = 1_000_000;
/// Bids of one bidder that are compared pair by pair.
const MAX_COMPARED: usize = 2_000;

/// Whether a sorted list has all of another one.
fn contains(all: &[u32], some: &[u32]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|item| rest.any(|other| other == item))
}

/// Gives each bidder who may win once, and has more than one bid, a resource of its own. Answers how many.
fn exclude(bids: &mut [Packed], items: u32, bidding: Bidding) -> usize {
    if bidding == Bidding::Or {
        return 0;
    }
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for bid in bids.iter() {
        *counts.entry(bid.bidder).or_default() += 1;
    }
    let mut own: HashMap<u32, u32> = HashMap::new();
    for bid in bids.iter_mut().filter(|bid| counts[&bid.bidder] > 1) {
        let next = items + own.len() as u32;
        bid.takes.push(*own.entry(bid.bidder).or_insert(next));
    }
    own.len()
}
