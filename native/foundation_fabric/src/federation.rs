//! Calls between clusters that share no secret.
//!
//! A cluster's gateway accepts links from nodes whose certificates come from authorities that it pinned, and hands
//! their requests to a [`Handler`], within a [`Quota`] for each cluster. What a request may do is the handler's to
//! decide; nothing here looks into it. A caller keeps one link to one gateway of each other cluster and sends its
//! requests over it, side by side.

mod call;
mod frame;
mod quota;
mod serve;

#[cfg(test)]
mod federation_tests;

pub use call::CallError;
pub use quota::Quota;
pub use serve::{Handler, Request, Responder};

use crate::identity::{Identity, IdentityError, IdentityOptions};
use crate::links::Bounded;
use crate::secret::Secret;
use crate::tls::{Accepts, Connector, TlsTransport, TransportConfig};
use crate::transport::{Refused, Transport, TransportError};
use bytes::Bytes;
use call::Remote;
use foundation_overlay::PeerName;
use quota::Quotas;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Most bytes of a request or an answer unless told otherwise.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Most links to a gateway; when all are taken, one that was silent makes room.
const LINKS: usize = 1_024;
const SILENT: Duration = Duration::from_secs(120);
/// Most calls of this node under way, to all clusters together.
const CALLS: usize = 4_096;

/// Status of an answer that a gateway gives itself. A handler's own begin at [`status::FIRST`].
pub mod status {
    /// The call was made, and this is what it returned.
    pub const OK: u32 = 0;
    /// Above the quota; the payload is the number of ms until a retry can succeed, as a big-endian u64.
    pub const QUOTA: u32 = 1;
    /// The request is larger than the gateway takes.
    pub const TOO_LARGE: u32 = 2;
    /// The call was taken and then lost.
    pub const LOST: u32 = 3;
    /// The first status that is a handler's.
    pub const FIRST: u32 = 16;
}

/// What this node is to a cluster.
#[derive(Clone, Debug)]
pub enum Membership {
    /// A member: it has the cluster's secret, and may be a gateway of it.
    Member {
        /// The cluster's secret.
        secret: Secret,
        /// Secrets that other members may prove themselves by as well, while one is exchanged for another.
        accepted: Vec<Secret>,
        /// Where to accept links from others, if this node is a gateway.
        gateway: Option<SocketAddr>,
    },
    /// A stranger, known to the other by the authority of the cluster `of` which this node is a member of.
    Foreign {
        /// The cluster in whose name this node calls.
        of: String,
        /// The certificates of the other cluster's authorities.
        authorities: Vec<CertificateDer<'static>>,
    },
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Its name, in its own certificates.
    pub name: String,
    /// What this node is to it.
    pub membership: Membership,
    /// Where its gateways are, to call it.
    pub gateways: Vec<SocketAddr>,
    /// What it may ask of our gateways.
    pub quota: Quota,
}

/// What a federation starts from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name.
    pub node: PeerName,
    /// When this node started, µs since the epoch.
    pub boot: u64,
    /// All clusters; the names differ.
    pub clusters: Vec<ClusterSettings>,
    /// Most bytes of a request or an answer.
    pub max_payload: usize,
}

