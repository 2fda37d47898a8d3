//! Who this node is: a certificate that proves its name to its cluster, kept fresh, and whom it trusts.
//!
//! From a [`Secret`] every node derives the same certificate authority and gives itself a certificate for a day,
//! renewed after half of it. Links that are open stay open: TLS proves identity when a link opens. A certificate is
//! valid from an hour before it was made, so a peer's clock may be an hour behind or eleven hours ahead. While a
//! secret is exchanged for another, the authorities of both are trusted ([`Identity::set_secrets`]). With
//! [`PemFiles`] the user's own authority issues the certificates; changed files are read again within ten seconds
//! of a handshake, and while they do not fit together the old ones stay.

mod authority;
mod name;
mod pem;

use crate::secret::Secret;
use arc_swap::ArcSwap;
use authority::Authority;
use foundation_overlay::PeerName;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use name::{Subject, valid_cluster};
pub use pem::PemFiles;
pub(crate) use pem::subject_of;

/// How long before it was made a certificate is valid already: the tolerance for clocks that are behind.
pub const SKEW: Duration = Duration::from_secs(3_600);
/// How long a certificate is valid unless told otherwise.
pub const VALIDITY: Duration = Duration::from_secs(24 * 3_600);
const PEM_CHECK: u64 = 10;

/// Why an identity cannot be made. Nothing is kept of it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The secret is empty.
    #[error("the cluster secret is empty")]
    NoSecret,
    /// The text cannot name a cluster.
    #[error("not a cluster name: 1 to 255 bytes without control characters are")]
    Cluster,
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file is not PEM, holds nothing of what it should hold, or is above 1 MiB.
    #[error("{}: not a usable PEM file", .0.display())]
    Pem(PathBuf),
    /// The certificate has not exactly one `foundation://cluster/name` among its subject alternative names.
    #[error("{}: no subject alternative name foundation://cluster/name, or several", .0.display())]
    NoNodeName(PathBuf),
    /// The certificate names another node.
    #[error("the certificate is for {certificate}, not for {configured}")]
    OtherName {
        /// Whom the certificate names.
        certificate: String,
        /// Who we are.
        configured: String,
    },
    /// An authority's certificate cannot be used.
    #[error("authority: {0}")]
    Authority(String),
    /// A key cannot be used.
    #[error("key: {0}")]
    Key(String),
    /// The clock shows a time that no certificate can hold.
    #[error("the clock is out of range")]
    Clock,
    /// Secrets are set for an identity that is made from files.
    #[error("the identity is made from files, not from a secret")]
    NoSecrets,
}

impl IdentityError {
    fn pem(path: &Path) -> Self {
        Self::Pem(path.to_owned())
    }

    fn authority(error: webpki::Error) -> Self {
        Self::Authority(error.to_string())
    }
}

impl From<rustls::Error> for IdentityError {
    fn from(error: rustls::Error) -> Self {
        Self::Key(error.to_string())
    }
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Key(error.to_string())
    }
}

/// Settings that an identity seldom needs.
#[derive(Clone, Debug)]
pub struct IdentityOptions {
    /// How long a derived certificate is valid, at least a minute.
    pub validity: Duration,
    /// The wall clock.
    pub clock: Arc<dyn TimeProvider>,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            validity: VALIDITY,
            clock: Arc::new(DefaultTimeProvider),
        }
    }
}

/// The authority that vouches for us, and those of other secrets that may vouch for our peers.
struct Authorities {
    own: Authority,
    accepted: Vec<Authority>,
}

