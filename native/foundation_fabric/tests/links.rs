//! Links between nodes on real sockets, the same for every transport.
#![allow(missing_docs)]

mod support;

use foundation_fabric::identity::IdentityOptions;
use foundation_fabric::{Carrier, Identity, Reason, Secret, Transport, TransportError};
use foundation_overlay::NodeId;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

macro_rules! for_each_transport {
    ($($test:ident),* $(,)?) => {
        mod tls {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(|identity| Box::pin(super::support::tls(identity))).await; })*
        }
        mod quic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(|identity| Box::pin(super::support::quic(identity))).await; })*
        }
    };
}

type Bind = fn(Arc<Identity>) -> std::pin::Pin<Box<dyn Future<Output = Arc<dyn Transport>> + Send>>;

for_each_transport!(
    a_link_proves_who_is_at_both_ends,
    bytes_arrive_in_order_both_ways_at_once,
    vectored_writes_arrive_as_one,
    the_end_is_told,
    the_other_secret_is_a_stranger,
    a_stranger_with_our_trust_is_refused,
    an_expired_certificate_is_refused,
    another_cluster_is_foreign,
    another_name_than_expected_is_refused,
    a_hello_of_another_cluster_is_refused,
    a_closed_transport_opens_and_accepts_nothing_but_keeps_its_links,
    certificates_are_renewed_without_a_break,
    the_users_own_authority_works,
    a_carried_link_proves_both_ends,
    a_stranger_that_is_carried_here_is_refused,
    who_carries_a_link_cannot_change_it,
    a_chosen_port_serves_datagrams_too_and_is_given_once,
);

async fn a_link_proves_who_is_at_both_ends(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let (opened, accepted) = pair(&a, &b).await;
    assert_eq!(opened.peer, NodeId::new("b@host", 1).unwrap());
    assert_eq!(opened.hello.listen, b.local_addr());
    assert_eq!(opened.hello.channel, "data");
    assert_eq!(accepted.peer, NodeId::new("a@host", 7).unwrap());
    assert_eq!(accepted.hello, hello(&*a));
    assert_eq!(a.refused().total() + b.refused().total(), 0);
}

async fn bytes_arrive_in_order_both_ways_at_once(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let (opened, accepted) = pair(&a, &b).await;
    const TOTAL: usize = 12 << 20;
    let sum = |seed: u64, at: usize| (at as u64).wrapping_mul(seed).to_le_bytes()[3];
    let send = |seed: u64, mut write: Box<dyn tokio::io::AsyncWrite + Send + Unpin>| async move {
        let (mut sent, mut size) = (0, 1);
        while sent < TOTAL {
            let piece: Vec<u8> = (sent..TOTAL.min(sent + size)).map(|at| sum(seed, at)).collect();
            write.write_all(&piece).await.unwrap();
            sent += piece.len();
            size = size * 7 % 300_007 + 1;
        }
        write.shutdown().await.unwrap();
    };
    let receive = |seed: u64, mut read: Box<dyn tokio::io::AsyncRead + Send + Unpin>| async move {
        let (mut seen, mut buffer) = (0, vec![0; 70_000]);
        loop {
            let most = 1 + seen * 31 % buffer.len();
            let count = read.read(&mut buffer[..most]).await.unwrap();
            if count == 0 {
                return seen;
            }
            assert!(
                buffer[..count]
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == sum(seed, seen + at))
            );
            seen += count;
        }
    };
    let (_, _, one, other) = tokio::join!(
        tokio::spawn(send(77_777, opened.write)),
        tokio::spawn(send(55_555, accepted.write)),
        tokio::spawn(receive(55_555, opened.read)),
        tokio::spawn(receive(77_777, accepted.read)),
    );
    assert_eq!((one.unwrap(), other.unwrap()), (TOTAL, TOTAL));
}

async fn vectored_writes_arrive_as_one(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let (mut opened, mut accepted) = pair(&a, &b).await;
    let parts: Vec<Vec<u8>> = [3, 0, 20_000, 1, 0, 40_000]
        .iter()
        .map(|size| vec![*size as u8; *size])
        .collect();
    let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let total: usize = parts.iter().map(Vec::len).sum();
    let writing = async {
        let (mut left, mut rest) = (total, &mut slices[..]);
        while left > 0 {
            let count = opened.write.write_vectored(rest).await.unwrap();
            left -= count;
            IoSlice::advance_slices(&mut rest, count);
        }
        opened.write.flush().await.unwrap();
    };
    let mut received = vec![0; total];
    let (_, read) = tokio::join!(writing, accepted.read.read_exact(&mut received));
    read.unwrap();
    assert_eq!(received, parts.concat());
}

