//! Measures links on the loopback interface: handshakes, bulk, and small round trips, beside plain TCP.
//!
//! `cargo run --release -p foundation_fabric --example link_bench`

use foundation_fabric::datagram::{Opener, Sealer};
use foundation_fabric::identity::IdentityOptions;
use foundation_fabric::quic::QuicTransport;
use foundation_fabric::tls::{TlsTransport, TransportConfig};
use foundation_fabric::{Hello, Identity, Secret, Stream, Transport};
use foundation_overlay::PeerName;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn identity(name: &str) -> Result<Arc<Identity>> {
    let secret = Secret::new("a secret for measuring links");
    let name = PeerName::new(name)?;
    Ok(Arc::new(Identity::from_secret(
        "bench",
        name,
        &secret,
        IdentityOptions::default(),
    )?))
}

async fn tls(name: &str) -> Result<Arc<dyn Transport>> {
    let config = TransportConfig::new("127.0.0.1:0".parse()?, 1);
    Ok(Arc::new(TlsTransport::bind(identity(name)?, config).await?))
}

fn hello(transport: &dyn Transport) -> Hello {
    Hello {
        cluster: "bench".into(),
        boot: 1,
        channel: "data".into(),
        lane: 0,
        priority: 0,
        listen: transport.local_addr(),
        features: 0,
    }
}

async fn pair(a: &Arc<dyn Transport>, b: &Arc<dyn Transport>) -> Result<(Stream, Stream)> {
    let accepting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await }
    });
    let opened = a.connect(b.local_addr(), None, &hello(&**a)).await?;
    let accepted = accepting.await?.ok_or("closed")?;
    Ok((opened, accepted))
}

type Read = Box<dyn AsyncRead + Send + Unpin>;
type Write = Box<dyn AsyncWrite + Send + Unpin>;

async fn plain() -> Result<((Read, Write), (Read, Write))> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let opened = TcpStream::connect(listener.local_addr()?).await?;
    let (accepted, _) = listener.accept().await?;
    opened.set_nodelay(true)?;
    accepted.set_nodelay(true)?;
    let split = |socket: TcpStream| {
        let (read, write) = socket.into_split();
        (Box::new(read) as Read, Box::new(write) as Write)
    };
    Ok((split(opened), split(accepted)))
}

/// Bytes a second, one way, in messages of `size`; the reader counts and checks them.
async fn bulk(mut write: Write, mut read: Read, size: usize, total: usize) -> Result<f64> {
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 20];
        let (mut seen, mut sum) = (0, 0_u64);
        loop {
            match read.read(&mut buffer).await? {
                0 => return Ok::<_, std::io::Error>((seen, sum)),
                count => {
                    seen += count;
                    sum += u64::from(buffer[count - 1]);
                }
            }
        }
    });
    let message = vec![7; size];
    let start = Instant::now();
    for _ in 0..total / size {
        write.write_all(&message).await?;
    }
    write.shutdown().await?;
    let (seen, sum) = reading.await??;
    let took = start.elapsed();
    assert_eq!(seen, total / size * size);
    assert_eq!(sum % 7, 0);
    Ok(seen as f64 / took.as_secs_f64())
}

/// Round trips of 100 bytes: median and 99th percentile.
async fn echo(mut a: (Read, Write), mut b: (Read, Write)) -> Result<(Duration, Duration)> {
    tokio::spawn(async move {
        let mut bytes = [0; 100];
        while b.0.read_exact(&mut bytes).await.is_ok() && b.1.write_all(&bytes).await.is_ok() {}
    });
    let mut times = Vec::new();
    let mut bytes = [1; 100];
    for _ in 0..20_000 {
        let start = Instant::now();
        a.1.write_all(&bytes).await?;
        a.0.read_exact(&mut bytes).await?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

async fn quic(name: &str) -> Result<Arc<dyn Transport>> {
    let config = TransportConfig::new("127.0.0.1:0".parse()?, 1);
    Ok(Arc::new(QuicTransport::bind(identity(name)?, config).await?))
}

/// Sealing and opening datagrams of 1,000 bytes, without a network.
fn datagrams() -> Result<()> {
    const COUNT: u32 = 500_000;
    let secret = Secret::new("a secret for measuring datagrams");
    let (sealer, mut opener) = (
        Sealer::new(&secret, "bench", [1; 16]),
        Opener::new(&secret, "bench", 8),
    );
    let (now, payload) = (Duration::from_secs(1_800_000_000), [7; 1_000]);
    let mut sealed = Vec::new();
    let start = Instant::now();
    for _ in 0..COUNT {
        sealed.clear();
        sealer.seal(now, &payload, &mut sealed)?;
        assert_eq!(opener.open(now, &mut sealed)?.payload, payload);
    }
    println!("datagrams: sealed and opened in {:?}", start.elapsed() / COUNT);
    Ok(())
}

async fn measure(label: &str, a: &Arc<dyn Transport>, b: &Arc<dyn Transport>, total: usize) -> Result<()> {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        drop(pair(a, b).await?);
        count += 1;
    }
    println!("{label}: link opened in {:?}", start.elapsed() / count);
    for size in [64 << 10, 1 << 20] {
        let (opened, accepted) = pair(a, b).await?;
        let rate = bulk(opened.write, accepted.read, size, total).await?;
        println!("{label}: {} KB messages {:.2} GB/s", size >> 10, rate / 1e9);
    }
    let (opened, accepted) = pair(a, b).await?;
    let (median, high) = echo((opened.read, opened.write), (accepted.read, accepted.write)).await?;
    println!("{label}: round trip p50 {median:?}, p99 {high:?}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    for size in [64 << 10, 1 << 20] {
        let (opened, accepted) = plain().await?;
        let rate = bulk(opened.1, accepted.0, size, 2 << 30).await?;
        println!("plain TCP: {} KB messages {:.2} GB/s", size >> 10, rate / 1e9);
    }
    let (a, b) = plain().await?;
    let (median, high) = echo(a, b).await?;
    println!("plain TCP: round trip p50 {median:?}, p99 {high:?}");
    measure("TLS", &tls("a@bench").await?, &tls("b@bench").await?, 2 << 30).await?;
    measure(
        "QUIC",
        &quic("a@bench").await?,
        &quic("b@bench").await?,
        256 << 20,
    )
    .await?;
    datagrams()
}