impl Authorities {
    fn new(secret: &Secret, accepted: &[Secret]) -> Result<Self, IdentityError> {
        if secret.is_empty() || accepted.iter().any(Secret::is_empty) {
            return Err(IdentityError::NoSecret);
        }
        Ok(Self {
            own: Authority::new(secret)?,
            accepted: accepted.iter().map(Authority::new).collect::<Result<_, _>>()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&self.own).chain(&self.accepted)
    }
}

enum Source {
    Derived(Mutex<Authorities>),
    Pem {
        files: PemFiles,
        stamp: Mutex<pem::Stamp>,
    },
}

/// What this node shows to others at the moment, and whom it believes.
struct Current {
    key: Arc<CertifiedKey>,
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<CertificateDer<'static>>,
}

/// This node's identity. Shared by all its transports.
pub struct Identity {
    subject: Subject,
    source: Source,
    options: IdentityOptions,
    current: ArcSwap<Current>,
    /// Other clusters whose certificates a gateway accepts.
    pinned: ArcSwap<HashMap<String, Vec<TrustAnchor<'static>>>>,
    /// When to renew, or to look at the files again; seconds since the epoch.
    refresh_at: AtomicU64,
    renewals: AtomicU64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// An identity from the cluster's secret.
    pub fn from_secret(
        cluster: &str,
        name: PeerName,
        secret: &Secret,
        options: IdentityOptions,
    ) -> Result<Self, IdentityError> {
        let authorities = Authorities::new(secret, &[])?;
        Self::new(cluster, name, Source::Derived(Mutex::new(authorities)), options)
    }

    /// Proves itself by `secret` from now on, and believes nodes that prove themselves by it or by one of `accepted`.
    /// Links that are open stay open. After an error everything is as it was.
    pub fn set_secrets(&self, secret: &Secret, accepted: &[Secret]) -> Result<(), IdentityError> {
        let Source::Derived(authorities) = &self.source else {
            return Err(IdentityError::NoSecrets);
        };
        let new = Authorities::new(secret, accepted)?;
        let now = seconds(&self.options)?;
        // Held while both are exchanged, so that a renewal at the same time is of the one or of the other.
        let mut authorities = authorities.lock();
        let (current, refresh_at) = derive(&new, &self.subject, &self.options, now)?;
        *authorities = new;
        self.current.store(Arc::new(current));
        self.refresh_at.store(refresh_at, Ordering::Release);
        Ok(())
    }

    /// An identity from PEM files that the user's own authority issued. Reads them.
    pub fn from_pem(
        cluster: &str,
        name: PeerName,
        files: PemFiles,
        options: IdentityOptions,
    ) -> Result<Self, IdentityError> {
        let stamp = Mutex::new(files.stamp());
        Self::new(cluster, name, Source::Pem { files, stamp }, options)
    }

    fn new(
        cluster: &str,
        name: PeerName,
        source: Source,
        options: IdentityOptions,
    ) -> Result<Self, IdentityError> {
        if !valid_cluster(cluster) {
            return Err(IdentityError::Cluster);
        }
        let subject = Subject {
            cluster: cluster.to_owned(),
            name,
        };
        let now = seconds(&options)?;
        let (current, refresh_at) = make(&source, &subject, &options, now)?;
        Ok(Self {
            subject,
            source,
            options,
            current: ArcSwap::from_pointee(current),
            pinned: ArcSwap::default(),
            refresh_at: AtomicU64::new(refresh_at),
            renewals: AtomicU64::new(0),
        })
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.subject.cluster
    }

    /// The node's name.
    pub fn name(&self) -> &PeerName {
        &self.subject.name
    }

    /// How often the certificate was renewed or read again.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Relaxed)
    }

    /// The certificates of the authorities that this cluster trusts. Public: another cluster pins them to accept our
    /// nodes at its gateway.
    pub fn authorities(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().roots.clone()
    }

