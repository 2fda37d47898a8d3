//! The query engine: conditions on packed records, a planner that picks an index, pages with cursors.

mod cond;
mod cursor;
mod parse;
mod plan;
mod run;
mod sort;

pub use crate::store::scan::{Basic, Hits};
pub use cond::Filter;
pub use parse::Query;
pub use run::Page;
