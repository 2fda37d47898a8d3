//! A forwarder for TCP and UDP between two endpoints that makes the path longer, lossy, or cut: what a kernel without
//! traffic control cannot do.
//!
//!     forwarder --to 127.0.0.1:4000 [--listen 127.0.0.1:0] [--delay-ms 10] [--loss 0.0] [--seed 1] [--window BYTES]
//!
//! Prints `listening ADDRESS`. The delay is one way, for each direction; what is under way is bounded (64 MB a TCP
//! direction, 4,096 datagrams a UDP one) and the order is kept. The window is what one TCP connection has under way in
//! a round trip: its ends speak to this process, whose delay their own windows do not see. Loss is for datagrams only, as TCP hides it. Lines on
//! standard input steer it: `cut` holds everything back (and drops datagrams) as an unplugged cable would, `heal` lets
//! it go on, `delay MS` changes the delay. It ends with its standard input.
#![forbid(unsafe_code)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

const CHUNK: usize = 256 * 1024;
const UNDER_WAY: usize = 64 * 1024 * 1024;
const DATAGRAMS: usize = 4096;

/// What the lines on standard input change.
struct Path {
    delay_us: AtomicU64,
    open: watch::Sender<bool>,
    loss: f64,
    seed: u64,
    under_way: usize,
}

impl Path {
    fn due(&self) -> Instant {
        Instant::now() + Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }

    /// Waits until the moment has come and the path is not cut.
    async fn pass(&self, due: Instant) {
        tokio::time::sleep_until(due).await;
        let mut open = self.open.subscribe();
        // The sender lives as long as the path does.
        let _ = open.wait_for(|open| *open).await;
    }
}

struct Options {
    listen: SocketAddr,
    to: SocketAddr,
    delay_ms: u64,
    loss: f64,
    seed: u64,
    window: usize,
}

fn options() -> Result<Options, String> {
    let mut given = HashMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        given.insert(name, value);
    }
    let options = Options {
        listen: take(&mut given, "--listen", Some("127.0.0.1:0"))?,
        to: take(&mut given, "--to", None)?,
        delay_ms: take(&mut given, "--delay-ms", Some("0"))?,
        loss: take(&mut given, "--loss", Some("0"))?,
        seed: take(&mut given, "--seed", Some("1"))?,
        window: take(&mut given, "--window", Some("0"))?,
    };
    match given.into_keys().next() {
        Some(name) => Err(format!("unknown option {name}")),
        None => Ok(options),
    }
}

fn take<T: std::str::FromStr>(
    given: &mut HashMap<String, String>,
    name: &str,
    default: Option<&str>,
) -> Result<T, String> {
    let text = given.remove(name).or(default.map(str::to_owned));
    let text = text.ok_or(format!("{name} is missing"))?;
    text.parse().map_err(|_| format!("{name} cannot be {text}"))
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let options = options()?;
    let path = Arc::new(Path {
        delay_us: AtomicU64::new(options.delay_ms * 1000),
        open: watch::channel(true).0,
        loss: options.loss,
        seed: options.seed,
        // Bytes are held for one way, and a window for both.
        under_way: if options.window == 0 {
            UNDER_WAY
        } else {
            options.window / 2
        },
    });
    let fail = |error: std::io::Error| error.to_string();
    let tcp = TcpListener::bind(options.listen).await.map_err(fail)?;
    let address = tcp.local_addr().map_err(fail)?;
    let udp = UdpSocket::bind(address).await.map_err(fail)?;
    println!("listening {address}");
    tokio::spawn(streams(tcp, options.to, path.clone()));
    tokio::spawn(datagrams(Arc::new(udp), options.to, path.clone()));
    steer(&path).await;
    Ok(())
}

/// Reads standard input on a thread of its own, as it has no other way to be waited for.
async fn steer(path: &Path) {
    let (lines, mut read) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = read.recv().await {
        let mut words = line.split_whitespace();
        match (words.next(), words.next().map(str::parse::<u64>)) {
            (Some("cut"), None) => drop(path.open.send_replace(false)),
            (Some("heal"), None) => drop(path.open.send_replace(true)),
            (Some("delay"), Some(Ok(ms))) => path.delay_us.store(ms * 1000, Ordering::Relaxed),
            _ => println!("unknown {line}"),
        }
    }
}

