//! Some endpoints in one process, which does what it reads from its standard input.

use std::collections::HashMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foundation_fabric::channel::inbox::{Receiver, Taken, Verdict};
use foundation_fabric::channel::outbox::Token;
use foundation_fabric::identity::IdentityOptions;
use foundation_fabric::overlay_driver::{Driver, DriverConfig, Watcher, beside};
use foundation_fabric::tls::{TlsTransport, TransportConfig};
use foundation_fabric::{Config, Endpoint, Identity, Outcome, Secret, Sink};
use foundation_overlay::{MemberEvent, NodeId, Peer, Role, Topology, Urgency};
use tokio::runtime::Runtime;

const CLUSTER: &str = "many";

/// Takes no channel messages: broadcasts and membership are looked at here.
struct Quiet;

impl Receiver for Quiet {
    type Buffer = Vec<u8>;

    fn buffer(&self, _: usize) -> Option<Vec<u8>> {
        None
    }

    fn small(&self, _: &[u8]) -> Taken {
        Taken::Now(Verdict::Delivered)
    }

    fn large(&self, _: Vec<u8>) -> Taken {
        Taken::Now(Verdict::Delivered)
    }
}

impl Sink for Quiet {
    type Receiver = Self;

    fn receiver(&self, _: &NodeId, _: &str, _: u16) -> Self {
        Self
    }

    fn settled(&self, _: Token, _: Outcome) {}

    fn peer(&self, _: &NodeId, _: bool) {}
}

/// How often each broadcast arrived, and how late the latest one was, in microseconds.
type Arrivals = Arc<Mutex<HashMap<u64, (u64, u64)>>>;

struct Count(Arrivals);

impl Watcher for Count {
    fn member(&self, _: MemberEvent, _: &Peer) {}

    fn deliver(&self, _: &NodeId, _: u32, payload: Bytes) {
        let word = |at: usize| {
            payload
                .get(at..at + 8)
                .and_then(|word| word.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let late = micros().saturating_sub(word(8));
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = arrivals.entry(word(0)).or_default();
        *entry = (entry.0 + 1, entry.1.max(late));
    }

    fn topology(&self, _: Topology, _: u64, _: bool) {}
}

fn micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

struct Node {
    driver: Driver,
    endpoint: Arc<Endpoint<Quiet>>,
}

async fn start(at: usize, runtime: &Runtime, arrivals: Arrivals) -> Result<Node, Box<dyn std::error::Error>> {
    let id = NodeId::new(&format!("many{at:04}@127.0.0.1"), micros())?;
    let secret = Secret::new("a secret that all of them know");
    let identity = Identity::from_secret(CLUSTER, id.name.clone(), &secret, IdentityOptions::default())?;
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let transport = TlsTransport::bind(Arc::new(identity), TransportConfig::new(bind, id.boot)).await?;
    let transport: Arc<dyn foundation_fabric::Transport> = Arc::new(transport);
    let addr = transport.local_addr();
    let config = Config::new(CLUSTER, id.clone(), addr);
    let endpoint = Arc::new(Endpoint::start(
        config,
        transport,
        runtime.handle().clone(),
        Quiet,
    ));
    let mut overlay = foundation_overlay::Config::lan();
    overlay.topology = Topology::HyParView;
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(id.boot ^ (at as u64) << 40).to_le_bytes());
    let me = Peer {
        id,
        addr,
        role: Role::Peer,
        meta: Bytes::new(),
    };
    let config = DriverConfig {
        cluster: CLUSTER.to_owned(),
        me,
        overlay,
        seed,
        queue: 4_096,
    };
    let driver = beside(&endpoint, &secret, config, runtime.handle(), Count(arrivals)).await?;
    Ok(Node { driver, endpoint })
}

/// Starts the endpoints, says where the first one listens, and obeys until the input ends.
pub(crate) fn host(first: usize, count: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let arrivals = Arrivals::default();
    let nodes: Vec<Node> = (first..first + count)
        .map(|at| {
            runtime
                .block_on(start(at, &runtime, arrivals.clone()))
                .expect("an endpoint")
        })
        .collect();
    println!("{}", nodes[0].endpoint.local_addr());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.split_first() {
            None | Some((&"end", _)) => break,
            Some((order, rest)) => println!("{}", obey(order, rest, &nodes, &arrivals)),
        }
    }
    // Without a good-bye, as a process that ends.
    nodes.iter().for_each(|node| node.driver.stop());
    runtime.shutdown_timeout(Duration::from_millis(200));
}

fn obey(order: &str, rest: &[&str], nodes: &[Node], arrivals: &Arrivals) -> String {
    let number = |at: usize| rest.get(at).and_then(|word| word.parse().ok()).unwrap_or(0_u64);
    match order {
        "join" => {
            let addrs: Vec<SocketAddr> = rest.iter().filter_map(|word| word.parse().ok()).collect();
            nodes
                .iter()
                .for_each(|node| node.driver.join(&addrs).expect("it runs"));
            "0".to_owned()
        }
        "known" => {
            let known: Vec<usize> = nodes.iter().map(|node| node.driver.stats().members).collect();
            format!(
                "{} {}",
                known.iter().min().unwrap_or(&0),
                known.iter().max().unwrap_or(&0)
            )
        }
        "links" => {
            let links: Vec<usize> = nodes.iter().map(|node| node.driver.stats().links).collect();
            format!(
                "{} {}",
                links.iter().sum::<usize>(),
                links.iter().max().unwrap_or(&0)
            )
        }
        "cost" => format!("{} {}", resident(), descriptors()),
        "broadcast" => {
            let number = number(0);
            let mut payload = vec![0; 200];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            payload[8..16].copy_from_slice(&micros().to_le_bytes());
            let node = &nodes[number as usize % nodes.len()];
            node.driver
                .broadcast(0, payload.into(), Urgency::Normal)
                .expect("it runs");
            "0".to_owned()
        }
        "got" => {
            let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            let range = number(0)..number(1);
            let of_these = arrivals
                .iter()
                .filter(|(number, _)| range.contains(number))
                .map(|(_, entry)| *entry);
            let (sum, latest) = of_these.fold((0, 0), |all, each| (all.0 + each.0, all.1.max(each.1)));
            format!("{sum} {latest}")
        }
        _ => "0".to_owned(),
    }
}

/// KiB of memory that this process occupies.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