async fn the_end_is_told(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let (mut opened, mut accepted) = pair(&a, &b).await;
    opened.write.write_all(b"last words").await.unwrap();
    opened.write.shutdown().await.unwrap();
    let mut words = Vec::new();
    accepted.read.read_to_end(&mut words).await.unwrap();
    assert_eq!(words, b"last words");
    // The other direction still works.
    accepted.write.write_all(b"reply").await.unwrap();
    accepted.write.shutdown().await.unwrap();
    words.clear();
    opened.read.read_to_end(&mut words).await.unwrap();
    assert_eq!(words, b"reply");
}

async fn the_other_secret_is_a_stranger(bind: Bind) {
    let (a, b) = (
        bind(identity_in("shop", "a guess", "a@host")).await,
        bind(identity("b@host")).await,
    );
    let result = a.connect(b.local_addr(), None, &hello(&*a)).await;
    assert!(
        matches!(result, Err(TransportError::Refused(Reason::Stranger))),
        "{result:?}"
    );
    refused(&a, Reason::Stranger, 1).await;
    refused(&b, Reason::Gone, 1).await;
}

/// A node that trusts the cluster's authority, whose own certificate comes from another.
async fn intruder(
    bind: Bind,
    valid: std::ops::Range<i64>,
    authority: &Authority,
    b: &Arc<Identity>,
) -> Arc<dyn Transport> {
    let dir = tempfile::tempdir().unwrap();
    bind(pem_node(authority, dir.path(), "a@host", valid, &b.authorities()).await).await
}

async fn a_stranger_with_our_trust_is_refused(bind: Bind) {
    let member = identity("b@host");
    let a = intruder(
        bind,
        VALID,
        &Authority::new("foundation cluster authority"),
        &member,
    )
    .await;
    let b = bind(member).await;
    let result = a.connect(b.local_addr(), None, &hello(&*a)).await;
    assert!(is_refused_by_peer(&result), "{result:?}");
    refused(&b, Reason::Stranger, 1).await;
}

async fn an_expired_certificate_is_refused(bind: Bind) {
    let authority = Authority::new("company");
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trusts = [authority.certificate.clone()];
    let expired = bind(pem_node(&authority, dir.path(), "a@host", -7_200..-3_600, &trusts).await).await;
    let member = bind(pem_node(&authority, other.path(), "b@host", VALID, &trusts).await).await;
    let result = expired
        .connect(member.local_addr(), None, &hello(&*expired))
        .await;
    assert!(is_refused_by_peer(&result), "{result:?}");
    refused(&member, Reason::Expired, 1).await;
    let result = member.connect(expired.local_addr(), None, &hello(&*member)).await;
    assert!(
        matches!(result, Err(TransportError::Refused(Reason::Expired))),
        "{result:?}"
    );
    refused(&member, Reason::Expired, 2).await;
}

async fn another_cluster_is_foreign(bind: Bind) {
    let (a, b) = (
        bind(identity_in("bank", SECRET, "a@host")).await,
        bind(identity("b@host")).await,
    );
    let result = a.connect(b.local_addr(), None, &hello_in("bank", &*a)).await;
    assert!(
        matches!(result, Err(TransportError::Refused(Reason::ForeignCluster))),
        "{result:?}"
    );
    refused(&a, Reason::ForeignCluster, 1).await;
    refused(&b, Reason::Gone, 1).await;
}

async fn another_name_than_expected_is_refused(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let result = a
        .connect(b.local_addr(), Some(&name("c@host")), &hello(&*a))
        .await;
    assert!(
        matches!(result, Err(TransportError::Refused(Reason::WrongName))),
        "{result:?}"
    );
    refused(&a, Reason::WrongName, 1).await;
    assert!(
        a.connect(b.local_addr(), Some(&name("b@host")), &hello(&*a))
            .await
            .is_ok()
    );
}

async fn a_hello_of_another_cluster_is_refused(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let result = a.connect(b.local_addr(), None, &hello_in("bank", &*a)).await;
    assert!(
        matches!(result, Err(TransportError::Refused(Reason::ForeignCluster))),
        "{result:?}"
    );
}

async fn a_closed_transport_opens_and_accepts_nothing_but_keeps_its_links(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let (mut opened, mut accepted) = pair(&a, &b).await;
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.is_none() }
    });
    b.close();
    assert!(waiting.await.unwrap());
    assert!(b.accept().await.is_none());
    assert!(matches!(
        b.connect(a.local_addr(), None, &hello(&*b)).await,
        Err(TransportError::Closed)
    ));
    opened.write.write_all(b"still here").await.unwrap();
    let mut words = [0; 10];
    accepted.read.read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"still here");
}

