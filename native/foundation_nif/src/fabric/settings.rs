//! What an endpoint and a channel are told, from maps.

use super::names::Names;
use crate::term::{choice, field, optional};
use foundation_fabric::channel::{Reliability, Settings};
use foundation_fabric::identity::{IdentityError, IdentityOptions, PemFiles};
use foundation_fabric::links::{self, Bounded};
use foundation_fabric::quic::QuicTransport;
use foundation_fabric::tls::{TlsTransport, TransportConfig};
use foundation_fabric::{Config, Identity, Secret, Transport, TransportError};
use foundation_overlay::{NodeId, PeerName};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

mod atoms {
    rustler::atoms! {
        cluster, name, boot, bind, advertise, secret, idle_ms, stall_ms, forget_ms, backoff_ms, max_links,
        max_dialled, max_relayed,
        reliability, priority, lanes, max_messages, max_bytes, max_message, window_bytes, window_messages,
        compress_above, transport, quic, accept, names, best_effort, at_least_once, ordered,
        eaddrinuse, eaddrnotavail, eacces, econnrefused, econnreset, etimedout, other,
        refused, refused_by_peer, timeout, closed, identity, hello, busy,
        no_secret, file, pem, certificate, key, clock,
    }
}

fn address(text: &str) -> NifResult<SocketAddr> {
    text.parse().map_err(|_| Error::BadArg)
}

/// What `fabric_start` is told.
pub(super) struct Options {
    me: NodeId,
    cluster: String,
    secret: Secret,
    bind: SocketAddr,
    advertise: Option<SocketAddr>,
    idle: Duration,
    stall: Duration,
    forget: Duration,
    backoff: Duration,
    max_links: usize,
    max_dialled: Option<usize>,
    max_relayed: Option<usize>,
    quic: bool,
    pem: Option<PemFiles>,
    bulk: Handle,
    accepted: Vec<Secret>,
    names: Names,
}

/// Most secrets, our own among them: each costs for every datagram of a stranger.
const MAX_SECRETS: usize = 9;

