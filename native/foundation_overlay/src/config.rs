//! What can be tuned, with defaults for a local network and for a wide one.
use std::time::Duration;

use crate::{Error, Topology, pub_sub};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How the overlay behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The topology until a switch says otherwise.
    pub topology: Topology,
    /// Failure detection. `None` leaves membership to the partial views: for clusters so large that no
    /// node should know all others.
    pub swim: Option<SwimConfig>,
    /// Sizes and walks of the partial views.
    pub hyparview: HyParViewConfig,
    /// Broadcast trees.
    pub pub_sub: pub_sub::Config,
    /// Client-server links.
    pub client_server: ClientServerConfig,
    /// Opening and re-opening links.
    pub links: LinkConfig,
    /// Finding other ways when a node cannot be dialled.
    pub relay: RelayConfig,
    /// Choosing the topology by measurement.
    pub automatic: AutomaticConfig,
    /// How long the links of the former topology outlive a switch once the new ones stand.
    pub switch_linger: Duration,
    /// When a switch counts as settled even if some links could not be opened.
    pub switch_timeout: Duration,
    /// The largest datagram, in bytes.
    pub max_datagram: usize,
    /// The largest frame, in bytes.
    pub max_frame: usize,
}

/// SWIM: how often to probe and how long to suspect.
#[derive(Clone, Debug)]
pub struct SwimConfig {
    /// One random member is probed each period.
    pub probe_period: Duration,
    /// A direct answer is awaited this long before others are asked to probe.
    pub probe_rtt: Duration,
    /// How many others are asked.
    pub indirect_probes: usize,
    /// After so many probe periods each member shows the next one in a ring again that it lives. This bounds how long a
    /// death waits for a probe, for one datagram each.
    pub watch_periods: f64,
    /// How long a suspect may answer before it is declared gone, when others suspect it as well.
    pub suspicion: Duration,
    /// How many times as long it may when nobody does. Each confirmation shortens this, the first most.
    pub unconfirmed: f64,
    /// How many others must suspect it for the shortest time.
    pub confirmations: usize,
    /// How often a suspect is asked directly meanwhile.
    pub challenge: Duration,
    /// How often news are gossiped.
    pub gossip_period: Duration,
    /// To how many.
    pub gossip_fanout: usize,
    /// How often one piece of news is sent by a node.
    pub transmissions: u8,
    /// How often a few members thought gone are spoken to, so that partitions heal.
    pub retry_down: Duration,
    /// How long a member that is gone is remembered.
    pub forget_down: Duration,
    /// How often one neighbour is shown who is held for alive, so that what gossip missed is found out.
    pub compare: Duration,
    /// The first pause between attempts to join through a seed; it doubles up to `join_retry_max`.
    pub join_retry: Duration,
    /// The longest pause between attempts to join.
    pub join_retry_max: Duration,
}

impl SwimConfig {
    /// For a local network: a node that stops is noticed in well under two seconds.
    pub const fn lan() -> Self {
        Self {
            probe_period: ms(200),
            probe_rtt: ms(70),
            indirect_probes: 3,
            watch_periods: 3.5,
            suspicion: ms(600),
            unconfirmed: 2.0,
            confirmations: 2,
            challenge: ms(60),
            gossip_period: ms(100),
            gossip_fanout: 4,
            transmissions: 8,
            retry_down: ms(500),
            forget_down: Duration::from_secs(3600),
            compare: ms(1_000),
            join_retry: ms(100),
            join_retry_max: ms(5_000),
        }
    }

    /// How often each member shows another that it lives.
    pub(crate) fn watch(&self) -> Duration {
        self.probe_period.mul_f64(self.watch_periods)
    }

    /// For a wide network with round trips up to some 400 ms: noticed in some seven seconds, hardly ever in more
    /// than eleven.
    pub const fn wan() -> Self {
        Self {
            probe_period: ms(1_500),
            probe_rtt: ms(500),
            indirect_probes: 3,
            watch_periods: 3.5,
            suspicion: ms(4_000),
            unconfirmed: 2.0,
            confirmations: 2,
            challenge: ms(600),
            gossip_period: ms(500),
            gossip_fanout: 4,
            transmissions: 10,
            retry_down: ms(2_000),
            forget_down: Duration::from_secs(3600),
            compare: ms(5_000),
            join_retry: ms(500),
            join_retry_max: ms(10_000),
        }
    }
}

/// HyParView's parameters. Sizes left at `None` follow the number of members known.
#[derive(Clone, Debug)]
pub struct HyParViewConfig {
    /// Links a node keeps.
    pub active: Option<usize>,
    /// Nodes a node knows in reserve.
    pub passive: Option<usize>,
    /// Steps of a join's random walk.
    pub active_walk: u8,
    /// The step at which the walk leaves the joiner in a passive view.
    pub passive_walk: u8,
    /// How often a part of the views is exchanged.
    pub shuffle_period: Duration,
    /// Entries of the active view in an exchange.
    pub shuffle_active: usize,
    /// Entries of the passive view in an exchange.
    pub shuffle_passive: usize,
    /// How often a costly link may be traded for a cheaper one; `None` never.
    pub optimise_period: Option<Duration>,
}

impl Default for HyParViewConfig {
    fn default() -> Self {
        Self {
            active: None,
            passive: None,
            active_walk: 6,
            passive_walk: 3,
            shuffle_period: Duration::from_secs(10),
            shuffle_active: 3,
            shuffle_passive: 4,
            optimise_period: Some(Duration::from_secs(5)),
        }
    }
}

