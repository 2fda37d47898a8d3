//! Engines of one process on a network of channels.
#![allow(dead_code, unreachable_pub)]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foundation_consensus::{
    Answering, Applied, Engine, EngineConfig, Error, Group, GroupConfig, Instant, Machine, MachineError,
    Network, ProposeError, Role, Session,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

type Frames = mpsc::UnboundedSender<(String, Bytes)>;

/// The network: frames go to whoever is plugged in under the name, unless the link is cut.
#[derive(Default)]
pub struct Hub {
    plugged: RwLock<HashMap<String, Frames>>,
    cut: RwLock<HashSet<(String, String)>>,
}

struct Plug {
    me: String,
    hub: Arc<Hub>,
}

impl Network for Plug {
    fn send(&self, to: &str, frame: Bytes) -> bool {
        if self.hub.cut.read().contains(&(self.me.clone(), to.to_owned())) {
            // As a partition does: it looks sent.
            return true;
        }
        let plugged = self.hub.plugged.read();
        plugged
            .get(to)
            .is_some_and(|frames| frames.send((self.me.clone(), frame)).is_ok())
    }
}

impl Hub {
    /// Cuts the links of a node to all others, in both directions.
    pub fn isolate(&self, node: &str, others: &[String]) {
        let mut cut = self.cut.write();
        for other in others.iter().filter(|other| *other != node) {
            cut.insert((node.to_owned(), other.clone()));
            cut.insert((other.clone(), node.to_owned()));
        }
    }

    pub fn heal(&self) {
        self.cut.write().clear();
    }

    pub fn unplug(&self, node: &str) {
        self.plugged.write().remove(node);
    }
}

/// Starts an engine on the hub.
pub fn plug(hub: &Arc<Hub>, config: EngineConfig) -> Result<Arc<Engine>, Error> {
    let me = config.me.clone();
    let network = Plug {
        me: me.clone(),
        hub: hub.clone(),
    };
    let engine = Arc::new(Engine::start(config, Handle::current(), Arc::new(network))?);
    let (sender, mut frames) = mpsc::unbounded_channel::<(String, Bytes)>();
    hub.plugged.write().insert(me, sender);
    let receiver = Arc::downgrade(&engine);
    tokio::spawn(async move {
        while let Some((from, frame)) = frames.recv().await {
            let Some(engine) = receiver.upgrade() else { return };
            engine.receive(&from, frame);
        }
    });
    Ok(engine)
}

/// A list of what was applied. A command is added, and its place is the reply; a query answers the whole list.
#[derive(Default, Clone)]
pub struct List {
    pub items: Arc<Mutex<Vec<Bytes>>>,
    pub times: Arc<Mutex<Vec<u64>>>,
}

impl Machine for List {
    fn apply(&mut self, entries: Vec<Applied>) -> BoxFuture<'_, Vec<Bytes>> {
        let mut items = self.items.lock();
        let mut times = self.times.lock();
        let replies = entries.into_iter().map(|entry| {
            items.push(entry.command);
            times.push(entry.time_ms);
            Bytes::from((items.len() as u64 - 1).to_le_bytes().to_vec())
        });
        let replies = replies.collect();
        async move { replies }.boxed()
    }

    fn query(&mut self, _query: Bytes, answer: Answering) {
        answer(encode(&self.items.lock()));
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Bytes> {
        let state = encode(&self.items.lock());
        async move { state }.boxed()
    }

    fn restore(&mut self, snapshot: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        *self.items.lock() = decode(snapshot);
        async { Ok(()) }.boxed()
    }
}

fn encode(items: &[Bytes]) -> Bytes {
    let mut out = Vec::new();
    for item in items {
        out.extend_from_slice(&(item.len() as u32).to_le_bytes());
        out.extend_from_slice(item);
    }
    out.into()
}

