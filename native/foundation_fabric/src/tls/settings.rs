//! The TLS settings of all links: version 1.3 only, both sides show certificates, nothing is resumed.
//!
//! No session is resumed and no data is sent early: each link proves both identities anew, with certificates that
//! are valid now, and nothing that was said once can be said again.

use super::verify::{Accepts, Verifier};
use crate::identity::{Identity, IdentityError};
use crate::transport::ALPN;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme, version};
use std::sync::Arc;

/// AES-128-GCM first: fastest where the processor has AES; ChaCha20 for those that have not.
fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider {
        cipher_suites,
        ..default_provider()
    })
}

/// Shows the identity's certificate of the moment, so that a renewed one needs no new settings.
#[derive(Debug)]
struct Shown(Arc<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.credentials())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.credentials())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(crate) fn client(identity: &Arc<Identity>, accepts: Accepts) -> Result<ClientConfig, IdentityError> {
    let mut config = ClientConfig::builder_with_details(provider(), identity.clock())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Verifier::new(identity.clone(), accepts))
        .with_client_cert_resolver(Arc::new(Shown(identity.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config.enable_secret_extraction = true;
    Ok(config)
}

pub(crate) fn server(identity: &Arc<Identity>, accepts: Accepts) -> Result<ServerConfig, IdentityError> {
    let mut config = ServerConfig::builder_with_details(provider(), identity.clock())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Verifier::new(identity.clone(), accepts))
        .with_cert_resolver(Arc::new(Shown(identity.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.enable_secret_extraction = true;
    Ok(config)
}