/// Client-server parameters.
#[derive(Clone, Debug)]
pub struct ClientServerConfig {
    /// How many servers a client is linked to.
    pub servers_per_client: usize,
    /// How many nodes serve when no node has the role of a server.
    pub elected_servers: usize,
}

impl Default for ClientServerConfig {
    fn default() -> Self {
        Self {
            servers_per_client: 2,
            elected_servers: 3,
        }
    }
}

/// Opening links.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The pause after the first failure; it doubles, with jitter.
    pub retry: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// The higher of two names waits this long for the lower one to open their common link.
    pub courtesy: Duration,
    /// A link that nobody asked for is closed after this long.
    pub idle: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            retry: ms(50),
            retry_max: ms(2_000),
            courtesy: ms(500),
            idle: ms(5_000),
        }
    }
}

/// Relays through neighbours.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Hops a search or a relayed message may take.
    pub max_hops: u8,
    /// How long a way found is believed.
    pub keep: Duration,
    /// How long a node that could not be dialled counts as undiallable.
    pub undiallable: Duration,
    /// At most this many ways are remembered.
    pub max_routes: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            max_hops: 8,
            keep: Duration::from_secs(30),
            undiallable: Duration::from_secs(30),
            max_routes: 4096,
        }
    }
}

/// Choosing the topology by measurement.
#[derive(Clone, Debug)]
pub struct AutomaticConfig {
    /// How often it is looked at.
    pub every: Duration,
    /// A change must promise to save at least this share of the cost.
    pub margin: f64,
    /// And be the best at this many looks in a row.
    pub looks: u32,
    /// How long nothing is changed after a switch, whoever made it.
    pub cool_down: Duration,
}

impl Default for AutomaticConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            margin: 0.25,
            looks: 3,
            cool_down: Duration::from_secs(120),
        }
    }
}

impl Config {
    /// Defaults for a local network.
    pub fn lan() -> Self {
        Self {
            topology: Topology::FullMesh,
            swim: Some(SwimConfig::lan()),
            hyparview: HyParViewConfig::default(),
            pub_sub: pub_sub::Config::default(),
            client_server: ClientServerConfig::default(),
            links: LinkConfig::default(),
            relay: RelayConfig::default(),
            automatic: AutomaticConfig::default(),
            switch_linger: ms(1_000),
            switch_timeout: Duration::from_secs(20),
            max_datagram: 1_200,
            max_frame: 256 * 1024,
        }
    }

    /// Defaults for a wide network.
    pub fn wan() -> Self {
        Self {
            swim: Some(SwimConfig::wan()),
            links: LinkConfig {
                retry: ms(200),
                retry_max: ms(10_000),
                courtesy: ms(2_000),
                idle: ms(20_000),
            },
            ..Self::lan()
        }
    }

    /// Refuses values the protocols cannot work with.
    pub fn validate(&self) -> Result<(), Error> {
        let err = |what| Err(Error::Config(what));
        if self.max_datagram < 1_000 || self.max_datagram > 65_000 {
            return err("max_datagram must be within 1,000..=65,000 bytes");
        }
        if self.max_frame < 4_096 || self.max_frame > 16 * 1024 * 1024 {
            return err("max_frame must be within 4,096..=16,777,216 bytes");
        }
        if let Some(swim) = &self.swim {
            if swim.probe_rtt.is_zero() || swim.probe_rtt * 2 > swim.probe_period {
                return err("probe_rtt must be above zero and at most half of probe_period");
            }
            if swim.indirect_probes == 0 || swim.gossip_fanout == 0 || swim.transmissions == 0 {
                return err("indirect_probes, gossip_fanout and transmissions must be above zero");
            }
            if !(0.01..=1_000.0).contains(&swim.watch_periods) {
                return err("watch_periods must be within 0.01..=1000.0");
            }
            if !(1.0..=100.0).contains(&swim.unconfirmed) {
                return err("unconfirmed must be within 1.0..=100.0");
            }
            let periods = [
                swim.suspicion,
                swim.challenge,
                swim.gossip_period,
                swim.retry_down,
                swim.compare,
                swim.join_retry,
            ];
            if periods.iter().any(Duration::is_zero) {
                return err("the periods of swim must be above zero");
            }
        }
        let views = &self.hyparview;
        if views.active.is_some_and(|size| !(2..=64).contains(&size)) {
            return err("hyparview's active view must hold 2 to 64 nodes");
        }
        if views.passive.is_some_and(|size| !(2..=1024).contains(&size)) {
            return err("hyparview's passive view must hold 2 to 1,024 nodes");
        }
        if views.passive_walk > views.active_walk || views.active_walk > 32 {
            return err("passive_walk must not exceed active_walk, which must not exceed 32");
        }
        if views.shuffle_period.is_zero() || views.shuffle_active + views.shuffle_passive > 32 {
            return err("shuffle_period must be above zero and a shuffle may hold 32 nodes");
        }
        if self.client_server.servers_per_client == 0 || self.client_server.elected_servers == 0 {
            return err("servers_per_client and elected_servers must be above zero");
        }
        if self.links.retry.is_zero() || self.links.retry > self.links.retry_max {
            return err("links.retry must be above zero and at most retry_max");
        }
        let automatic = &self.automatic;
        if automatic.every.is_zero() || !(0.0..1.0).contains(&automatic.margin) || automatic.looks == 0 {
            return err("automatic.every and looks must be above zero and margin within 0.0..1.0");
        }
        if self.relay.max_hops == 0 || self.relay.max_hops > 32 {
            return err("relay.max_hops must be within 1..=32");
        }
        Ok(())
    }
}
