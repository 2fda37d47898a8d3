//! Nodes, authorities of other people, and peers that do not keep to the protocol.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod nodes;

use foundation_fabric::identity::{IdentityOptions, PemFiles};
use foundation_fabric::quic::QuicTransport;
use foundation_fabric::tls::{TlsTransport, TransportConfig};
use foundation_fabric::{Hello, Identity, Reason, Secret, Stream, Transport, TransportError};
use foundation_overlay::PeerName;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

pub const SECRET: &str = "correct horse battery staple";

pub fn name(name: &str) -> PeerName {
    PeerName::new(name).unwrap()
}

pub fn identity_in(cluster: &str, secret: &str, node: &str) -> Arc<Identity> {
    let options = IdentityOptions::default();
    Arc::new(Identity::from_secret(cluster, name(node), &Secret::new(secret), options).unwrap())
}

pub fn identity(node: &str) -> Arc<Identity> {
    identity_in("shop", SECRET, node)
}

pub fn config() -> TransportConfig {
    TransportConfig::new("127.0.0.1:0".parse().unwrap(), 1)
}

pub async fn tls(identity: Arc<Identity>) -> Arc<dyn Transport> {
    tls_with(identity, config()).await
}

pub async fn tls_with(identity: Arc<Identity>, config: TransportConfig) -> Arc<dyn Transport> {
    Arc::new(TlsTransport::bind(identity, config).await.unwrap())
}

pub async fn quic(identity: Arc<Identity>) -> Arc<dyn Transport> {
    quic_with(identity, config()).await
}

pub async fn quic_with(identity: Arc<Identity>, config: TransportConfig) -> Arc<dyn Transport> {
    Arc::new(QuicTransport::bind(identity, config).await.unwrap())
}

pub fn hello_in(cluster: &str, transport: &dyn Transport) -> Hello {
    Hello {
        cluster: cluster.into(),
        boot: 7,
        channel: "data".into(),
        lane: 3,
        priority: 9,
        listen: transport.local_addr(),
        features: 5,
    }
}

pub fn hello(transport: &dyn Transport) -> Hello {
    hello_in("shop", transport)
}

/// A link from `a` to `b`: what each has of it.
pub async fn pair(a: &Arc<dyn Transport>, b: &Arc<dyn Transport>) -> (Stream, Stream) {
    let accepting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.unwrap() }
    });
    let opened = a.connect(b.local_addr(), None, &hello(&**a)).await.unwrap();
    (opened, accepting.await.unwrap())
}

/// Waits until `check` holds; fails after 10 s.
pub async fn eventually(what: &str, check: impl Fn() -> bool) {
    let waiting = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until `transport` counted `count` refusals for `reason`.
pub async fn refused(transport: &Arc<dyn Transport>, reason: Reason, count: u64) {
    eventually(
        &format!("{count} × {reason}, but {:?}", transport.refused()),
        || transport.refused().of(reason) >= count,
    )
    .await;
    assert_eq!(transport.refused().of(reason), count, "{:?}", transport.refused());
}

pub fn now() -> u64 {
    UnixTime::now().as_secs()
}

/// A clock that tests set.
#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now())))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.load(Ordering::SeqCst),
        )))
    }
}

/// An authority of one's own.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    pub fn new(common_name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            params,
            key,
            certificate,
        }
    }

    /// A certificate with these URIs, valid in seconds relative to now.
    pub fn issue(&self, uris: &[&str], valid: Range<i64>) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        let date = |seconds: i64| OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        (params.not_before, params.not_after) = (date(valid.start), date(valid.end));
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().der().clone(), key)
    }
}

pub const VALID: Range<i64> = -60..3_600;

/// Writes PEM files: a certificate, its key, and whom to trust.
pub fn write_pem(
    dir: &std::path::Path,
    (certificate, key): &(CertificateDer<'static>, KeyPair),
    roots: &[CertificateDer<'_>],
) -> PemFiles {
    let pem = |der: &[u8]| pem_text("CERTIFICATE", der);
    let files = PemFiles {
        chain: dir.join("chain.pem"),
        key: dir.join("key.pem"),
        roots: dir.join("roots.pem"),
    };
    std::fs::write(&files.chain, pem(certificate)).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(
        &files.roots,
        roots.iter().map(|root| pem(root)).collect::<String>(),
    )
    .unwrap();
    files
}

fn pem_text(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= chunk.len() {
                DIGITS[six].into()
            } else {
                '='
            });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Believes every server: what an attacker's client does.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Settings of a client that believes everyone and shows `certificate`, or none.
pub fn rogue(certificate: Option<(CertificateDer<'static>, KeyPair)>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![foundation_fabric::transport::ALPN.to_vec()];
    config
}

/// A node whose certificate comes from `authority`, and that trusts it.
pub async fn pem_node(
    authority: &Authority,
    dir: &std::path::Path,
    node: &str,
    valid: Range<i64>,
    trusts: &[CertificateDer<'_>],
) -> Arc<Identity> {
    let uri = format!("foundation://shop/{node}");
    let files = write_pem(dir, &authority.issue(&[&uri], valid), trusts);
    Arc::new(Identity::from_pem("shop", name(node), files, IdentityOptions::default()).unwrap())
}

pub fn is_refused_by_peer<T: std::fmt::Debug>(result: &Result<T, TransportError>) -> bool {
    matches!(result, Err(TransportError::RefusedByPeer(_)))
}

/// Copies one TCP connection at a time to `to`, through `change`, which sees what each direction carries.
pub async fn proxy<F, Fut>(to: SocketAddr, handle: F) -> SocketAddr
where
    F: Fn(tokio::net::TcpStream, tokio::net::TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(to).await.unwrap();
            tokio::spawn(handle(client, server));
        }
    });
    address
}