// -- streams -------------------------------------------------------------------------------------------------------

async fn streams(listener: TcpListener, to: SocketAddr, path: Arc<Path>) {
    while let Ok((near, _)) = listener.accept().await {
        let path = path.clone();
        tokio::spawn(async move {
            // A connection that is made while the path is cut waits as its first packet would.
            path.pass(path.due()).await;
            let Ok(far) = TcpStream::connect(to).await else {
                return;
            };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(pump(near_read, far_write, path.clone()));
            tokio::spawn(pump(far_read, near_write, path));
        });
    }
}

/// One direction: what is read now is written when its time has come. Its end is passed on in its turn.
async fn pump(mut read: OwnedReadHalf, mut write: OwnedWriteHalf, path: Arc<Path>) {
    let room = Arc::new(Semaphore::new(path.under_way));
    let (queue, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let (spare, mut used) = mpsc::channel::<Vec<u8>>(64);
    let (way, space) = (path.clone(), room.clone());
    let writer = tokio::spawn(async move {
        while let Some((due, bytes)) = under_way.recv().await {
            way.pass(due).await;
            if write.write_all(&bytes).await.is_err() {
                return;
            }
            space.add_permits(bytes.len());
            let _ = spare.try_send(bytes);
        }
        let _ = write.shutdown().await;
    });
    loop {
        let mut bytes = used.try_recv().unwrap_or_default();
        bytes.resize(CHUNK, 0);
        match read.read(&mut bytes).await {
            Ok(count) if count > 0 => {
                bytes.truncate(count);
                // The semaphore is never closed.
                if let Ok(permit) = room.acquire_many(count as u32).await {
                    permit.forget();
                }
                if queue.send((path.due(), bytes)).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    drop(queue);
    let _ = writer.await;
}

// -- datagrams -----------------------------------------------------------------------------------------------------

async fn datagrams(near: Arc<UdpSocket>, to: SocketAddr, path: Arc<Path>) {
    let mut clients: HashMap<SocketAddr, mpsc::Sender<(Instant, Vec<u8>)>> = HashMap::new();
    let mut lost = Loss::new(&path, 0);
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((count, from)) = near.recv_from(&mut buffer).await else {
            continue;
        };
        let queue = match clients.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match client(near.clone(), from, to, path.clone()).await {
                Ok(queue) => new.insert(queue),
                Err(_) => continue,
            },
        };
        if !lost.now(&path) {
            // A full path loses what comes on top, as a router does.
            let _ = queue.try_send((path.due(), buffer[..count].to_vec()));
        }
    }
}

/// A socket for one sender, so that answers find their way back.
async fn client(
    near: Arc<UdpSocket>,
    from: SocketAddr,
    to: SocketAddr,
    path: Arc<Path>,
) -> std::io::Result<mpsc::Sender<(Instant, Vec<u8>)>> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let far = Arc::new(UdpSocket::bind(any).await?);
    far.connect(to).await?;
    let (queue, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(DATAGRAMS);
    let (out, way) = (far.clone(), path.clone());
    tokio::spawn(async move {
        while let Some((due, bytes)) = under_way.recv().await {
            way.pass(due).await;
            let _ = out.send(&bytes).await;
        }
    });
    let (back, mut returning) = mpsc::channel::<(Instant, Vec<u8>)>(DATAGRAMS);
    let way = path.clone();
    tokio::spawn(async move {
        while let Some((due, bytes)) = returning.recv().await {
            way.pass(due).await;
            let _ = near.send_to(&bytes, from).await;
        }
    });
    tokio::spawn(async move {
        let mut lost = Loss::new(&path, u64::from(from.port()));
        let mut buffer = vec![0; 65_536];
        // Refusals come as errors of a read, and the path goes on.
        loop {
            match far.recv(&mut buffer).await {
                Ok(_) if lost.now(&path) => {}
                Ok(count) => drop(back.try_send((path.due(), buffer[..count].to_vec()))),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    });
    Ok(queue)
}

/// Which datagrams go, by the seed.
struct Loss(ChaCha8Rng);

impl Loss {
    fn new(path: &Path, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(path.seed);
        random.set_stream(stream);
        Self(random)
    }

    fn now(&mut self, path: &Path) -> bool {
        !*path.open.borrow() || (path.loss > 0.0 && self.0.random_bool(path.loss))
    }
}
