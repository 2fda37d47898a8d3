//! Whom a transport lets in: the chain by webpki against the cluster's authorities, then the node's name.

use crate::identity::{Identity, Subject, subject_of};
use crate::transport::Reason;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    SignatureScheme,
};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// Which clusters' nodes are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Those of our own cluster.
    Own,
    /// Those of clusters whose authorities are pinned.
    Pinned,
    /// Both: what a gateway does.
    OwnAndPinned,
}

#[derive(Debug)]
pub(crate) struct Verifier {
    identity: Arc<Identity>,
    accepts: Accepts,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(crate) fn new(identity: Arc<Identity>, accepts: Accepts) -> Arc<Self> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        Arc::new(Self {
            identity,
            accepts,
            algorithms,
        })
    }

    /// The reason is what is counted here and what the peer's alert is made from.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Reason> {
        let certificate = EndEntityCert::try_from(leaf).map_err(|_| Reason::Malformed)?;
        let chain = |anchors: &[TrustAnchor<'static>]| {
            certificate
                .verify_for_usage(
                    self.algorithms.all,
                    anchors,
                    intermediates,
                    now,
                    usage,
                    None,
                    None,
                )
                .map(|_| ())
                .map_err(|error| reason(&error))
        };
        let subject = subject_of(leaf);
        let ours = subject
            .as_ref()
            .is_some_and(|subject| subject.cluster == self.identity.cluster());
        if self.accepts == Accepts::Own || (ours && self.accepts == Accepts::OwnAndPinned) {
            self.identity.with_own(chain)?;
            subject.ok_or(Reason::WrongName)?;
            return if ours { Ok(()) } else { Err(Reason::ForeignCluster) };
        }
        let Subject { cluster, .. } = subject.ok_or(Reason::WrongName)?;
        self.identity
            .with_pinned(&cluster, chain)
            .unwrap_or(Err(Reason::ForeignCluster))
    }
}

fn reason(error: &webpki::Error) -> Reason {
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => Reason::Expired,
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::TrailingData(_) => {
            Reason::Malformed
        }
        _ => Reason::Stranger,
    }
}

/// The error that makes rustls send an alert of its own for each reason.
fn refusal(reason: Reason) -> Error {
    Error::InvalidCertificate(match reason {
        Reason::Stranger => CertificateError::UnknownIssuer,
        Reason::Expired => CertificateError::Expired,
        Reason::ForeignCluster => CertificateError::ApplicationVerificationFailure,
        Reason::WrongName => CertificateError::Other(OtherError(Arc::new(reason))),
        _ => CertificateError::BadEncoding,
    })
}

/// What a failed handshake is counted as.
pub(crate) fn reason_of(error: &Error) -> Reason {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Reason::Expired,
            CertificateError::BadEncoding => Reason::Malformed,
            CertificateError::ApplicationVerificationFailure => Reason::ForeignCluster,
            CertificateError::Other(_) => Reason::WrongName,
            _ => Reason::Stranger,
        },
        Error::NoCertificatesPresented => Reason::Stranger,
        Error::AlertReceived(_) => Reason::Gone,
        Error::PeerSentOversizedRecord => Reason::Oversized,
        _ => Reason::Malformed,
    }
}

/// The same from the alert that we sent, which is all that QUIC tells.
pub(crate) fn reason_of_alert(alert: u8) -> Reason {
    match AlertDescription::from(alert) {
        AlertDescription::UnknownCA
        | AlertDescription::CertificateRequired
        | AlertDescription::DecryptError => Reason::Stranger,
        AlertDescription::CertificateExpired => Reason::Expired,
        AlertDescription::AccessDenied => Reason::ForeignCluster,
        AlertDescription::CertificateUnknown => Reason::WrongName,
        _ => Reason::Malformed,
    }
}

/// What both traits ask of signatures, which is the same.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::PeerIncompatible(
                rustls::PeerIncompatible::Tls12NotOffered,
            ))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf, intermediates, now, KeyUsage::server_auth())
            .map(|()| ServerCertVerified::assertion())
            .map_err(refusal)
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(leaf, intermediates, now, KeyUsage::client_auth())
            .map(|()| ClientCertVerified::assertion())
            .map_err(refusal)
    }

    signatures!();
}
