//! Which topology would serve best, estimated from what was measured.
//!
//! Each topology is priced in microseconds of work and waiting for a second of the workload: what a message costs
//! on its way, what a broadcast costs its sender and takes to reach the last, what links cost to keep and what
//! members that come and go cost. The prices of the parts are in [`Estimate`], so that advice can be questioned.
use std::time::Duration;

use crate::context::{Context, Wake};
use crate::measure::Analysis;
use crate::{Role, Topology};

/// What the cluster is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Workload {
    /// Small requests between any two nodes that must be answered soon.
    LowLatency,
    /// Much data between few partners.
    HighThroughput,
    /// News to all nodes.
    Broadcast,
    /// News to those who subscribed.
    PubSub,
    /// Many nodes that use a few.
    ClientServer,
    /// Very many nodes, or nodes that come and go.
    Scale,
    /// What is measured, and nothing else.
    Measured,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LowLatency,
        Self::HighThroughput,
        Self::Broadcast,
        Self::PubSub,
        Self::ClientServer,
        Self::Scale,
        Self::Measured,
    ];

    /// The name users know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LowLatency => "low_latency",
            Self::HighThroughput => "high_throughput",
            Self::Broadcast => "broadcast",
            Self::PubSub => "pub_sub",
            Self::ClientServer => "client_server",
            Self::Scale => "scale",
            Self::Measured => "measured",
        }
    }

    /// The workload with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// How much of each kind there is: messages to any node, messages to partners, broadcasts to all, broadcasts
    /// to subscribers, all a second; how much members that come and go matter beside what was measured.
    fn mix(self, analysis: &Analysis) -> Mix {
        let quiet = Mix {
            any: 0.0,
            partners: 0.0,
            all: 0.0,
            some: 0.0,
            hubs: 0.0,
            churn: 1.0,
        };
        match self {
            Self::LowLatency => Mix {
                any: 1_000.0,
                ..quiet
            },
            Self::HighThroughput => Mix {
                partners: 1_000.0,
                ..quiet
            },
            Self::Broadcast => Mix { all: 100.0, ..quiet },
            Self::PubSub => Mix { some: 100.0, ..quiet },
            Self::ClientServer => Mix {
                hubs: 1_000.0,
                ..quiet
            },
            Self::Scale => Mix {
                any: 10.0,
                all: 1.0,
                churn: 10.0,
                ..quiet
            },
            Self::Measured => {
                let messages = (analysis.sent_per_second + analysis.received_per_second) / MESSAGE_BYTES;
                let others = (analysis.nodes - 1).max(1) as f64;
                let spread = (analysis.partners as f64 / others).min(1.0);
                Mix {
                    any: messages * spread,
                    partners: messages * (1.0 - spread),
                    all: analysis.broadcasts_per_second * others,
                    ..quiet
                }
            }
        }
    }
}

/// Payload is counted as messages of this size.
const MESSAGE_BYTES: f64 = 1_024.0;
/// Microseconds to send or receive one message, or to pass one on.
const TOUCH: f64 = 5.0;
/// Microseconds of work a second that an open link costs: its keep-alives, its buffers.
const KEEP: f64 = 30.0;
/// Microseconds of work to open a link: a handshake with both signatures.
const OPEN: f64 = 3_000.0;
/// The round trip assumed until one was measured, in microseconds.
const RTT: f64 = 1_000.0;
/// The share of nodes that subscribe to a topic.
const SUBSCRIBED: f64 = 0.2;
/// The share of messages to any node that find no link open where links are opened on demand.
const COLD: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Mix {
    any: f64,
    partners: f64,
    all: f64,
    some: f64,
    hubs: f64,
    churn: f64,
}

/// What one topology would cost a node, in microseconds for each second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The topology.
    pub topology: Topology,
    /// Links each node would keep.
    pub links: f64,
    /// Messages between two nodes: waiting and work.
    pub messages: f64,
    /// Broadcasts: work of the busiest node, and waiting of the last.
    pub broadcasts: f64,
    /// Keeping links, and opening them as members come and go.
    pub upkeep: f64,
}

impl Estimate {
    /// All together.
    pub fn total(&self) -> f64 {
        self.messages + self.broadcasts + self.upkeep
    }
}

