//! What an endpoint is told at its start.

use foundation_overlay::NodeId;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Handle;

/// The priority of channels that are told nothing else. Links of channels above it go before all others.
pub const USUAL_PRIORITY: u8 = 128;

/// The settings of an endpoint.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster, as every hello says.
    pub cluster: String,
    /// Who we are.
    pub me: NodeId,
    /// Where others reach us; its unspecified address stands for the one they see.
    pub listen: SocketAddr,
    /// A link on which nothing was sent for so long closes.
    pub idle: Duration,
    /// A link whose peer owes an acknowledgement and says nothing for so long is given up.
    pub stall: Duration,
    /// How long what was queued for a node that is down is kept.
    pub forget: Duration,
    /// The longest wait between two attempts to open a link.
    pub backoff: Duration,
    /// Links that other nodes may have open to us.
    pub max_inbound: usize,
    /// Where links of channels up to [`USUAL_PRIORITY`] are served, so that the others find their threads free; the
    /// endpoint's own runtime where it is not given.
    pub bulk: Option<Handle>,
    /// Links opened on demand to nodes that others could relay to; beyond them others do.
    pub max_dialled: usize,
    /// Links of other nodes that this one carries at once.
    pub max_relayed: usize,
}

impl Config {
    /// Usual settings: links close after 60 s without use, are given up after 3 s of silence and tried again twice a
    /// second; what is queued for a lost node is kept for a minute; 4,096 links
    /// come in, 2,048 go out on demand, 1,024 are carried for others.
    pub fn new(cluster: &str, me: NodeId, listen: SocketAddr) -> Self {
        Self {
            cluster: cluster.to_owned(),
            me,
            listen,
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(3),
            forget: Duration::from_secs(60),
            backoff: Duration::from_millis(500),
            max_inbound: 4096,
            bulk: None,
            max_dialled: 2048,
            max_relayed: 1024,
        }
    }
}
