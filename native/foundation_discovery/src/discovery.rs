//! Announces a node and listens for others, on an mDNS daemon with a thread of its own.
//!
//! A second thread takes the daemon's events through [`Peers`] and hands what is new to the sink. When the daemon ends
//! by itself (a thread that panicked, an event queue that overflowed), that thread starts another one.

use crate::error::Error;
use crate::facts::{Facts, printable};
use crate::peers::{Counts, Event, Peers, Stranger};
use crate::proof::ProofKey;
use mdns_sd::{HostnameResolutionEvent, IfKind, Receiver, ServiceDaemon, ServiceEvent, ServiceInfo};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The service type that nodes announce.
pub const SERVICE: &str = "_foundation._tcp.local.";
/// The port of mDNS.
pub const PORT: u16 = 5353;
/// Interfaces that can be named, at most.
pub const MAX_INTERFACES: usize = 64;

const RESTART_AFTER: Duration = Duration::from_secs(1);
const INSTANCE_NAME: usize = 40;
/// How long a host is asked for its addresses, and how many at once.
const ASK_FOR_MS: u64 = 10_000;
const MAX_ASKED: usize = 64;

/// What to announce, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are.
    pub facts: Facts,
    /// Whether to announce it; a node that only looks does not.
    pub announce: bool,
    /// The UDP port, [`PORT`] unless a test has its own.
    pub port: u16,
    /// Names of the network interfaces to use; all of them when empty.
    pub interfaces: Vec<String>,
}

/// What is known and what happened so far.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Nodes known now, sorted.
    pub nodes: Vec<String>,
    /// Who announced itself with a proof that did not hold.
    pub strangers: Vec<Stranger>,
    /// What happened.
    pub counts: Counts,
    /// How often the daemon had to be started again.
    pub restarts: u64,
    /// Whether a daemon runs now.
    pub running: bool,
}

struct Running {
    daemon: Option<ServiceDaemon>,
    announced: bool,
    stopping: bool,
    finished: bool,
    restarts: u64,
}

struct Shared {
    config: Config,
    key: ProofKey,
    peers: Mutex<Peers>,
    running: Mutex<Running>,
    changed: Condvar,
}

/// A node's presence on the local network. Says goodbye when it is dropped.
pub struct Discovery {
    shared: Arc<Shared>,
}

impl Discovery {
    /// Starts to announce and to look; `sink` is called from a thread of its own with what is found. Does not wait.
    pub fn start(
        config: Config,
        secret: &[u8],
        sink: impl Fn(Event) + Send + 'static,
    ) -> Result<Self, Error> {
        let facts = config.facts.clone().checked()?;
        let usable = |name: &String| !name.is_empty() && name.len() <= 64 && printable(name);
        if !config.interfaces.iter().all(usable) || config.interfaces.len() > MAX_INTERFACES {
            return Err(Error::Interface);
        }
        let key = ProofKey::derive(secret)?;
        let shared = Arc::new(Shared {
            peers: Mutex::new(Peers::new(facts, key.clone())),
            key,
            running: Mutex::new(Running {
                daemon: None,
                announced: config.announce,
                stopping: false,
                finished: false,
                restarts: 0,
            }),
            changed: Condvar::new(),
            config,
        });
        let events = shared.open()?;
        let listening = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("foundation-mdns".into())
            .spawn(move || listening.listen(events, sink))
            .map_err(|error| Error::Daemon(error.to_string()))?;
        Ok(Self { shared })
    }

    /// Takes the announcement back, or makes it again. Looking goes on.
    pub fn announce(&self, announce: bool) -> Result<(), Error> {
        let mut running = self.shared.running.lock();
        if running.announced == announce {
            return Ok(());
        }
        running.announced = announce;
        match &running.daemon {
            Some(daemon) if announce => self.shared.register(daemon),
            Some(daemon) => daemon
                .unregister(&self.shared.fullname()?)
                .map(|_| ())
                .map_err(failed),
            None => Ok(()),
        }
    }

    /// What is known and what happened so far. O(nodes).
    pub fn stats(&self) -> Stats {
        let running = self.shared.running.lock();
        let (restarts, alive) = (running.restarts, running.daemon.is_some() && !running.stopping);
        drop(running);
        let peers = self.shared.peers.lock();
        let mut nodes: Vec<String> = peers.known().map(|facts| facts.node.clone()).collect();
        nodes.sort_unstable();
        Stats {
            nodes,
            strangers: peers.strangers().cloned().collect(),
            counts: peers.counts(),
            restarts,
            running: alive,
        }
    }

    /// Says goodbye, and waits until it is said or the time is over. True when it was.
    pub fn stop(&self, wait: Duration) -> bool {
        self.shared.shut();
        let deadline = Instant::now() + wait;
        let mut running = self.shared.running.lock();
        while !running.finished {
            if self.shared.changed.wait_until(&mut running, deadline).timed_out() {
                return running.finished;
            }
        }
        true
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.shared.shut();
    }
}

