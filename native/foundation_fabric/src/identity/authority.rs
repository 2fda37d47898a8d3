//! The certificate authority that every node of a cluster can make from the cluster's secret.

use super::{IdentityError, Subject};
use crate::secret::{Secret, Use};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::ops::Range;
use time::OffsetDateTime;

/// An Ed25519 authority whose key is derived from the secret: the same on every node, stored nowhere.
pub(super) struct Authority {
    issuer: Issuer<'static, AuthorityKey>,
    certificate: CertificateDer<'static>,
}

struct AuthorityKey(Ed25519KeyPair);

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(..)")
    }
}

impl Authority {
    pub(super) fn new(secret: &Secret) -> Result<Self, IdentityError> {
        let seed = secret.derive(Use::Authority, b"");
        let key = Ed25519KeyPair::from_seed_unchecked(seed.bytes())
            .map_err(|error| IdentityError::Key(error.to_string()))?;
        let key = AuthorityKey(key);
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "foundation cluster authority");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Constant, so that every node exports the same certificate; a trust anchor's dates are not checked.
        params.not_before = OffsetDateTime::UNIX_EPOCH;
        params.not_after = rcgen::date_time_ymd(4096, 1, 1);
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// The authority's own certificate: public, the same on every node.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn anchor(&self) -> Result<TrustAnchor<'static>, IdentityError> {
        let anchor = webpki::anchor_from_trusted_cert(&self.certificate).map_err(IdentityError::authority)?;
        Ok(anchor.to_owned())
    }

    /// A new key with a certificate for `subject`, valid in `seconds` (since the epoch).
    pub(super) fn issue(
        &self,
        subject: &Subject,
        seconds: Range<u64>,
    ) -> Result<CertifiedKey, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "foundation node");
        params.subject_alt_names = vec![SanType::URI(subject.uri().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_before = date(seconds.start)?;
        params.not_after = date(seconds.end)?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_eddsa_type(match &der {
            PrivateKeyDer::Pkcs8(der) => der,
            _ => unreachable!("made as PKCS 8 above"),
        })?;
        Ok(CertifiedKey::new(vec![certificate], key))
    }
}

fn date(seconds: u64) -> Result<OffsetDateTime, IdentityError> {
    let seconds = i64::try_from(seconds).map_err(|_| IdentityError::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IdentityError::Clock)
}
