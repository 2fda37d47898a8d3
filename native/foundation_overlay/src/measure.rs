//! What is measured: values that follow the present, counts of the last minute, and both put together.
use std::collections::BTreeMap;
use std::time::Duration;

use crate::context::Context;
use crate::{NodeId, Peer, Topology};

/// An exponentially weighted mean and mean deviation, as TCP keeps for round trips.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ewma {
    mean: f64,
    deviation: f64,
    samples: u32,
}

impl Ewma {
    pub(crate) fn add(&mut self, sample: f64) {
        if self.samples == 0 {
            (self.mean, self.deviation) = (sample, sample / 2.0);
        } else {
            self.deviation += ((sample - self.mean).abs() - self.deviation) / 4.0;
            self.mean += (sample - self.mean) / 8.0;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// The mean, once something was measured.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean)
    }

    pub(crate) fn deviation(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.deviation)
    }
}

/// Buckets of the rolling minute.
const BUCKETS: usize = 6;
const BUCKET: Duration = Duration::from_secs(10);

/// What is counted by the minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) probes: u64,
    pub(crate) answers: u64,
    pub(crate) arrivals: u64,
    pub(crate) departures: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) broadcasts: u64,
    pub(crate) switches: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.probes += other.probes;
        self.answers += other.answers;
        self.arrivals += other.arrivals;
        self.departures += other.departures;
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.broadcasts += other.broadcasts;
        self.switches += other.switches;
    }
}

/// Tallies of the last minute, in buckets of ten seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Minute {
    buckets: [Tally; BUCKETS],
    at: u64,
}

impl Minute {
    /// The bucket of this moment.
    pub(crate) fn now(&mut self, now: Duration) -> &mut Tally {
        let at = now.as_secs() / BUCKET.as_secs();
        for gone in 0..(at.saturating_sub(self.at)).min(BUCKETS as u64) {
            self.buckets[((self.at + 1 + gone) % BUCKETS as u64) as usize] = Tally::default();
        }
        self.at = self.at.max(at);
        &mut self.buckets[(self.at % BUCKETS as u64) as usize]
    }

    /// The sum, and the seconds it covers.
    pub(crate) fn sum(&self, now: Duration) -> (Tally, f64) {
        let mut sum = Tally::default();
        let mut fresh = self.clone();
        fresh.now(now);
        fresh.buckets.iter().for_each(|bucket| sum.add(bucket));
        let full = BUCKET.as_secs_f64() * (BUCKETS as f64 - 1.0);
        let within = now.as_secs_f64() % BUCKET.as_secs_f64();
        (sum, (full + within).min(now.as_secs_f64()).max(0.001))
    }
}

/// How a measured value is spread over the members, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// Half are below.
    pub median: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            values
                .get(((values.len() - 1) as f64 * share).round() as usize)
                .copied()
        };
        if values.is_empty() {
            return None;
        }
        Some(Self {
            min: at(0.0)?,
            median: at(0.5)?,
            p90: at(0.9)?,
            max: at(1.0)?,
        })
    }
}

/// What was measured of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerReport {
    /// Who.
    pub id: NodeId,
    /// The round trip, in microseconds.
    pub rtt: Option<f64>,
    /// Its mean deviation, in microseconds.
    pub jitter: Option<f64>,
    /// Payload bytes sent to it since it came.
    pub sent: u64,
    /// Payload bytes received from it since it came.
    pub received: u64,
    /// Messages to it that were lost or sent again since it came.
    pub lost: u64,
    /// Whether a link of the topology is open.
    pub linked: bool,
}