/// Why a federation did not start. Nothing of it runs on.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// An identity cannot be made.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
    /// A gateway cannot be bound.
    #[error("gateway: {0}")]
    Transport(#[from] TransportError),
    /// A foreign cluster is to be called in the name of a cluster that this node is no member of.
    #[error("not a member of {0:?}")]
    NotMember(String),
    /// A cluster's name comes twice.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// A quota is out of range.
    #[error("quota: {0}")]
    Quota(#[from] foundation_limits::LimitError),
}

/// A call under way; cancelled when dropped.
#[derive(Debug)]
pub struct Calling(#[allow(dead_code, reason = "dropping it is what it is for")] oneshot::Sender<()>);

/// Calls to and from other clusters. Stops when dropped.
pub struct Federation {
    members: HashMap<String, Arc<Identity>>,
    remotes: HashMap<String, Arc<Remote>>,
    gateways: HashMap<String, Arc<dyn Transport>>,
    calls: Arc<Semaphore>,
    max_payload: usize,
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation")
            .field("clusters", &self.remotes.keys())
            .finish_non_exhaustive()
    }
}

impl Federation {
    /// Binds the gateways, on the runtime that this is called in. Requests go to `handler`.
    pub async fn start(settings: Settings, handler: Arc<dyn Handler>) -> Result<Self, FederationError> {
        let members = members(&settings)?;
        let quotas = settings
            .clusters
            .iter()
            .map(|cluster| (cluster.name.as_str(), cluster.quota));
        let quotas = Arc::new(Quotas::new(quotas)?);
        let mut gateways = HashMap::new();
        let mut remotes = HashMap::new();
        for cluster in &settings.clusters {
            let (identity, accepts) = match &cluster.membership {
                Membership::Member { gateway, .. } => {
                    let identity = &members[&cluster.name];
                    if let Some(bind) = gateway {
                        let gateway = gateway_at(*bind, identity, settings.boot).await?;
                        let (quotas, handler) = (quotas.clone(), handler.clone());
                        tokio::spawn(serve::run(gateway.clone(), quotas, handler, settings.max_payload));
                        gateways.insert(cluster.name.clone(), gateway);
                    }
                    (identity, Accepts::Own)
                }
                Membership::Foreign { of, .. } => (&members[of], Accepts::Pinned),
            };
            let remote = remote(&settings, cluster, identity, accepts)?;
            remotes.insert(cluster.name.clone(), Arc::new(remote));
        }
        let calls = Arc::new(Semaphore::new(CALLS));
        Ok(Self {
            members,
            remotes,
            gateways,
            calls,
            max_payload: settings.max_payload,
        })
    }

    /// Sends a request to a cluster, and hands its answer, status and payload, to `done`, within `within`. Must be
    /// called in the runtime. An error here means that nothing was sent and `done` is not called. When the answer
    /// is dropped, the call is cancelled: the other side is told, and `done` hears of a timeout.
    pub fn call(
        &self,
        cluster: &str,
        payload: Bytes,
        within: Duration,
        done: impl FnOnce(Result<(u32, Bytes), CallError>) + Send + 'static,
    ) -> Result<Calling, CallError> {
        let remote = self
            .remotes
            .get(cluster)
            .ok_or(CallError::UnknownCluster)?
            .clone();
        if payload.len() > self.max_payload {
            return Err(CallError::TooLarge);
        }
        let permit = self
            .calls
            .clone()
            .try_acquire_owned()
            .map_err(|_| CallError::Busy)?;
        let (calling, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let cancelled = async {
                let _ = dropped.await;
            };
            let answer = remote.call(payload, within, cancelled).await;
            drop(permit);
            done(answer);
        });
        Ok(Calling(calling))
    }

    /// Where the gateway of a cluster that this node is a member of accepts links.
    pub fn gateway(&self, cluster: &str) -> Option<SocketAddr> {
        self.gateways.get(cluster).map(|gateway| gateway.local_addr())
    }

    /// The authorities of a cluster that this node is a member of: what other clusters pin. Public.
    pub fn authorities(&self, cluster: &str) -> Option<Vec<CertificateDer<'static>>> {
        self.members.get(cluster).map(|identity| identity.authorities())
    }

    /// The gateway of a cluster that calls go to at the moment.
    pub fn linked(&self, cluster: &str) -> Option<foundation_overlay::NodeId> {
        self.remotes.get(cluster)?.linked()
    }

    /// Links that gateways refused, by reason.
    pub fn refused(&self) -> Refused {
        self.gateways
            .values()
            .fold(Refused::default(), |sum, gateway| sum.plus(gateway.refused()))
    }

    /// Stops the gateways and closes the links to others.
    pub fn stop(&self) {
        self.gateways.values().for_each(|gateway| gateway.close());
        self.remotes.values().for_each(|remote| remote.close());
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A gateway, with a bound on its links.
async fn gateway_at(
    bind: SocketAddr,
    identity: &Arc<Identity>,
    boot: u64,
) -> Result<Arc<dyn Transport>, TransportError> {
    let config = TransportConfig {
        accepts: Accepts::OwnAndPinned,
        ..TransportConfig::new(bind, boot)
    };
    let transport = TlsTransport::bind(identity.clone(), config).await?;
    Ok(Arc::new(Bounded::new(Arc::new(transport), LINKS, SILENT)))
}

fn remote(
    settings: &Settings,
    cluster: &ClusterSettings,
    identity: &Arc<Identity>,
    accepts: Accepts,
) -> Result<Remote, TransportError> {
    // It accepts no links.
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = TransportConfig {
        accepts,
        ..TransportConfig::new(nowhere, settings.boot)
    };
    let connector = Connector::new(identity, &config, nowhere)?;
    let (name, own) = (cluster.name.clone(), identity.cluster().to_owned());
    let gateways = cluster.gateways.clone();
    Ok(Remote::new(
        name,
        own,
        settings.boot,
        gateways,
        connector,
        settings.max_payload,
    ))
}

/// Who this node is in each cluster it is a member of; foreign clusters are pinned at all of them.
fn members(settings: &Settings) -> Result<HashMap<String, Arc<Identity>>, FederationError> {
    let mut members = HashMap::new();
    let mut names = std::collections::HashSet::new();
    for cluster in &settings.clusters {
        if !names.insert(&cluster.name) {
            return Err(FederationError::Twice(cluster.name.clone()));
        }
        if let Membership::Member { secret, accepted, .. } = &cluster.membership {
            let options = IdentityOptions::default();
            let identity = Identity::from_secret(&cluster.name, settings.node.clone(), secret, options)?;
            if !accepted.is_empty() {
                identity.set_secrets(secret, accepted)?;
            }
            members.insert(cluster.name.clone(), Arc::new(identity));
        }
    }
    for cluster in &settings.clusters {
        if let Membership::Foreign { of, authorities } = &cluster.membership {
            let member = members
                .get(of)
                .ok_or_else(|| FederationError::NotMember(of.clone()))?;
            member.pin(&cluster.name, authorities)?;
        }
    }
    Ok(members)
}
