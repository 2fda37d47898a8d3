//! The threads that wait for the network: one tokio runtime for the whole library, started with its first use.

use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Result<Runtime, std::io::ErrorKind>> = OnceLock::new();

/// The runtime, or why the system would not give its threads.
pub(crate) fn runtime() -> Result<&'static Runtime, std::io::ErrorKind> {
    let started = RUNTIME.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("foundation-net")
            .enable_all()
            .build()
            .map_err(|error| error.kind())
    });
    started.as_ref().map_err(|kind| *kind)
}
