//! Three engines in one process, each with its own log on the disk and every record synced: proposals one after the
//! other and many at a time, linearizable reads, and how long a group is without a leader when its leader goes silent.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foundation_consensus::{Answering, Applied, Consistency, GroupConfig, Machine, MachineError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use support::{Cluster, plug, soon};

/// Counts what is applied.
struct Count(u64);

impl Machine for Count {
    fn apply(&mut self, entries: Vec<Applied>) -> BoxFuture<'_, Vec<Bytes>> {
        let replies = entries.iter().map(|_| Bytes::from_static(b"ok")).collect();
        self.0 += entries.len() as u64;
        async move { replies }.boxed()
    }

    fn query(&mut self, _query: Bytes, answer: Answering) {
        answer(Bytes::from(self.0.to_le_bytes().to_vec()));
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Bytes> {
        let count = Bytes::from(self.0.to_le_bytes().to_vec());
        async move { count }.boxed()
    }

    fn restore(&mut self, snapshot: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        let restored = snapshot[..].try_into().map(u64::from_le_bytes);
        async move {
            self.0 = restored.map_err(|_| MachineError("eight bytes are expected".into()))?;
            Ok(())
        }
        .boxed()
    }
}

async fn start(size: usize) -> Cluster {
    let mut cluster = Cluster {
        hub: Arc::default(),
        names: (0..size).map(|i| format!("n{i}")).collect(),
        engines: Default::default(),
        lists: Default::default(),
        dir: Some(tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".into())).unwrap()),
        tune: |_, _| {},
    };
    for name in cluster.names.clone() {
        let engine = plug(&cluster.hub, cluster.config(&name)).unwrap();
        let config = GroupConfig::new("g", cluster.names.iter().cloned());
        engine.start_group(config, Box::new(Count(0))).await.unwrap();
        cluster.engines.insert(name, engine);
    }
    cluster
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    format!("p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0))
}

async fn one_at_a_time(cluster: &Cluster, at: &str, count: usize) {
    let group = cluster.group(at);
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        group
            .propose(None, Bytes::from(vec![7; 256]), soon(5))
            .await
            .unwrap();
        times.push(started.elapsed());
    }
    println!("one at a time at {at}: {}", quantiles(times));
}

async fn reads(cluster: &Cluster, at: &str, count: usize) {
    let group = cluster.group(at);
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        group
            .read(Bytes::new(), Consistency::Linearizable, soon(5))
            .await
            .unwrap();
        times.push(started.elapsed());
    }
    println!("linearizable reads at {at}: {}", quantiles(times));
}

async fn pipelined(cluster: &Cluster, at: &str, width: usize, lasting: Duration) {
    let done = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + lasting;
    let started = Instant::now();
    let tasks = (0..width).map(|_| {
        let (group, done) = (cluster.group(at), done.clone());
        tokio::spawn(async move {
            let command = Bytes::from(vec![7; 256]);
            while Instant::now() < until {
                group.propose(None, command.clone(), soon(10)).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let count = done.load(Ordering::Relaxed);
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!("{width} at a time at {at}: {rate:.0} a second ({count} committed)");
    let counted = cluster
        .group(at)
        .read(Bytes::new(), Consistency::Linearizable, soon(5))
        .await
        .unwrap();
    assert!(
        u64::from_le_bytes(counted[..].try_into().unwrap()) >= count,
        "the machine has counted them all"
    );
}

async fn failover(rounds: usize) {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let cluster = start(3).await;
        let leader = cluster.leader().await;
        let at = cluster.follower().await;
        cluster
            .group(&at)
            .propose(None, Bytes::from_static(b"x"), soon(5))
            .await
            .unwrap();
        cluster.hub.isolate(&leader, &cluster.names);
        let started = Instant::now();
        let session = Some(foundation_consensus::Session { client: 1, seq: 1 });
        cluster
            .group(&at)
            .propose(session, Bytes::from_static(b"y"), soon(20))
            .await
            .unwrap();
        times.push(started.elapsed());
        for engine in cluster.engines.values() {
            engine.stop().await;
        }
    }
    println!("a proposal while the leader goes silent: {}", quantiles(times));
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = start(3).await;
        let leader = cluster.leader().await;
        let follower = cluster.follower().await;
        tokio::spawn(async move {
            one_at_a_time(&cluster, &leader, 1_000).await;
            one_at_a_time(&cluster, &follower, 500).await;
            reads(&cluster, &leader, 1_000).await;
            for width in [64, 512, 4_096] {
                pipelined(&cluster, &leader, width, Duration::from_secs(3)).await;
            }
            pipelined(&cluster, &follower, 4_096, Duration::from_secs(2)).await;
            for engine in cluster.engines.values() {
                engine.stop().await;
            }
        })
        .await
        .unwrap();
        failover(7).await;
    });
}
