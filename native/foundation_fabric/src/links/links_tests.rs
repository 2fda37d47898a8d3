use super::*;
use foundation_overlay::NodeId;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{advance, pause};

/// Opens links out of thin air; their other ends wait in `ends`.
struct Fake {
    ends: mpsc::UnboundedSender<DuplexStream>,
    incoming: Mutex<mpsc::UnboundedReceiver<Stream>>,
    opened: AtomicUsize,
}

const HERE: &str = "127.0.0.1:1";

fn hello() -> Hello {
    Hello {
        cluster: "shop".into(),
        boot: 1,
        channel: "data".into(),
        lane: 0,
        priority: 0,
        listen: HERE.parse().unwrap(),
        features: 0,
    }
}

fn stream() -> (Stream, DuplexStream) {
    let (near, far) = duplex(64);
    let (read, write) = tokio::io::split(near);
    let peer = NodeId::new("b@host", 1).unwrap();
    let remote = HERE.parse().unwrap();
    (
        Stream {
            peer,
            hello: hello(),
            remote,
            read: Box::new(read),
            write: Box::new(write),
        },
        far,
    )
}

impl Transport for Fake {
    fn connect<'a>(
        &'a self,
        _: SocketAddr,
        _: Option<&'a PeerName>,
        _: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move {
            self.opened.fetch_add(1, Ordering::Relaxed);
            let (near, far) = stream();
            self.ends.send(far).unwrap();
            Ok(near)
        })
    }

    fn connect_over<'a>(
        &'a self,
        _: Carrier,
        _: &'a PeerName,
        _: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move { Err(TransportError::Closed) })
    }

    fn accept_over(&self, _: Carrier) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(async move { Err(TransportError::Closed) })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async move { self.incoming.lock().await.recv().await })
    }

    fn local_addr(&self) -> SocketAddr {
        HERE.parse().unwrap()
    }

    fn refused(&self) -> Refused {
        Refused::default()
    }

    fn close(&self) {}
}

struct Bench {
    bounded: Bounded,
    fake: Arc<Fake>,
    ends: mpsc::UnboundedReceiver<DuplexStream>,
    incoming: mpsc::UnboundedSender<Stream>,
}

fn bench(most: usize) -> Bench {
    pause();
    let (sender, ends) = mpsc::unbounded_channel();
    let (incoming, receiver) = mpsc::unbounded_channel();
    let fake = Arc::new(Fake {
        ends: sender,
        incoming: Mutex::new(receiver),
        opened: AtomicUsize::new(0),
    });
    Bench {
        bounded: Bounded::new(fake.clone(), most, IDLE),
        fake,
        ends,
        incoming,
    }
}

impl Bench {
    async fn open(&self) -> Result<Stream, TransportError> {
        self.bounded.connect(HERE.parse().unwrap(), None, &hello()).await
    }
}

#[tokio::test]
async fn a_dropped_link_gives_its_place_back() {
    let bench = bench(2);
    let first = bench.open().await.unwrap();
    let Stream { read, write, .. } = bench.open().await.unwrap();
    assert!(matches!(bench.open().await, Err(TransportError::Busy(2))));
    drop(read);
    assert!(matches!(bench.open().await, Err(TransportError::Busy(2))));
    drop(write);
    assert!(bench.open().await.is_ok());
    drop(first);
    assert_eq!(bench.fake.opened.load(Ordering::Relaxed), 3);
    assert_eq!(bench.bounded.open(), 0);
}

#[tokio::test]
async fn the_link_that_was_silent_longest_makes_room() {
    let mut bench = bench(3);
    let mut links = Vec::new();
    for _ in 0..3 {
        links.push(bench.open().await.unwrap());
        advance(Duration::from_millis(10)).await;
    }
    let mut far = bench.ends.recv().await.unwrap();
    advance(IDLE - Duration::from_millis(15)).await;
    // The first link speaks, so the second is the silent one.
    links[0].write.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    let fourth = bench.open().await.unwrap();
    assert_eq!(bench.bounded.open(), 3);
    assert_eq!(bench.bounded.closed_for_others(), 1);
    assert_eq!(
        links[1].read.read(&mut [0]).await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(
        links[1].write.write(&[0]).await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    // Both halves are gone, so the other end sees the close.
    let mut far = bench.ends.recv().await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    // What is dropped late gives no place back twice.
    links.remove(1);
    assert_eq!(bench.bounded.open(), 3);
    drop(fourth);
    assert_eq!(bench.bounded.open(), 2);
}

#[tokio::test]
async fn a_task_that_waits_for_bytes_is_woken_when_its_link_is_taken() {
    let bench = bench(1);
    let mut link = bench.open().await.unwrap();
    let waiting = tokio::spawn(async move { link.read.read(&mut [0]).await });
    tokio::task::yield_now().await;
    advance(IDLE).await;
    let _second = bench.open().await.unwrap();
    assert_eq!(
        waiting.await.unwrap().unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn links_from_others_are_refused_when_all_are_busy() {
    let bench = bench(1);
    let link = bench.open().await.unwrap();
    let (near, mut far) = stream();
    bench.incoming.send(near).unwrap();
    let (other, _far) = stream();
    {
        let mut accept = bench.bounded.accept();
        assert!(
            tokio::time::timeout(Duration::from_millis(1), &mut accept)
                .await
                .is_err()
        );
        assert_eq!(bench.bounded.refused().of(Reason::TooMany), 1);
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        drop(link);
        bench.incoming.send(other).unwrap();
        assert!(accept.await.is_some());
    }
    assert_eq!(bench.bounded.open(), 0);
}