pub fn decode(mut bytes: Bytes) -> Vec<Bytes> {
    let mut items = Vec::new();
    while bytes.len() >= 4 {
        let len = u32::from_le_bytes(bytes.split_to(4)[..].try_into().unwrap());
        items.push(bytes.split_to(len as usize));
    }
    items
}

/// A number of nodes, each with a group `g` of lists.
pub struct Cluster {
    pub hub: Arc<Hub>,
    pub names: Vec<String>,
    pub engines: HashMap<String, Arc<Engine>>,
    pub lists: HashMap<String, List>,
    pub dir: Option<tempfile::TempDir>,
    pub tune: fn(&mut EngineConfig, &mut GroupConfig),
}

pub fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

impl Cluster {
    pub async fn start(size: usize, on_disk: bool) -> Cluster {
        Self::tuned(size, on_disk, |_, _| {}).await
    }

    pub async fn tuned(size: usize, on_disk: bool, tune: fn(&mut EngineConfig, &mut GroupConfig)) -> Cluster {
        let names = (0..size).map(|i| format!("n{i}")).collect();
        let mut cluster = Cluster {
            hub: Arc::default(),
            names,
            engines: HashMap::new(),
            lists: HashMap::new(),
            dir: on_disk.then(|| tempfile::tempdir().unwrap()),
            tune,
        };
        for name in cluster.names.clone() {
            let members = cluster.names.clone();
            cluster.boot(&name, &members).await.unwrap();
        }
        cluster
    }

    pub fn config(&self, name: &str) -> EngineConfig {
        let mut config = EngineConfig::new(name);
        config.dir = self.dir.as_ref().map(|dir| dir.path().join(name));
        config
    }

    pub async fn boot(&mut self, name: &str, members: &[String]) -> Result<Group, Error> {
        let mut config = self.config(name);
        let mut group = GroupConfig::new("g", members.iter().cloned());
        (self.tune)(&mut config, &mut group);
        let engine = plug(&self.hub, config)?;
        let list = List::default();
        let started = engine.start_group(group, Box::new(list.clone())).await?;
        self.engines.insert(name.to_owned(), engine);
        self.lists.insert(name.to_owned(), list);
        Ok(started)
    }

    /// Takes a node off the network and stops it.
    pub async fn kill(&mut self, name: &str) {
        self.hub.unplug(name);
        if let Some(engine) = self.engines.remove(name) {
            engine.stop().await;
        }
    }

    pub fn group(&self, name: &str) -> Group {
        self.engines[name].group("g").unwrap()
    }

    pub async fn leader(&self) -> String {
        let mut found = None;
        eventually("a leader", || {
            let leads = |name: &&String| {
                let status = self.group(name).status();
                status.role == Role::Leader && status.quorum_ms.is_some_and(|ms| ms < 400)
            };
            let mut live: Vec<&String> = self.engines.keys().collect();
            live.sort();
            found = live.into_iter().find(leads).cloned();
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    pub async fn follower(&self) -> String {
        let leader = self.leader().await;
        self.names
            .iter()
            .find(|name| **name != leader && self.engines.contains_key(*name))
            .unwrap()
            .clone()
    }

    pub async fn add(&self, at: &str, item: &str) -> Result<u64, ProposeError> {
        self.add_as(at, None, item).await
    }

    pub async fn add_as(&self, at: &str, session: Option<Session>, item: &str) -> Result<u64, ProposeError> {
        let command = Bytes::copy_from_slice(item.as_bytes());
        let reply = self.group(at).propose(session, command, soon(10)).await?;
        Ok(u64::from_le_bytes(reply[..].try_into().unwrap()))
    }

    pub fn items(&self, name: &str) -> Vec<String> {
        let items = self.lists[name].items.lock();
        items
            .iter()
            .map(|item| String::from_utf8_lossy(item).into_owned())
            .collect()
    }
}

/// Waits until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn dir_of(path: &Path) -> EngineConfig {
    let mut config = EngineConfig::new("alone");
    config.dir = Some(path.to_path_buf());
    config
}