    /// Accepts nodes of another cluster, at gateways only, by that cluster's authorities. Replaces what was pinned
    /// for it before.
    pub fn pin(&self, cluster: &str, authorities: &[CertificateDer<'_>]) -> Result<(), IdentityError> {
        if !valid_cluster(cluster) || cluster == self.cluster() {
            return Err(IdentityError::Cluster);
        }
        let anchors = authorities
            .iter()
            .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(IdentityError::authority)?;
        self.pinned.rcu(|pinned| {
            let mut pinned = HashMap::clone(pinned);
            pinned.insert(cluster.to_owned(), anchors.clone());
            pinned
        });
        Ok(())
    }

    /// No longer accepts a cluster at gateways.
    pub fn unpin(&self, cluster: &str) {
        self.pinned.rcu(|pinned| {
            let mut pinned = HashMap::clone(pinned);
            pinned.remove(cluster);
            pinned
        });
    }

    /// The wall clock of this identity.
    pub(crate) fn clock(&self) -> Arc<dyn TimeProvider> {
        self.options.clock.clone()
    }

    /// The key and certificate to show, renewed if it is time.
    pub(crate) fn credentials(&self) -> Arc<CertifiedKey> {
        self.refresh();
        self.current.load().key.clone()
    }

    /// Calls `check` with the authorities that may vouch for nodes of our own cluster.
    pub(crate) fn with_own<T>(&self, check: impl FnOnce(&[TrustAnchor<'static>]) -> T) -> T {
        self.refresh();
        check(&self.current.load().anchors)
    }

    /// Calls `check` with the authorities pinned for another cluster, if there are any.
    pub(crate) fn with_pinned<T>(
        &self,
        cluster: &str,
        check: impl FnOnce(&[TrustAnchor<'static>]) -> T,
    ) -> Option<T> {
        self.pinned.load().get(cluster).map(|anchors| check(anchors))
    }

    /// Renews the certificate or reads changed files, if it is time. One thread does it, the others go on with what
    /// there is. Reads at most 3 MiB from disk, each ten seconds at most, and only with PEM files.
    fn refresh(&self) {
        let Ok(now) = seconds(&self.options) else { return };
        let due = self.refresh_at.load(Ordering::Acquire);
        if now < due {
            return;
        }
        let next = now + PEM_CHECK;
        if self
            .refresh_at
            .compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        if let Source::Pem { files, stamp } = &self.source {
            let found = files.stamp();
            if std::mem::replace(&mut *stamp.lock(), found) == found {
                return;
            }
        }
        let stored = |(current, refresh_at)| {
            self.current.store(Arc::new(current));
            self.refresh_at.store(refresh_at, Ordering::Release);
        };
        let renewed = match &self.source {
            Source::Derived(authorities) => {
                let authorities = authorities.lock();
                derive(&authorities, &self.subject, &self.options, now).map(stored)
            }
            Source::Pem { files, .. } => load(files, &self.subject, now).map(stored),
        };
        match renewed {
            Ok(()) => {
                self.renewals.fetch_add(1, Ordering::Relaxed);
                tracing::info!(subject = %self.subject.uri(), "certificate renewed");
            }
            Err(error) => {
                tracing::error!(subject = %self.subject.uri(), %error, "certificate not renewed, the old one stays");
            }
        }
    }
}

fn seconds(options: &IdentityOptions) -> Result<u64, IdentityError> {
    Ok(options
        .clock
        .current_time()
        .ok_or(IdentityError::Clock)?
        .as_secs())
}

/// Makes or reads what the node shows, and says when to look again.
fn make(
    source: &Source,
    subject: &Subject,
    options: &IdentityOptions,
    now: u64,
) -> Result<(Current, u64), IdentityError> {
    match source {
        Source::Derived(authorities) => derive(&authorities.lock(), subject, options, now),
        Source::Pem { files, .. } => load(files, subject, now),
    }
}

fn derive(
    authorities: &Authorities,
    subject: &Subject,
    options: &IdentityOptions,
    now: u64,
) -> Result<(Current, u64), IdentityError> {
    let validity = options.validity.as_secs().max(60);
    let valid = now.saturating_sub(SKEW.as_secs())..now + validity;
    let current = Current {
        key: Arc::new(authorities.own.issue(subject, valid)?),
        anchors: authorities
            .all()
            .map(Authority::anchor)
            .collect::<Result<_, _>>()?,
        roots: authorities
            .all()
            .map(|authority| authority.certificate().clone())
            .collect(),
    };
    Ok((current, now + validity / 2))
}

fn load(files: &PemFiles, subject: &Subject, now: u64) -> Result<(Current, u64), IdentityError> {
    let loaded = files.load(subject)?;
    let current = Current {
        key: Arc::new(loaded.key),
        anchors: loaded.anchors,
        roots: loaded.roots,
    };
    Ok((current, now + PEM_CHECK))
}
