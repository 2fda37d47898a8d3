//! Negotiation between two parties, or over several issues between many.

mod issues;
mod offers;
mod rubinstein;
mod zeuthen;

pub use issues::{Improved, Issues};
pub use offers::{Agreement, AlternatingOffers, Turn};
pub use rubinstein::{rubinstein, rubinstein_finite};
pub use zeuthen::{Concession, zeuthen};
