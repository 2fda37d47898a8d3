//! What is measured of a channel to a node.

use crate::channel::inbox::Arrived;
use crate::channel::outbox::Counts;
use foundation_metrics::distribution::Distribution;
use foundation_metrics::layout::{Layout, Number};
use foundation_metrics::recorder::Recorder;
use foundation_metrics::window::Window;
use foundation_overlay::PeerName;
use std::sync::Arc;

/// The times that messages take, in microseconds.
pub(crate) struct Latency(Option<Recorder>);

impl Latency {
    pub(crate) fn new() -> Self {
        // Two digits and whole microseconds are in range.
        Self(
            Layout::new(2, 1.0, None)
                .ok()
                .map(|layout| Recorder::new(layout, false)),
        )
    }

    pub(crate) fn record(&self, micros: u64, now: u64) {
        if let Some(recorder) = &self.0 {
            recorder.record(Number::Int(micros.min(1 << 40) as i64), now / 1000);
        }
    }

    pub(crate) fn read(&self, now: u64) -> Option<Distribution> {
        self.0
            .as_ref()
            .map(|recorder| recorder.read(Window::All, now / 1000))
    }
}

/// What is measured of one channel to and from one node.
#[derive(Clone, Debug)]
pub struct ChannelMetrics {
    /// The node.
    pub peer: PeerName,
    /// The channel.
    pub channel: Arc<str>,
    /// What went out.
    pub sent: Counts,
    /// What came in.
    pub arrived: Arrived,
    /// Links that are open now.
    pub linked: u64,
    /// Links opened since the start.
    pub links: u64,
    /// How many ways from queue to acknowledgement were measured, and their median, 99th percentile and maximum in
    /// microseconds.
    pub latency: Option<(u64, [f64; 3])>,
}
