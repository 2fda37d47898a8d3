//! Known answers, with their sources; naive models; searches for counterexamples.

mod assignment;
mod auctions;
mod book;
mod combinatorial;
mod games;
mod markets;
mod negotiations;
mod optimisers;
mod votes;

use foundation_market::Money;

/// So many whole units.
pub(crate) fn units(units: i64) -> Money {
    Money::from_units(units).unwrap()
}
