//! What only QUIC does: many links on one connection, one port for all, and a peer whose address changes.
#![allow(missing_docs)]

mod support;

use foundation_fabric::datagram::{Sealed, random_session};
use foundation_fabric::quic::QuicTransport;
use foundation_fabric::{Hello, Secret, Transport};
use rustls::time_provider::DefaultTimeProvider;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::watch;

async fn node(name: &str) -> Arc<QuicTransport> {
    Arc::new(QuicTransport::bind(identity(name), config()).await.unwrap())
}

fn accept(node: &Arc<QuicTransport>) -> tokio::task::JoinHandle<foundation_fabric::Stream> {
    let node = node.clone();
    tokio::spawn(async move { node.accept().await.unwrap() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_both_ways_share_one_connection() {
    let (a, b) = (node("a@host").await, node("b@host").await);
    let mut links = Vec::new();
    // All at once, so that the first finds no connection and the others find one being made.
    let opening: Vec<_> = (0..10)
        .map(|lane| {
            let (a, to) = (a.clone(), b.local_addr());
            tokio::spawn(async move {
                let hello = Hello { lane, ..hello(&*a) };
                a.connect(to, Some(&name("b@host")), &hello).await.unwrap()
            })
        })
        .collect();
    for opening in opening {
        links.push(b.accept().await.unwrap());
        links.push(opening.await.unwrap());
    }
    let accepting = accept(&a);
    links.push(
        b.connect(a.local_addr(), Some(&name("a@host")), &hello(&*b))
            .await
            .unwrap(),
    );
    links.push(accepting.await.unwrap());
    assert_eq!((a.connections(), b.connections()), (1, 1));
    let mut lanes: Vec<_> = links.iter().map(|link| link.hello.lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    assert_eq!(lanes, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_datagrams_share_the_port() {
    let (a, b) = (node("a@host").await, node("b@host").await);
    let sealed = |node: &QuicTransport| {
        let port = node.datagrams().unwrap();
        let clock = Arc::new(DefaultTimeProvider);
        Sealed::new(
            port,
            &Secret::new(SECRET),
            "shop",
            random_session().unwrap(),
            clock,
        )
    };
    let (one, two) = (sealed(&a), sealed(&b));
    assert!(a.datagrams().is_none());
    assert_eq!(one.local_addr().unwrap(), a.local_addr());
    let accepting = accept(&b);
    let mut opened = a.connect(b.local_addr(), None, &hello(&*a)).await.unwrap();
    let mut accepted = accepting.await.unwrap();
    let bulk = vec![5; 4 << 20];
    let sending = tokio::spawn(async move {
        opened.write.write_all(&bulk).await.unwrap();
        opened
    });
    let mut received = vec![0; 4 << 20];
    let reading = tokio::spawn(async move {
        accepted.read.read_exact(&mut received).await.unwrap();
        received.iter().all(|byte| *byte == 5)
    });
    for n in 0..50_u8 {
        one.send(&[n; 100], b.local_addr()).unwrap();
        let arrived = tokio::time::timeout(Duration::from_secs(5), two.receive())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(arrived.0, &[n; 100][..]);
        assert_eq!(arrived.1, a.local_addr());
    }
    sending.await.unwrap();
    assert!(reading.await.unwrap());
}

/// Forwards datagrams between one client and `to`, from a new port each time `rebind` changes.
async fn nat(to: SocketAddr, mut rebind: watch::Receiver<u32>) -> SocketAddr {
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let mut outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut client = None;
        let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                got = inside.recv_from(&mut there) => {
                    let (count, from) = got.unwrap();
                    client = Some(from);
                    let _ = outside.send_to(&there[..count], to).await;
                }
                got = outside.recv_from(&mut back) => {
                    let (count, _) = got.unwrap();
                    if let Some(client) = client {
                        let _ = inside.send_to(&back[..count], client).await;
                    }
                }
                changed = rebind.changed() => match changed {
                    Ok(()) => outside = UdpSocket::bind("127.0.0.1:0").await.unwrap(),
                    Err(_) => return,
                },
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_survives_a_change_of_address() {
    let (a, b) = (node("a@host").await, node("b@host").await);
    let (rebind, changes) = watch::channel(0);
    let address = nat(b.local_addr(), changes).await;
    let accepting = accept(&b);
    let mut opened = a
        .connect(address, Some(&name("b@host")), &hello(&*a))
        .await
        .unwrap();
    let mut accepted = accepting.await.unwrap();
    for round in 0..4 {
        rebind.send_replace(round);
        let (message, mut received) = (vec![round as u8; 20_000], vec![0; 20_000]);
        opened.write.write_all(&message).await.unwrap();
        let read =
            tokio::time::timeout(Duration::from_secs(10), accepted.read.read_exact(&mut received)).await;
        read.unwrap().unwrap();
        accepted.write.write_all(&received).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), opened.read.read_exact(&mut received)).await;
        read.unwrap().unwrap();
        assert_eq!(received, message);
    }
}