/// A recommendation and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What for.
    pub workload: Workload,
    /// The topology in force.
    pub current: Topology,
    /// The one that would cost least.
    pub best: Topology,
    /// The share of the present cost that a change would save, 0 when there is nothing to gain.
    pub saving: f64,
    /// Each topology, cheapest first.
    pub estimates: Vec<Estimate>,
}

/// Prices every topology for a workload.
pub(crate) fn recommend(workload: Workload, analysis: &Analysis) -> Advice {
    let mix = workload.mix(analysis);
    let mut estimates: Vec<_> = Topology::ALL
        .iter()
        .map(|topology| price(*topology, &mix, analysis))
        .collect();
    estimates.sort_by(|a, b| a.total().total_cmp(&b.total()));
    let best = estimates[0];
    let cost = |topology| {
        let found = estimates
            .iter()
            .find(|estimate: &&Estimate| estimate.topology == topology);
        found.map_or(f64::INFINITY, Estimate::total)
    };
    let current = analysis.topology;
    let saving = if best.topology == current {
        0.0
    } else {
        1.0 - best.total() / cost(current).max(1e-9)
    };
    Advice {
        workload,
        current,
        best: best.topology,
        saving,
        estimates,
    }
}

fn price(topology: Topology, mix: &Mix, analysis: &Analysis) -> Estimate {
    let nodes = analysis.nodes.max(2) as f64;
    let one_way = analysis.rtt.map_or(RTT, |rtt| rtt.median) / 2.0;
    // What is lost is sent again after a round trip.
    let hop = (one_way + 2.0 * TOUCH) * (1.0 + 2.0 * analysis.loss);
    let degree = (nodes.log10().ceil() + 2.0).max(4.0).min(nodes - 1.0);
    let depth = nodes.ln() / degree.max(2.0).ln();
    let servers = 3.0_f64.min(nodes);
    let clients = (nodes / servers) * 2.0;
    // On partial views a message to a stranger waits for a link first: three round trips.
    let cold = COLD * (6.0 * one_way + OPEN);
    let (links, any, partner, hub, all, some) = match topology {
        Topology::FullMesh => {
            let fan = (nodes - 1.0) * TOUCH;
            (nodes - 1.0, hop, hop, hop, fan + hop, fan * SUBSCRIBED + hop)
        }
        Topology::HyParView => {
            let tree = degree * TOUCH + depth * hop;
            (degree + 1.0, hop + cold, hop, hop + cold / 4.0, tree, tree)
        }
        Topology::PubSub => {
            let tree = degree * TOUCH + depth * hop;
            let subscribed = (nodes * SUBSCRIBED).max(2.0);
            let narrow = 4.0 * TOUCH * SUBSCRIBED + subscribed.ln() / 4.0_f64.ln() * hop;
            (degree + 3.0, hop + cold, hop, hop + cold / 4.0, tree, narrow)
        }
        Topology::ClientServer => {
            // Two of three messages between clients pass two servers, which share all of the work.
            let through = 2.6 * hop + clients * TOUCH;
            let fan = clients * TOUCH + 3.0 * hop;
            (
                2.0 + (servers - 1.0 + clients) * servers / nodes,
                through,
                through,
                hop,
                fan,
                fan,
            )
        }
    };
    let arriving = analysis.churn_per_minute / 60.0 * mix.churn;
    // Each node that comes or goes makes this many links for each of the others to open.
    let opened = arriving * OPEN * 2.0 * links / nodes * nodes.min(links + 1.0);
    Estimate {
        topology,
        links,
        messages: mix.any * any + mix.partners * partner + mix.hubs * hub,
        broadcasts: mix.all * all + mix.some * some,
        upkeep: links * KEEP + opened,
    }
}

/// Chooses the topology now and then, when asked to.
#[derive(Debug, Default)]
pub(crate) struct Automatic {
    workload: Option<Workload>,
    /// Counts the times it was switched on, so that timers of earlier times mean nothing.
    round: u64,
    best: Option<(Topology, u32)>,
}

impl Automatic {
    pub(crate) fn set(&mut self, ctx: &mut Context, workload: Option<Workload>) {
        self.workload = workload;
        self.round += 1;
        self.best = None;
        if workload.is_some() {
            ctx.wake(ctx.config.automatic.every, Wake::Automatic(self.round));
        }
    }

