//! Certificates that the user's own authority issued, read from PEM files and read again when these change.

use super::{IdentityError, Subject};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most bytes of one PEM file.
const MAX_FILE: u64 = 1 << 20;

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFiles {
    /// The node's certificate, then intermediates if there are any. The certificate names the node by a URI in its
    /// subject alternative names: `foundation://cluster/name`.
    pub chain: PathBuf,
    /// The private key (PKCS 8, SEC 1 or PKCS 1).
    pub key: PathBuf,
    /// The authorities whose certificates are accepted.
    pub roots: PathBuf,
}

/// What distinguishes one state of the files from another: changed times and lengths.
pub(super) type Stamp = [(Option<SystemTime>, u64); 3];

/// What the files hold.
pub(super) struct Loaded {
    pub(super) key: CertifiedKey,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl PemFiles {
    pub(super) fn stamp(&self) -> Stamp {
        [&self.chain, &self.key, &self.roots].map(|path| {
            fs::metadata(path).map_or((None, 0), |metadata| (metadata.modified().ok(), metadata.len()))
        })
    }

    /// Reads the files and checks that they belong together and name `subject`.
    pub(super) fn load(&self, subject: &Subject) -> Result<Loaded, IdentityError> {
        let chain = certificates(&self.chain)?;
        let roots = certificates(&self.roots)?;
        let key =
            PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|_| IdentityError::pem(&self.key))?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let named = subject_of(&chain[0]).ok_or_else(|| IdentityError::NoNodeName(self.chain.clone()))?;
        if named != *subject {
            return Err(IdentityError::OtherName {
                certificate: named.uri(),
                configured: subject.uri(),
            });
        }
        let key = CertifiedKey::new(chain, signer);
        key.keys_match()?;
        let anchors = roots
            .iter()
            .map(|root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .map_err(IdentityError::authority)?;
        Ok(Loaded { key, anchors, roots })
    }
}

/// Whom a certificate names, if it names exactly one node.
pub(crate) fn subject_of(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names().filter_map(Subject::parse);
    let first = names.next()?;
    names.next().is_none().then_some(first)
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let failed = |error| IdentityError::File {
        path: path.to_owned(),
        error,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(IdentityError::pem(path));
    }
    fs::read(path).map_err(failed)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::pem(path))?;
    if certificates.is_empty() {
        Err(IdentityError::pem(path))
    } else {
        Ok(certificates)
    }
}
