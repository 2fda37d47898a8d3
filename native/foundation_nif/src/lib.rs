//! The bridge between the VM and the core crates: decode, one call into a core, encode.
//!
//! One file per domain. No algorithm lives here; what a file needs beyond decoding and encoding belongs to the
//! core crate of the same name.
#![deny(clippy::unwrap_used)]

mod adaptive;
mod atoms;
mod breaker;
mod brief;
mod clock;
mod consensus;
mod crdt;
mod discovery;
mod engine;
mod etf;
mod events;
mod fabric;
mod federation;
mod handle;
mod key;
mod limits;
mod log_error;
mod logging;
mod market;
mod metrics;
mod pool;
mod runtime;
mod slices;
mod term;
mod topology;
mod word;

// Small nodes of one size lie side by side: an acquire over 100,000 keys of three levels went from 749 to 589 ns.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

rustler::init!("Elixir.Foundation.Native", load = engine::load);