impl Shared {
    /// A daemon that looks and, where wanted, announces. The first query follows within 50 ms.
    fn open(&self) -> Result<Receiver<ServiceEvent>, Error> {
        let daemon = ServiceDaemon::new_with_port(self.config.port).map_err(failed)?;
        if !self.config.interfaces.is_empty() {
            daemon.disable_interface(IfKind::All).map_err(failed)?;
            daemon
                .enable_interface(
                    self.config
                        .interfaces
                        .iter()
                        .map(IfKind::from)
                        .collect::<Vec<_>>(),
                )
                .map_err(failed)?;
        }
        let events = daemon.browse(SERVICE).map_err(failed)?;
        let mut running = self.running.lock();
        if running.announced {
            self.register(&daemon)?;
        }
        if running.stopping {
            let _ = daemon.shutdown();
        }
        running.daemon = Some(daemon);
        Ok(events)
    }

    // The instance's and host's names hold the boot's number: nobody else has them, so nothing is gained by asking
    // the network for 750 ms whether they are free.
    fn register(&self, daemon: &ServiceDaemon) -> Result<(), Error> {
        let mut info = self.info()?;
        info.set_requires_probe(false);
        daemon.register(info).map_err(failed)
    }

    fn info(&self) -> Result<ServiceInfo, Error> {
        let facts = &self.config.facts;
        let txt = facts.txt(&self.key);
        let host = format!("foundation-{:016x}-{}.local.", facts.boot, checksum(&facts.node));
        ServiceInfo::new(SERVICE, &instance(facts), &host, (), facts.port, &txt[..])
            .map(ServiceInfo::enable_addr_auto)
            .map_err(failed)
    }

    fn fullname(&self) -> Result<String, Error> {
        Ok(self.info()?.get_fullname().to_owned())
    }

    fn shut(&self) {
        let mut running = self.running.lock();
        if !running.stopping {
            running.stopping = true;
            if let Some(daemon) = &running.daemon {
                // Sends the goodbyes before it ends.
                let _ = daemon.shutdown();
            }
            self.changed.notify_all();
        }
    }

    fn listen(&self, mut events: Receiver<ServiceEvent>, sink: impl Fn(Event)) {
        // Whoever does not keep its end of a question is not answered.
        let mut asked = VecDeque::new();
        loop {
            while let Ok(event) = events.recv() {
                if let Some(news) = self.digest(&event) {
                    asked.extend(self.ask(&event, &news));
                    if asked.len() > MAX_ASKED {
                        asked.pop_front();
                    }
                    sink(news);
                }
            }
            match self.reopened() {
                Some(again) => events = again,
                None => break,
            }
        }
        let mut running = self.running.lock();
        running.daemon = None;
        running.finished = true;
        self.changed.notify_all();
    }

    fn digest(&self, event: &ServiceEvent) -> Option<Event> {
        match event {
            ServiceEvent::ServiceResolved(service) => self.peers.lock().resolved(
                &service.fullname,
                service
                    .txt_properties
                    .iter()
                    .map(|txt| (txt.key(), txt.val().unwrap_or_default())),
                service.port,
                service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr),
            ),
            ServiceEvent::ServiceRemoved(_, fullname) => self.peers.lock().removed(fullname),
            _ => None,
        }
    }

    /// Asks for the addresses of a host of which none of IPv4 came: the answers on IPv4 and on IPv6 hold their own kind
    /// each, and once one of the two is there the other is asked for no more.
    fn ask(&self, event: &ServiceEvent, news: &Event) -> Option<Receiver<HostnameResolutionEvent>> {
        let (ServiceEvent::ServiceResolved(service), Event::Found(peer)) = (event, news) else {
            return None;
        };
        if peer.addresses.iter().any(IpAddr::is_ipv4) {
            return None;
        }
        let daemon = self.running.lock().daemon.clone()?;
        daemon.resolve_hostname(&service.host, Some(ASK_FOR_MS)).ok()
    }

    /// Another daemon in place of one that ended by itself; `None` once we are to stop.
    fn reopened(&self) -> Option<Receiver<ServiceEvent>> {
        loop {
            let mut running = self.running.lock();
            if let Some(daemon) = running.daemon.take().filter(|_| !running.stopping) {
                let _ = daemon.shutdown();
                running.restarts += 1;
            }
            let deadline = Instant::now() + RESTART_AFTER;
            while !running.stopping {
                if self.changed.wait_until(&mut running, deadline).timed_out() {
                    break;
                }
            }
            if running.stopping {
                return None;
            }
            drop(running);
            match self.open() {
                Ok(events) => return Some(events),
                Err(error) => tracing::warn!("mDNS discovery does not start again: {error}"),
            }
        }
    }
}

fn failed(error: mdns_sd::Error) -> Error {
    Error::Daemon(error.to_string())
}

// A label of at most 63 bytes that people can read and that no other boot of any node has.
fn instance(facts: &Facts) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = facts.node.chars().take(INSTANCE_NAME - 9).map(plain).collect();
    format!("{name}-{}-{:016x}", checksum(&facts.node), facts.boot)
}

// FNV-1a: tells two nodes apart whose names begin alike.
fn checksum(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:08x}")
}