/// What was measured over the last minute, or since the start if that is shorter.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// The topology in force.
    pub topology: Topology,
    /// Nodes in the cluster, this one included.
    pub nodes: usize,
    /// Open links of this node.
    pub links: usize,
    /// The seconds measured over.
    pub seconds: f64,
    /// Round trips to members, once any was measured.
    pub rtt: Option<Spread>,
    /// The share of datagrams lost one way, estimated from unanswered probes.
    pub loss: f64,
    /// Payload bytes sent a second.
    pub sent_per_second: f64,
    /// Payload bytes received a second.
    pub received_per_second: f64,
    /// Messages lost or sent again a second.
    pub lost_per_second: f64,
    /// Broadcasts of this node a second.
    pub broadcasts_per_second: f64,
    /// Members that came or went in a minute.
    pub churn_per_minute: f64,
    /// Members that carry traffic with this node.
    pub partners: usize,
    /// Each member.
    pub peers: Vec<PeerReport>,
}

/// Payload moved with one member since it came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
}

/// Everything measured by one node.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    pub(crate) minute: Minute,
    pub(crate) round_trips: BTreeMap<NodeId, Ewma>,
    pub(crate) moved: BTreeMap<NodeId, Moved>,
}

impl Measures {
    pub(crate) fn forget(&mut self, id: &NodeId) {
        self.round_trips.remove(id);
        self.moved.remove(id);
    }
}

/// Puts together what was measured.
pub(crate) fn analyze(ctx: &Context, topology: Topology) -> Analysis {
    let (tally, seconds) = ctx.measures.minute.sum(ctx.now);
    let report = |peer: &Peer| {
        let rtt = ctx.measures.round_trips.get(&peer.id);
        let moved = ctx.measures.moved.get(&peer.id).copied().unwrap_or_default();
        PeerReport {
            id: peer.id.clone(),
            rtt: rtt.and_then(Ewma::mean),
            jitter: rtt.and_then(Ewma::deviation),
            sent: moved.sent,
            received: moved.received,
            lost: moved.lost,
            linked: ctx.links.is_up(&peer.id),
        }
    };
    let peers: Vec<_> = ctx.peers.values().map(report).collect();
    // A probe is answered when neither its question nor its answer is lost.
    let answered = if tally.probes == 0 {
        1.0
    } else {
        tally.answers as f64 / tally.probes as f64
    };
    Analysis {
        topology,
        nodes: ctx.peers.len() + 1,
        links: ctx.links.count_up(),
        seconds,
        rtt: Spread::of(peers.iter().filter_map(|peer| peer.rtt).collect()),
        loss: 1.0 - answered.clamp(0.0, 1.0).sqrt(),
        sent_per_second: tally.sent as f64 / seconds,
        received_per_second: tally.received as f64 / seconds,
        lost_per_second: tally.lost as f64 / seconds,
        broadcasts_per_second: tally.broadcasts as f64 / seconds,
        churn_per_minute: (tally.arrivals + tally.departures) as f64 * 60.0 / seconds.max(10.0),
        partners: peers.iter().filter(|peer| peer.sent + peer.received > 0).count(),
        peers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_forgets_what_is_older() {
        let mut minute = Minute::default();
        let second = Duration::from_secs;
        minute.now(second(5)).probes += 10;
        minute.now(second(25)).probes += 1;
        assert_eq!(minute.sum(second(30)).0.probes, 11);
        assert_eq!(minute.sum(second(64)).0.probes, 1);
        assert_eq!(minute.sum(second(600)).0.probes, 0);
        let (_, covered) = minute.sum(second(30));
        assert!((29.0..=60.0).contains(&covered), "{covered}");
    }

    #[test]
    fn a_spread_takes_its_values_from_the_sample() {
        let spread = Spread::of((1..=11).rev().map(f64::from).collect()).unwrap();
        assert_eq!(
            (spread.min, spread.median, spread.p90, spread.max),
            (1.0, 6.0, 10.0, 11.0)
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn the_mean_follows_the_present() {
        let mut mean = Ewma::default();
        assert_eq!(mean.mean(), None);
        (0..10).for_each(|_| mean.add(100.0));
        assert!((mean.mean().unwrap() - 100.0).abs() < 1e-9);
        (0..40).for_each(|_| mean.add(200.0));
        assert!(mean.mean().unwrap() > 190.0);
    }
}
