//! Peers that are not what they should be, on real sockets: refused, counted, and cheap.
#![allow(missing_docs)]

mod support;

use foundation_fabric::admission::AdmissionLimits;
use foundation_fabric::hello::MAX_HELLO;
use foundation_fabric::tls::TransportConfig;
use foundation_fabric::{Hello, Reason, Transport};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A node that trusts the authority of `company`, which tests can let issue anything.
async fn member(company: &Authority, config: TransportConfig) -> Arc<dyn Transport> {
    let dir = tempfile::tempdir().unwrap();
    let trusts = [company.certificate.clone()];
    tls_with(
        pem_node(company, dir.path(), "b@host", VALID, &trusts).await,
        config,
    )
    .await
}

async fn dial(to: SocketAddr, config: rustls::ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(to).await?;
    let name = ServerName::try_from("node.invalid").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// Opens TLS with a good certificate and sends `bytes` where the hello should be.
async fn say(company: &Authority, to: SocketAddr, bytes: &[u8]) -> TlsStream<TcpStream> {
    let certificate = company.issue(&["foundation://shop/a@host"], VALID);
    let mut link = dial(to, rogue(Some(certificate))).await.unwrap();
    link.write_all(bytes).await.unwrap();
    link.flush().await.unwrap();
    link
}

fn quick() -> TransportConfig {
    TransportConfig {
        handshake: Duration::from_millis(300),
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_name_no_node_of_ours_are_refused() {
    let company = Authority::new("company");
    let b = member(&company, config()).await;
    let cases: [(&[&str], Reason); 5] = [
        (&[], Reason::WrongName),
        (&["https://example.org/"], Reason::WrongName),
        (
            &["foundation://shop/a@host", "foundation://shop/c@host"],
            Reason::WrongName,
        ),
        (&["foundation://bank/a@host"], Reason::ForeignCluster),
        (&["foundation://shop/%00"], Reason::WrongName),
    ];
    for (uris, reason) in cases {
        let before = b.refused().of(reason);
        // The client's handshake ends before the server has looked at its certificate.
        let _link = dial(b.local_addr(), rogue(Some(company.issue(uris, VALID)))).await;
        refused(&b, reason, before + 1).await;
    }
    let _link = dial(b.local_addr(), rogue(None)).await;
    refused(&b, Reason::Stranger, 1).await;
    let copycat = Authority::new("company");
    let _link = dial(
        b.local_addr(),
        rogue(Some(copycat.issue(&["foundation://shop/a@host"], VALID))),
    )
    .await;
    refused(&b, Reason::Stranger, 2).await;
    assert_eq!(b.refused().total(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_refused() {
    let company = Authority::new("company");
    let b = member(&company, config()).await;
    let mut other = rogue(Some(company.issue(&["foundation://shop/a@host"], VALID)));
    other.alpn_protocols = vec![b"foundation/0".to_vec()];
    assert!(dial(b.local_addr(), other).await.is_err());
    refused(&b, Reason::Malformed, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hellos_that_are_none_are_refused() {
    let company = Authority::new("company");
    let b = member(&company, config()).await;
    let good = hello(&*b).encode().unwrap();
    let mut version = good.clone();
    version[2] = 99;
    let mut long = u16::try_from(MAX_HELLO + 1).unwrap().to_be_bytes().to_vec();
    long.resize(MAX_HELLO + 3, 1);
    let foreign = Hello {
        cluster: "bank".into(),
        ..hello(&*b)
    }
    .encode()
    .unwrap();
    let cases = [
        (b"\x00\x05GET /".to_vec(), Reason::Malformed),
        (vec![0, 0], Reason::Malformed),
        (version, Reason::Malformed),
        (long, Reason::Oversized),
        (foreign, Reason::ForeignCluster),
    ];
    for (bytes, reason) in cases {
        let before = b.refused().of(reason);
        let mut link = say(&company, b.local_addr(), &bytes).await;
        refused(&b, reason, before + 1).await;
        assert!(link.read_u8().await.is_err(), "an answer to {reason}");
    }
    let mut link = say(&company, b.local_addr(), &good).await;
    assert!(link.read_u16().await.is_ok());
    assert_eq!(b.accept().await.unwrap().hello, hello(&*b));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_peers_are_dropped_at_every_step() {
    let company = Authority::new("company");
    let b = member(&company, quick()).await;
    let start = Instant::now();
    let _silent = TcpStream::connect(b.local_addr()).await.unwrap();
    let mut dripping = TcpStream::connect(b.local_addr()).await.unwrap();
    dripping.write_all(&[22, 3, 1]).await.unwrap();
    let _no_hello = say(&company, b.local_addr(), b"").await;
    let _half_a_hello = say(&company, b.local_addr(), &[0, 30, 1, 0]).await;
    refused(&b, Reason::TooSlow, 4).await;
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_and_vanishing_peers_are_counted() {
    let b = tls(identity("b@host")).await;
    let mut noise = TcpStream::connect(b.local_addr()).await.unwrap();
    noise.write_all(&[b'x'; 4_096]).await.unwrap();
    refused(&b, Reason::Malformed, 1).await;
    // What looks like TLS up to its first message.
    let mut almost = vec![22, 3, 1, 0x10, 0, 1];
    almost.resize(0x1005, 7);
    let mut noise = TcpStream::connect(b.local_addr()).await.unwrap();
    noise.write_all(&almost).await.unwrap();
    refused(&b, Reason::Malformed, 2).await;
    drop(TcpStream::connect(b.local_addr()).await.unwrap());
    refused(&b, Reason::Gone, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_ends_is_oversized() {
    let b = tls(identity("b@host")).await;
    let mut endless = TcpStream::connect(b.local_addr()).await.unwrap();
    // A client hello that announces 16 MB, and records that go on with it.
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 3);
    for _ in 0..8 {
        if endless.write_all(&record).await.is_err() {
            break;
        }
        record[5..9].fill(3);
    }
    eventually("a refusal", || b.refused().total() == 1).await;
    let refused = b.refused();
    assert_eq!(
        refused.of(Reason::Malformed) + refused.of(Reason::Oversized),
        1,
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_handshake_is_a_replay() {
    let (a, b) = (tls(identity("a@host")).await, tls(identity("b@host")).await);
    let recording = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let record = recording.clone();
    let address = proxy(b.local_addr(), move |client, server| {
        let record = record.clone();
        async move {
            let (mut from, mut to) = (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut to.0, &mut from.1).await });
            let mut bytes = vec![0; 65_536];
            while let Ok(count @ 1..) = from.0.read(&mut bytes).await {
                record.lock().extend_from_slice(&bytes[..count]);
                to.1.write_all(&bytes[..count]).await.unwrap();
            }
        }
    })
    .await;
    let _link = a.connect(address, None, &hello(&*a)).await.unwrap();
    let _accepted = b.accept().await.unwrap();
    let mut recorded = recording.lock().clone();
    for count in 1..=3 {
        let mut replay = TcpStream::connect(b.local_addr()).await.unwrap();
        let _ = replay.write_all(&recorded).await;
        refused(&b, Reason::Replay, count).await;
        let mut answer = Vec::new();
        let _ = replay.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    // With another random value it is a new attempt, which fails by its cryptography.
    recorded[20] ^= 1;
    let mut replay = TcpStream::connect(b.local_addr()).await.unwrap();
    let _ = replay.write_all(&recorded).await;
    refused(&b, Reason::Malformed, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_are_bounded_for_a_source() {
    let limits = AdmissionLimits {
        half_open: 64,
        half_open_per_source: 8,
        ..AdmissionLimits::default()
    };
    let b = tls_with(
        identity("b@host"),
        TransportConfig {
            admission: limits,
            ..config()
        },
    )
    .await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        // Those above the bound may be reset before their connection is reported.
        silent.push(from("127.0.0.2", b.local_addr()).await);
    }
    refused(&b, Reason::TooMany, 42).await;
    // Others are not in the way of that.
    let a = tls(identity("a@host")).await;
    let _links = pair(&a, &b).await;
    drop(silent);
    refused(&b, Reason::Gone, 8).await;
}

async fn from(source: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0))?;
    socket.connect(to).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_strangers_costs_little_and_stops_nobody() {
    let b = tls(identity("b@host")).await;
    let strangers = Authority::new("strangers");
    let (certificate, key) = strangers.issue(&["foundation://shop/a@host"], VALID);
    let flood = {
        let to = b.local_addr();
        move |source: u8| {
            let pair = (
                certificate.clone(),
                rcgen::KeyPair::from_pem(&key.serialize_pem()).unwrap(),
            );
            async move {
                let config = Arc::new(rogue(Some(pair)));
                for _ in 0..400 {
                    // A reset may come before the connection is reported.
                    let Ok(socket) = from(&format!("127.0.1.{source}"), to).await else {
                        continue;
                    };
                    let name = ServerName::try_from("node.invalid").unwrap();
                    if let Ok(mut link) = TlsConnector::from(config.clone()).connect(name, socket).await {
                        let _ = link.read_u8().await;
                    }
                }
            }
        }
    };
    let began = Instant::now();
    let floods: Vec<_> = (1..=4).map(|source| tokio::spawn(flood(source))).collect();
    let a = tls(identity("a@host")).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        let start = Instant::now();
        let _links = pair(&a, &b).await;
        slowest = slowest.max(start.elapsed());
    }
    for flood in floods {
        flood.await.unwrap();
    }
    let refused = b.refused();
    assert!(refused.total() >= 1_500, "{refused:?}");
    // Only the allowance of each source was spent on cryptography: 64, and 20 each second.
    let allowed = 4 * (64 + 20 * (began.elapsed().as_secs() + 1));
    assert!(
        refused.of(Reason::Stranger) <= allowed,
        "{refused:?}, {allowed} allowed"
    );
    assert!(
        refused.of(Reason::TooMany) + allowed >= 1_500,
        "{refused:?}, {allowed} allowed"
    );
    assert!(slowest < Duration::from_secs(2), "a good link took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_noise_costs_nothing_and_strangers_are_counted() {
    let b = quic(identity("b@host")).await;
    let noise = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for size in 1..1_300 {
        noise.send_to(&vec![0xc3; size], b.local_addr()).await.unwrap();
    }
    let a = quic(identity("a@host")).await;
    let _links = pair(&a, &b).await;
    assert_eq!(b.refused().total(), 0);
}

/// A standard TLS client and our records: they are the same protocol, also when keys change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_client_is_understood_over_changes_of_keys() {
    let company = Authority::new("company");
    let b = member(&company, config()).await;
    let mut link = say(&company, b.local_addr(), &hello(&*b).encode().unwrap()).await;
    let length = link.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    link.read_exact(&mut answer).await.unwrap();
    assert_eq!(Hello::decode(&answer).unwrap().listen, b.local_addr());
    let mut accepted = b.accept().await.unwrap();
    for round in 0..5_u8 {
        // Asks us to change our keys too.
        link.get_mut().1.refresh_traffic_keys().unwrap();
        let message = vec![round; 50_000];
        let mut received = vec![0; message.len()];
        let (sent, read) = tokio::join!(
            async {
                link.write_all(&message).await?;
                link.flush().await
            },
            accepted.read.read_exact(&mut received)
        );
        sent.unwrap();
        read.unwrap();
        assert_eq!(received, message);
        accepted.write.write_all(&received).await.unwrap();
        link.read_exact(&mut received).await.unwrap();
        assert_eq!(received, message);
    }
    link.shutdown().await.unwrap();
    assert_eq!(accepted.read.read(&mut [0; 1]).await.unwrap(), 0);
    accepted.write.shutdown().await.unwrap();
    assert_eq!(link.read(&mut [0; 1]).await.unwrap(), 0);
}
