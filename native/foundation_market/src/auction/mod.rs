//! Auctions: one item, many units, two sides, and bundles.
//!
//! Where two bids are as good, the earlier one wins, everywhere in this module: the one with the lower index, which is
//! the one that was placed first.

pub mod cats;
mod cliques;
mod combinatorial;
mod double;
mod dutch;
mod english;
mod instance;
mod multi_unit;
mod prices;
mod sealed;
mod search;
mod vcg;

pub use combinatorial::{Allocation, Bidding, BundleBid, determine_winners};
pub use double::{DoubleAuction, mcafee};
pub use dutch::{Dutch, DutchRules};
pub use english::{English, EnglishRules};
pub use multi_unit::{Pricing, UnitBid, UnitOutcome, Win, multi_unit};
pub use sealed::{Bid, Rule, Sale, Sealed, first_price, vickrey};
pub use vcg::{Outcome, Payment, vcg};