async fn certificates_are_renewed_without_a_break(bind: Bind) {
    let clock = Clock::new();
    let node = |node: &str| {
        let options = IdentityOptions {
            clock: clock.clone(),
            ..IdentityOptions::default()
        };
        Arc::new(Identity::from_secret("shop", name(node), &Secret::new(SECRET), options).unwrap())
    };
    let (one, other) = (node("a@host"), node("b@host"));
    let (a, b) = (bind(one.clone()).await, bind(other.clone()).await);
    let (mut opened, mut accepted) = pair(&a, &b).await;
    clock.advance(Duration::from_secs(48 * 3_600));
    opened.write.write_all(b"old link").await.unwrap();
    let mut words = [0; 8];
    accepted.read.read_exact(&mut words).await.unwrap();
    // Days later the first certificates are long expired; a new connection shows new ones.
    let late = bind(node("c@host")).await;
    let (_opened, fresh) = pair(&late, &b).await;
    assert_eq!(fresh.peer.name, name("c@host"));
    assert_eq!(other.renewals(), 1);
    assert_eq!(b.refused().total(), 0);
}

async fn the_users_own_authority_works(bind: Bind) {
    let authority = Authority::new("company");
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trusts = [authority.certificate.clone()];
    let a = bind(pem_node(&authority, dir.path(), "a@host", VALID, &trusts).await).await;
    let b = bind(pem_node(&authority, other.path(), "b@host", VALID, &trusts).await).await;
    let (opened, accepted) = pair(&a, &b).await;
    assert_eq!(
        (opened.peer.name, accepted.peer.name),
        (name("b@host"), name("a@host"))
    );
}

/// Bytes both ways, as a circuit carries them.
fn carriers() -> (Carrier, Carrier) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let carrier = |stream| {
        let (read, write) = tokio::io::split(stream);
        Carrier {
            read: Box::new(read),
            write: Box::new(write),
        }
    };
    (carrier(near), carrier(far))
}

async fn a_carried_link_proves_both_ends(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let (near, far) = carriers();
    let (expect, hello) = (name("b@host"), hello(&*a));
    let (opened, accepted) = tokio::join!(a.connect_over(near, &expect, &hello), b.accept_over(far));
    let (mut opened, mut accepted) = (opened.unwrap(), accepted.unwrap());
    assert_eq!(opened.peer, NodeId::new("b@host", 1).unwrap());
    assert_eq!(accepted.peer, NodeId::new("a@host", 7).unwrap());
    assert_eq!(accepted.hello, hello);
    assert!(accepted.remote.ip().is_unspecified());
    opened.write.write_all(b"over others").await.unwrap();
    opened.write.shutdown().await.unwrap();
    let mut words = Vec::new();
    accepted.read.read_to_end(&mut words).await.unwrap();
    assert_eq!(words, b"over others");
}

async fn a_stranger_that_is_carried_here_is_refused(bind: Bind) {
    let stranger = bind(identity_in("shop", "a guess", "a@host")).await;
    let member = bind(identity("b@host")).await;
    let (expect, hello) = (name("b@host"), hello(&*stranger));
    let (near, far) = carriers();
    let (opened, accepted) = tokio::join!(
        stranger.connect_over(near, &expect, &hello),
        member.accept_over(far)
    );
    assert!(opened.is_err() && accepted.is_err());
    assert_eq!(member.refused().total(), 1);
    // And a member that is not the one who is meant.
    let third = bind(identity("c@host")).await;
    let ((near, far), expect) = (carriers(), name("d@host"));
    let (opened, _) = tokio::join!(third.connect_over(near, &expect, &hello), member.accept_over(far));
    assert!(
        matches!(opened, Err(TransportError::Refused(Reason::WrongName))),
        "{opened:?}"
    );
}