    /// What to change to, if a change has been worth it for a while.
    pub(crate) fn look(
        &mut self,
        ctx: &mut Context,
        round: u64,
        since: Duration,
        analysis: &Analysis,
    ) -> Option<Topology> {
        let workload = self.workload.filter(|_| round == self.round)?;
        let config = ctx.config.automatic.clone();
        ctx.wake(config.every, Wake::Automatic(round));
        if !is_oldest(ctx) {
            return None;
        }
        let advice = recommend(workload, analysis);
        if advice.saving < config.margin {
            self.best = None;
            return None;
        }
        let looks = self
            .best
            .filter(|(best, _)| *best == advice.best)
            .map_or(0, |(_, looks)| looks)
            + 1;
        self.best = Some((advice.best, looks));
        let cool = since.is_zero() || ctx.now.saturating_sub(since) >= config.cool_down;
        (looks >= config.looks && cool).then(|| {
            self.best = None;
            advice.best
        })
    }
}

/// One node decides, so that decisions do not cross: the one that has been up longest, servers first.
fn is_oldest(ctx: &Context) -> bool {
    let rank = |role: Role, boot: u64| (role != Role::Server, boot);
    let mine = (rank(ctx.me.role, ctx.me.id.boot), &ctx.me.id.name);
    ctx.peers
        .values()
        .all(|peer| mine < (rank(peer.role, peer.id.boot), &peer.id.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Spread;

    fn analysis(nodes: usize, rtt: f64, churn: f64) -> Analysis {
        Analysis {
            topology: Topology::FullMesh,
            nodes,
            links: 3,
            seconds: 60.0,
            rtt: Some(Spread {
                min: rtt,
                median: rtt,
                p90: rtt,
                max: rtt,
            }),
            loss: 0.0,
            sent_per_second: 0.0,
            received_per_second: 0.0,
            lost_per_second: 0.0,
            broadcasts_per_second: 0.0,
            churn_per_minute: churn,
            partners: 0,
            peers: Vec::new(),
        }
    }

    #[test]
    fn small_clusters_are_meshed_and_large_ones_are_not() {
        let best = |workload, nodes| recommend(workload, &analysis(nodes, 500.0, 0.0)).best;
        assert_eq!(best(Workload::LowLatency, 5), Topology::FullMesh);
        assert_eq!(best(Workload::LowLatency, 30), Topology::FullMesh);
        assert_eq!(best(Workload::Scale, 1_000), Topology::HyParView);
        assert_eq!(best(Workload::Broadcast, 2_000), Topology::HyParView);
        assert_eq!(best(Workload::PubSub, 2_000), Topology::PubSub);
        assert_eq!(best(Workload::ClientServer, 2_000), Topology::ClientServer);
    }

    #[test]
    fn advice_counts_what_was_measured() {
        let mut busy = analysis(2_000, 500.0, 0.0);
        let quiet = recommend(Workload::Measured, &busy);
        assert_ne!(
            quiet.best,
            Topology::FullMesh,
            "a mesh of 2,000 costs without being used"
        );
        busy.sent_per_second = 50e6;
        busy.partners = 1_999;
        assert_eq!(recommend(Workload::Measured, &busy).best, Topology::FullMesh);
        let calm = recommend(Workload::Scale, &analysis(300, 500.0, 0.0));
        let churning = recommend(Workload::Scale, &analysis(300, 500.0, 600.0));
        let mesh = |advice: &Advice| {
            advice
                .estimates
                .iter()
                .find(|each| each.topology == Topology::FullMesh)
                .unwrap()
                .upkeep
        };
        assert!(mesh(&churning) > mesh(&calm) * 10.0);
    }

    #[test]
    fn the_cheapest_comes_first_and_the_saving_is_against_the_present() {
        for workload in Workload::ALL {
            for nodes in [1, 2, 10, 100, 10_000] {
                let advice = recommend(workload, &analysis(nodes, 300.0, 2.0));
                assert_eq!(advice.best, advice.estimates[0].topology);
                assert!(advice.estimates.is_sorted_by(|a, b| a.total() <= b.total()));
                assert!((0.0..1.0).contains(&advice.saving), "{advice:?}");
                assert_eq!(Workload::from_name(workload.name()), Some(workload));
            }
        }
    }
}
