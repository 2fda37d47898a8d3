//! Rate, concurrency and quota limits over several dimensions, breakers and adaptive concurrency.
#![forbid(unsafe_code)]

pub mod adaptive;
pub mod breaker;
pub mod keyed;
pub mod pool;
