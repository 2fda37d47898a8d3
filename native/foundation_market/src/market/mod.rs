//! Markets: continuous and call double auctions, a market maker for predictions, and prices that clear an economy.

mod book;
mod call;
mod equilibrium;
mod lmsr;
mod order;
mod side;

pub use book::{Book, BookRules, Depth, Resting};
pub use call::{CallOrder, Clearing, Fill, clear};
pub use equilibrium::{Equilibrium, Search, Trader, equilibrium};
pub use lmsr::Lmsr;
pub use order::{Kind, Order, Placed, Report, SelfTrade, Side, Trade};
