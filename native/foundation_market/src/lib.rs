//! Auctions, markets, games, votes and search, without a clock, a socket, a thread or a random device: time and seed
//! come in as arguments, results go out as values.
//!
//! Participants, items and options are `u32` indices that the caller assigns. Amounts are [`Money`], an integer number
//! of millionths, and never a float. What may take long takes [`Limits`] and reports the gap it left.
#![forbid(unsafe_code)]

pub mod assignment;
pub mod auction;
mod error;
pub mod game;
mod limits;
pub mod lp;
pub mod market;
mod money;
pub mod negotiation;
pub mod optimise;
mod rng;
mod state;
pub mod vote;

pub use error::Error;
pub use limits::Limits;
pub use money::Money;
pub use rng::Rng;
pub use state::State;

/// The result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;
