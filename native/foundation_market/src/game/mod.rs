//! Games: equilibria of two players, shares of coalitions, stable matchings, fair division.
//!
//! Payoffs are doubles: they are estimates. What is divided in the end ([`shapley`], the cake's pieces apart) is exact.

mod bimatrix;
mod cake;
mod correlated;
mod dominance;
mod fair;
mod learning;
mod lemke_howson;
mod matching;
mod minimax;
mod shapley;
mod supports;

pub use bimatrix::{Bimatrix, Profile};
pub use cake::{Cake, Piece, divide_and_choose, moving_knife};
pub use correlated::{Correlated, correlated};
pub use dominance::{Surviving, undominated};
pub use fair::{AdjustedWinner, adjusted_winner, envy_free_up_to_one, round_robin};
pub use learning::{Learned, fictitious_play, replicator};
pub use lemke_howson::lemke_howson;
pub use matching::{Matching, Proposals, blocking_pairs, stable_matching};
pub use minimax::{Value, minimax};
pub use shapley::{Sampled, ShapleySampler, shapley};
pub use supports::{Equilibria, equilibria};
