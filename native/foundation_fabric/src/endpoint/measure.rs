//! What is counted of each channel to and from each node.

use super::remote::{self, Lane, Remote};
use super::{Hub, Sink};
use crate::channel::inbox::Arrived;
use crate::metrics::ChannelMetrics;
use foundation_overlay::PeerName;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl<S: Sink> Hub<S> {
    pub(super) fn count_arrived(&self, from: &PeerName, channel: &str, more: &Arrived) {
        let Some(remote) = self.remotes.read().get(from).cloned() else {
            return;
        };
        let mut arrived = remote.arrived.lock();
        match arrived.get_mut(channel) {
            Some(sum) => sum.add(more),
            None => {
                arrived.insert(channel.into(), *more);
            }
        }
    }

    pub(super) fn metrics_of(&self, remote: &Remote) -> Vec<ChannelMetrics> {
        let mut arrived = remote.arrived.lock().clone();
        let outlets: Vec<_> = remote.outlets.read().values().cloned().collect();
        let mut out = Vec::with_capacity(outlets.len());
        for outlet in outlets {
            let name = &outlet.channel.name;
            let linked = |lane: &&Arc<Lane>| lane.linked.load(Ordering::Relaxed);
            out.push(ChannelMetrics {
                peer: remote.name.clone(),
                channel: Arc::clone(name),
                sent: outlet.counts(),
                arrived: arrived.remove(name).unwrap_or_default(),
                linked: outlet.lanes.iter().filter(linked).count() as u64,
                links: outlet
                    .lanes
                    .iter()
                    .map(|lane| lane.links.load(Ordering::Relaxed))
                    .sum(),
                latency: remote::latency(&outlet),
            });
        }
        out.extend(arrived.into_iter().map(|(channel, arrived)| ChannelMetrics {
            peer: remote.name.clone(),
            channel,
            sent: Default::default(),
            arrived,
            linked: 0,
            links: 0,
            latency: None,
        }));
        out
    }
}