/// A secret.
pub(crate) fn secret(term: Term<'_>) -> NifResult<Secret> {
    Ok(Secret::new(term.decode::<Binary<'_>>()?.as_slice()))
}

/// The secrets that are accepted beside our own.
pub(crate) fn secrets(term: Term<'_>) -> NifResult<Vec<Secret>> {
    crate::term::list(term, MAX_SECRETS)?
        .into_iter()
        .map(secret)
        .collect()
}

impl Options {
    /// `bulk` serves the links of channels without a high priority.
    pub(super) fn decode(map: Term<'_>, bulk: Handle) -> NifResult<Self> {
        let millis = |name| field::<u32>(map, name).map(|ms| Duration::from_millis(ms.into()));
        let name: &str = field(map, atoms::name())?;
        let accepted = choice(map, atoms::accept())?.map_or_else(|| Ok(Vec::new()), secrets)?;
        let names = choice(map, atoms::names())?.map_or_else(|| Ok(Names::default()), Names::decode)?;
        Ok(Self {
            accepted,
            names,
            me: NodeId::new(name, field(map, atoms::boot())?).map_err(|_| Error::BadArg)?,
            cluster: field(map, atoms::cluster())?,
            secret: secret(field(map, atoms::secret())?)?,
            bind: address(field(map, atoms::bind())?)?,
            advertise: optional::<&str>(map, atoms::advertise())?
                .map(address)
                .transpose()?,
            idle: millis(atoms::idle_ms())?,
            stall: millis(atoms::stall_ms())?,
            forget: millis(atoms::forget_ms())?,
            backoff: millis(atoms::backoff_ms())?,
            max_links: field(map, atoms::max_links())?,
            max_dialled: choice(map, atoms::max_dialled())?,
            max_relayed: choice(map, atoms::max_relayed())?,
            quic: choice(map, atoms::transport())?.is_some_and(|name: Atom| name == atoms::quic()),
            pem: choice(map, atoms::pem())?.map(|(chain, key, roots): (&str, &str, &str)| PemFiles {
                chain: chain.into(),
                key: key.into(),
                roots: roots.into(),
            }),
            bulk,
        })
    }

    /// What names mean; once.
    pub(super) fn names(&mut self) -> Names {
        std::mem::take(&mut self.names)
    }

    /// Binds. On any thread that may block.
    pub(super) async fn transport(&self) -> Result<(Arc<Identity>, Arc<dyn Transport>), TransportError> {
        let name: PeerName = self.me.name.clone();
        let options = IdentityOptions::default();
        let identity = Arc::new(match &self.pem {
            Some(files) => Identity::from_pem(&self.cluster, name, files.clone(), options)?,
            None => Identity::from_secret(&self.cluster, name, &self.secret, options)?,
        });
        if !self.accepted.is_empty() {
            identity.set_secrets(&self.secret, &self.accepted)?;
        }
        let config = TransportConfig {
            advertise: self.advertise,
            bulk: Some(self.bulk.clone()),
            ..TransportConfig::new(self.bind, self.me.boot)
        };
        let transport: Arc<dyn Transport> = if self.quic {
            Arc::new(QuicTransport::bind(identity.clone(), config).await?)
        } else {
            Arc::new(TlsTransport::bind(identity.clone(), config).await?)
        };
        Ok((
            identity,
            Arc::new(Bounded::new(transport, self.max_links, links::IDLE)),
        ))
    }

    pub(super) fn config(&self, transport: &dyn Transport) -> Config {
        let bound = transport.local_addr();
        let mut listen = self.advertise.unwrap_or(bound);
        if listen.port() == 0 {
            listen.set_port(bound.port());
        }
        let usual = Config::new(&self.cluster, self.me.clone(), listen);
        Config {
            idle: self.idle,
            stall: self.stall,
            forget: self.forget,
            backoff: self.backoff,
            max_inbound: self.max_links,
            bulk: Some(self.bulk.clone()),
            max_dialled: self.max_dialled.unwrap_or(self.max_links / 2),
            max_relayed: self.max_relayed.unwrap_or(usual.max_relayed),
            ..usual
        }
    }
}

/// The settings of a channel.
pub(super) fn channel(map: Term<'_>) -> NifResult<Settings> {
    let reliability: Atom = field(map, atoms::reliability())?;
    let reliability = if reliability == atoms::best_effort() {
        Reliability::BestEffort
    } else if reliability == atoms::at_least_once() {
        Reliability::AtLeastOnce
    } else if reliability == atoms::ordered() {
        Reliability::Ordered
    } else {
        return Err(Error::BadArg);
    };
    Ok(Settings {
        reliability,
        priority: field(map, atoms::priority())?,
        lanes: field(map, atoms::lanes())?,
        max_messages: field(map, atoms::max_messages())?,
        max_bytes: field(map, atoms::max_bytes())?,
        max_message: field(map, atoms::max_message())?,
        window_bytes: field(map, atoms::window_bytes())?,
        window_messages: field(map, atoms::window_messages())?,
        compress_above: optional(map, atoms::compress_above())?,
    })
}

/// What the system said.
pub(crate) fn io_reason(error: &io::Error) -> Atom {
    match error.kind() {
        io::ErrorKind::AddrInUse => atoms::eaddrinuse(),
        io::ErrorKind::AddrNotAvailable => atoms::eaddrnotavail(),
        io::ErrorKind::PermissionDenied => atoms::eacces(),
        io::ErrorKind::ConnectionRefused => atoms::econnrefused(),
        io::ErrorKind::ConnectionReset => atoms::econnreset(),
        io::ErrorKind::TimedOut => atoms::etimedout(),
        _ => atoms::other(),
    }
}

/// What the transport said.
pub(super) fn transport_reason<'a>(env: Env<'a>, error: &TransportError) -> Term<'a> {
    match error {
        TransportError::Refused(_) => atoms::refused().encode(env),
        TransportError::RefusedByPeer(_) => atoms::refused_by_peer().encode(env),
        TransportError::Io(error) => io_reason(error).encode(env),
        TransportError::Timeout => atoms::timeout().encode(env),
        TransportError::Closed => atoms::closed().encode(env),
        TransportError::Identity(error) => (atoms::identity(), identity_reason(error)).encode(env),
        TransportError::Hello(_) => atoms::hello().encode(env),
        TransportError::Busy(_) => atoms::busy().encode(env),
    }
}

pub(super) fn identity_reason(error: &IdentityError) -> Atom {
    match error {
        IdentityError::NoSecret => atoms::no_secret(),
        IdentityError::Cluster => atoms::cluster(),
        IdentityError::NoSecrets => atoms::pem(),
        _ => atoms::certificate(),
    }
}