async fn who_carries_a_link_cannot_change_it(bind: Bind) {
    let (a, b) = (bind(identity("a@host")).await, bind(identity("b@host")).await);
    let ((near, mut there), (mut here, far)) = (carriers(), carriers());
    // One on the way that changes a bit once it sees what is not a handshake any more.
    let carrying = tokio::spawn(async move {
        let back = tokio::spawn(async move { tokio::io::copy(&mut here.read, &mut there.write).await });
        let mut seen = 0;
        let mut bytes = vec![0; 4096];
        while let Ok(count @ 1..) = there.read.read(&mut bytes).await {
            seen += count;
            if seen > 20_000 {
                bytes[count / 2] ^= 1;
            }
            if here.write.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        back.abort();
    });
    let (expect, hello) = (name("b@host"), hello(&*a));
    let (opened, accepted) = tokio::join!(a.connect_over(near, &expect, &hello), b.accept_over(far));
    let (mut opened, mut accepted) = (opened.unwrap(), accepted.unwrap());
    let writing = tokio::spawn(async move { while opened.write.write_all(&[5; 1000]).await.is_ok() {} });
    let mut words = Vec::new();
    let end = accepted.read.read_to_end(&mut words).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(words.iter().all(|byte| *byte == 5));
    drop(accepted);
    writing.abort();
    carrying.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_is_no_orderly_end() {
    let (a, b) = (tls(identity("a@host")).await, tls(identity("b@host")).await);
    let (cut, cutting) = tokio::sync::watch::channel(false);
    let address = proxy(b.local_addr(), move |mut client, mut server| {
        let mut cutting = cutting.clone();
        async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = cutting.wait_for(|cut| *cut) => {}
            }
        }
    })
    .await;
    let accepting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.unwrap() }
    });
    let mut opened = a.connect(address, None, &hello(&*a)).await.unwrap();
    let mut accepted = accepting.await.unwrap();
    opened.write.write_all(b"half a mess").await.unwrap();
    let mut words = [0; 11];
    accepted.read.read_exact(&mut words).await.unwrap();
    cut.send_replace(true);
    assert_eq!(
        accepted.read.read(&mut words).await.unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_changed_on_the_way_ends_the_link() {
    let (a, b) = (tls(identity("a@host")).await, tls(identity("b@host")).await);
    let (tamper, tampering) = tokio::sync::watch::channel(false);
    let address = proxy(b.local_addr(), move |client, server| {
        let tampering = tampering.clone();
        async move {
            let (mut from, mut to) = (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut to.0, &mut from.1).await });
            let mut bytes = vec![0; 65_536];
            while let Ok(count @ 1..) = from.0.read(&mut bytes).await {
                if *tampering.borrow() {
                    bytes[count / 2] ^= 4;
                }
                to.1.write_all(&bytes[..count]).await.unwrap();
            }
        }
    })
    .await;
    let accepting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.unwrap() }
    });
    let mut opened = a.connect(address, None, &hello(&*a)).await.unwrap();
    let mut accepted = accepting.await.unwrap();
    let mut words = [0; 4];
    opened.write.write_all(b"good").await.unwrap();
    accepted.read.read_exact(&mut words).await.unwrap();
    tamper.send_replace(true);
    opened.write.write_all(b"evil").await.unwrap();
    assert_eq!(
        accepted.read.read_exact(&mut words).await.unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

/// Writes on one end, reads on the other, both ways; whether that worked.
async fn passes(one: &mut foundation_fabric::Stream, other: &mut foundation_fabric::Stream) -> bool {
    let mut byte = [0];
    let there = one.write.write_all(b"1").await.is_ok()
        && one.write.flush().await.is_ok()
        && other.read.read_exact(&mut byte).await.is_ok();
    there
        && other.write.write_all(b"2").await.is_ok()
        && other.write.flush().await.is_ok()
        && one.read.read_exact(&mut byte).await.is_ok()
}

#[tokio::test]
async fn the_runtime_that_watches_an_accepted_link_is_that_of_its_priority() {
    let bulk = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let a = tls(identity("a@host")).await;
    let config = foundation_fabric::tls::TransportConfig {
        bulk: Some(bulk.handle().clone()),
        ..config()
    };
    let b = tls_with(identity("b@host"), config).await;
    let mut links = Vec::new();
    for priority in [9, 128, 129, 255] {
        let hello = foundation_fabric::Hello {
            priority,
            ..hello(&*a)
        };
        let (opened, accepted) = tokio::join!(a.connect(b.local_addr(), None, &hello), b.accept());
        links.push((priority, opened.unwrap(), accepted.unwrap()));
    }
    for (priority, opened, accepted) in &mut links {
        assert!(passes(opened, accepted).await, "priority {priority}");
    }
    bulk.shutdown_background();
    for (priority, opened, accepted) in &mut links {
        let alive = tokio::time::timeout(Duration::from_secs(5), passes(opened, accepted)).await;
        assert_eq!(alive.unwrap_or(false), *priority > 128, "priority {priority}");
    }
}

async fn a_chosen_port_serves_datagrams_too_and_is_given_once(bind: Bind) {
    let transport = bind(identity("a@host")).await;
    let taken = std::net::UdpSocket::bind(transport.local_addr()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    let port = transport.datagrams().unwrap();
    assert!(format!("{port:?}").contains(&transport.local_addr().to_string()));
    assert!(transport.datagrams().is_none());
}
