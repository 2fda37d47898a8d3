//! Glue for the `metrics` domain.

mod aggregate;

use foundation_metrics::aggregate::Aggregates;
use rustler::{Resource, ResourceArc};

/// One set of metrics.
pub(crate) struct Metrics {
    aggregates: Aggregates,
}

#[rustler::resource_impl]
impl Resource for Metrics {}

// Updates finish under their locks and leave every field valid at each step, so a panic cannot leave a broken set.
impl std::panic::RefUnwindSafe for Metrics {}

/// An empty set of metrics that keeps at most `max_names` event names apart.
#[rustler::nif]
fn metrics_new(max_names: u32) -> ResourceArc<Metrics> {
    ResourceArc::new(Metrics {
        aggregates: Aggregates::new(max_names as usize),
    })
}
