//! The threads that wait for the network: two tokio runtimes for the whole library, started with their first use.
//!
//! What must not wait - the overlay, handshakes, channels of high priority - has threads of its own. Those of all other
//! channels are told to the system as such that may be interrupted by any thread that wakes.

use std::io::ErrorKind;
use std::sync::OnceLock;
use tokio::runtime::{Builder, Handle, Runtime};

static RUNTIME: OnceLock<Result<Runtime, ErrorKind>> = OnceLock::new();
static BULK: OnceLock<Result<Runtime, ErrorKind>> = OnceLock::new();

/// The runtime, or why the system would not give its threads.
pub(crate) fn runtime() -> Result<&'static Runtime, ErrorKind> {
    let started = RUNTIME.get_or_init(|| start("foundation-net", crate::slices::short));
    started.as_ref().map_err(|kind| *kind)
}

/// The runtime for links of channels whose priority is not above the usual one.
pub(crate) fn bulk() -> Result<&'static Handle, ErrorKind> {
    let started = BULK.get_or_init(|| start("foundation-bulk", crate::slices::long));
    started.as_ref().map(Runtime::handle).map_err(|kind| *kind)
}

fn start(name: &str, scheduled: fn()) -> Result<Runtime, ErrorKind> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .on_thread_start(scheduled)
        .enable_all()
        .build()
        .map_err(|error| error.kind())
}
