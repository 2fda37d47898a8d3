use super::handshake::{Established, run};
use super::stream::{Reader, Writer, halves};
use super::{Accepts, settings};
use crate::Secret;
use crate::identity::{Identity, IdentityOptions};
use foundation_overlay::PeerName;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

type Halves = (Reader<OwnedReadHalf>, Writer<OwnedWriteHalf>);

/// Both ends of a link, before any hello.
async fn link() -> (Halves, Halves) {
    let name = PeerName::new("a@host").unwrap();
    let identity = Identity::from_secret("shop", name, &Secret::new("secret"), IdentityOptions::default());
    let identity = Arc::new(identity.unwrap());
    let client = Arc::new(settings::client(&identity, Accepts::Own).unwrap());
    let server = Arc::new(settings::server(&identity, Accepts::Own).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let name = ServerName::try_from("node.invalid").unwrap();
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.split(), far.split());
    let (one, other) = tokio::join!(
        run(
            UnbufferedClientConnection::new(client, name).unwrap(),
            &mut near_read,
            &mut near_write,
            Vec::new()
        ),
        run(
            UnbufferedServerConnection::new(server).unwrap(),
            &mut far_read,
            &mut far_write,
            Vec::new()
        ),
    );
    let split = |established: Established, socket: TcpStream| {
        let (read, write) = socket.into_split();
        halves(established, read, write).unwrap()
    };
    (split(one.unwrap(), near), split(other.unwrap(), far))
}

#[tokio::test]
async fn keys_change_again_and_again_under_way() {
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = link().await;
    near_write.rekey_after(3);
    far_write.rekey_after(2);
    for size in [1, 100, 40_000, 300_000, 16_384, 16_385, 0, 7] {
        let message: Vec<u8> = (0..size).map(|at| (at * 31) as u8).collect();
        let (mut there, mut back) = (vec![0; size], vec![0; size]);
        let (sent, read) = tokio::join!(near_write.write_all(&message), far_read.read_exact(&mut there));
        sent.and(read.map(|_| ())).unwrap();
        let (sent, read) = tokio::join!(far_write.write_all(&there), near_read.read_exact(&mut back));
        sent.and(read.map(|_| ())).unwrap();
        assert_eq!(back, message);
    }
}

#[tokio::test]
async fn large_buffers_go_when_only_little_is_said() {
    let ((_near_read, mut near_write), (mut far_read, _far_write)) = link().await;
    let message = vec![1; 1 << 20];
    let mut there = vec![0; 1 << 20];
    let (sent, read) = tokio::join!(near_write.write_all(&message), far_read.read_exact(&mut there));
    sent.and(read.map(|_| ())).unwrap();
    let before = (near_write.buffered(), far_read.buffered());
    assert!(before.0 > 100_000 && before.1 > 100_000, "{before:?}");
    for _ in 0..600 {
        near_write.write_all(b"word").await.unwrap();
        far_read.read_exact(&mut [0; 4]).await.unwrap();
    }
    let after = (near_write.buffered(), far_read.buffered());
    assert!(after.0 < 20_000 && after.1 < 20_000, "{after:?}");
}

#[tokio::test]
async fn good_bytes_before_a_bad_record_are_handed_out_first() {
    let ((_near_read, mut near_write), (mut far_read, _far_write)) = link().await;
    near_write.write_all(b"good").await.unwrap();
    near_write.spoil().await;
    let mut words = [0; 100];
    let mut heard = Vec::new();
    let error = loop {
        match far_read.read(&mut words).await {
            Ok(count) => heard.extend_from_slice(&words[..count]),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (heard.as_slice(), error.kind()),
        (&b"good"[..], ErrorKind::InvalidData)
    );
}
