//! What an overlay is told, from a map.

use super::{Processes, atoms, topology_of};
use crate::term::{field, optional};
use bytes::Bytes;
use foundation_fabric::overlay_driver::{Driver, DriverConfig, advertised};
use foundation_fabric::{Endpoint, Secret};
use foundation_overlay::{Config, Error as Refused, Peer, Role, SwimConfig};
use rustler::{Atom, Binary, Error, NifResult, Term};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Frames that may wait on a link before it counts as stuck.
const QUEUE: usize = 4_096;

mod names {
    rustler::atoms! {
        cluster, secret, accept, address, topology, profile, role, meta, seed, active, passive, probe_ms, suspicion_ms,
    }
}

/// What `topology_start` is told.
pub(super) struct Options {
    pub(super) secret: Secret,
    accepted: Vec<Secret>,
    cluster: String,
    address: Option<SocketAddr>,
    role: Role,
    meta: Bytes,
    seed: [u8; 32],
    overlay: Config,
}

fn role(atom: Atom) -> NifResult<Role> {
    [
        (atoms::peer(), Role::Peer),
        (atoms::server(), Role::Server),
        (atoms::client(), Role::Client),
    ]
    .into_iter()
    .find_map(|(name, role)| (name == atom).then_some(role))
    .ok_or(Error::BadArg)
}

fn profile(map: Term<'_>) -> NifResult<Config> {
    let profile: Atom = field(map, names::profile())?;
    let mut config = if profile == atoms::lan() {
        Config::lan()
    } else if profile == atoms::wan() {
        Config::wan()
    } else {
        return Err(Error::BadArg);
    };
    config.topology = topology_of(field(map, names::topology())?)?;
    config.hyparview.active = optional(map, names::active())?;
    config.hyparview.passive = optional(map, names::passive())?;
    let swim = config.swim.get_or_insert_with(SwimConfig::lan);
    let millis = |name| optional::<u32>(map, name).map(|ms| ms.map(|ms| Duration::from_millis(ms.into())));
    if let Some(period) = millis(names::probe_ms())? {
        (swim.probe_period, swim.probe_rtt) = (period, period * 35 / 100);
    }
    if let Some(suspicion) = millis(names::suspicion_ms())? {
        (swim.suspicion, swim.challenge) = (suspicion, (suspicion / 12).max(Duration::from_millis(1)));
    }
    Ok(config)
}

impl Options {
    pub(super) fn decode(map: Term<'_>) -> NifResult<Self> {
        let meta: Binary<'_> = field(map, names::meta())?;
        let seed: Binary<'_> = field(map, names::seed())?;
        let address = optional::<&str>(map, names::address())?;
        Ok(Self {
            secret: crate::fabric::secret(field(map, names::secret())?)?,
            accepted: match map.map_get(names::accept()) {
                Ok(accepted) => crate::fabric::secrets(accepted)?,
                Err(_) => Vec::new(),
            },
            cluster: field(map, names::cluster())?,
            address: address.map(str::parse).transpose().map_err(|_| Error::BadArg)?,
            role: role(field(map, names::role())?)?,
            meta: Bytes::copy_from_slice(meta.as_slice()),
            seed: seed.as_slice().try_into().map_err(|_| Error::BadArg)?,
            overlay: profile(map)?,
        })
    }

    /// Takes datagrams of nodes with one of the accepted secrets, if there are any.
    pub(super) fn accept(&self, driver: &Driver) -> io::Result<()> {
        if self.accepted.is_empty() {
            return Ok(());
        }
        driver.set_secrets(&self.secret, &self.accepted)
    }

    /// The settings of a node that accepts links where the endpoint does.
    pub(super) fn config(&self, endpoint: &Endpoint<Processes>) -> Result<DriverConfig, Refused> {
        self.overlay.validate()?;
        let me = Peer {
            id: endpoint.me().clone(),
            addr: advertised(endpoint.local_addr(), self.address),
            role: self.role,
            meta: self.meta.clone(),
        };
        Ok(DriverConfig {
            cluster: self.cluster.clone(),
            me,
            overlay: self.overlay.clone(),
            seed: self.seed,
            queue: QUEUE,
        })
    }
}
