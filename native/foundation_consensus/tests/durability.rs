//! What is on the disk: real kills, real damage, and the way out of a lost majority.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foundation_consensus::{Consistency, Engine, Error, Group, GroupConfig, IF_MAJORITY_IS_LOST, Role};
use support::{Cluster, Hub, List, decode, dir_of, eventually, plug, soon};

const CHILD: &str = "FOUNDATION_CONSENSUS_CHILD";

/// One of these tests at a time: one starts processes, and a process that was forked but has not yet become its program
/// still holds every lock of its parent.
async fn by_itself() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::metadata(path).unwrap().len() > 200)
        .collect();
    files.sort();
    files
}

async fn alone(dir: &Path) -> Result<(Arc<Engine>, Group), Error> {
    let hub: Arc<Hub> = Arc::default();
    let engine = plug(&hub, dir_of(dir))?;
    let group = engine
        .start_group(GroupConfig::new("g", ["alone"]), Box::new(List::default()))
        .await?;
    Ok((engine, group))
}

async fn all(group: &Group) -> Vec<String> {
    let answer = group
        .read(Bytes::new(), Consistency::Linearizable, soon(15))
        .await
        .unwrap();
    decode(answer)
        .iter()
        .map(|item| String::from_utf8_lossy(item).into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_a_restart() {
    let _by_itself = by_itself().await;
    let mut cluster = Cluster::tuned(3, true, |_, group| {
        group.snapshot_entries = 40;
        group.keep_entries = 10;
    })
    .await;
    for i in 0..150 {
        cluster.add(&cluster.names[i % 3], &format!("{i}")).await.unwrap();
    }
    for name in cluster.names.clone() {
        cluster.kill(&name).await;
    }
    for name in cluster.names.clone() {
        cluster.boot(&name, &[]).await.unwrap();
    }
    let expected: Vec<String> = (0..150).map(|i| i.to_string()).collect();
    assert_eq!(all(&cluster.group("n1")).await, expected);
    assert_eq!(cluster.add("n2", "150").await, Ok(150));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_was_stopped_has_let_go_of_its_log() {
    let _by_itself = by_itself().await;
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for _ in 0..5 {
        let (engine, group) = alone(dir.path()).await.unwrap();
        assert_eq!(all(&group).await.len(), count);
        // Under way, and with hands on the group, when the engine is stopped.
        let proposals = (0..50).map(|i| {
            let group = group.clone();
            tokio::spawn(async move { group.propose(None, format!("{i}").into(), soon(10)).await })
        });
        let proposals: Vec<_> = proposals.collect();
        group
            .propose(None, Bytes::from_static(b"x"), soon(10))
            .await
            .unwrap();
        engine.stop().await;
        let lock = fs::File::open(dir.path().join("log").join("lock")).unwrap();
        assert!(lock.try_lock().is_ok(), "nobody holds the log");
        drop(lock);
        for proposal in proposals {
            // Some outcome, soon.
            let _ = proposal.await.unwrap();
        }
        let (again, after) = alone(dir.path()).await.unwrap();
        count = all(&after).await.len();
        assert!(count > 0);
        again.stop().await;
        drop((engine, group));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_in_the_middle_stops_the_member() {
    let _by_itself = by_itself().await;
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = alone(dir.path()).await.unwrap();
    for i in 0..50 {
        group
            .propose(None, Bytes::from(format!("item {i}")), soon(5))
            .await
            .unwrap();
    }
    engine.stop().await;
    drop((engine, group));
    let file = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(7).position(|window| window == b"item 20").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let Err(error) = alone(dir.path()).await else {
        panic!("a damaged log must not be served")
    };
    assert!(
        matches!(error, Error::Log(foundation_storage::Error::Damaged(_))),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut() {
    let _by_itself = by_itself().await;
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = alone(dir.path()).await.unwrap();
    for i in 0..50 {
        group
            .propose(None, Bytes::from(format!("item {i}")), soon(5))
            .await
            .unwrap();
    }
    engine.stop().await;
    drop((engine, group));
    let file = segments(dir.path()).remove(0);
    let length = fs::metadata(&file).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(length - 3)
        .unwrap();
    let (engine, group) = alone(dir.path()).await.unwrap();
    let items = all(&group).await;
    assert!((48..50).contains(&items.len()), "{items:?}");
    group
        .propose(None, Bytes::from_static(b"on"), soon(5))
        .await
        .unwrap();
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_majority_is_recovered_from_by_word_only() {
    let _by_itself = by_itself().await;
    let mut cluster = Cluster::start(3, true).await;
    for i in 0..20 {
        cluster.add("n0", &format!("{i}")).await.unwrap();
    }
    eventually("all to apply", || cluster.items("n2").len() == 20).await;
    cluster.kill("n0").await;
    cluster.kill("n1").await;
    let engine = cluster.engines["n2"].clone();
    assert!(matches!(
        engine.recover("g", IF_MAJORITY_IS_LOST).await,
        Err(Error::Running(_))
    ));
    engine.stop_group("g").await;
    assert!(matches!(
        engine.recover("g", "please").await,
        Err(Error::Config(_))
    ));
    assert!(matches!(
        engine.recover("h", IF_MAJORITY_IS_LOST).await,
        Err(Error::Group { .. })
    ));
    engine.recover("g", IF_MAJORITY_IS_LOST).await.unwrap();
    let list = List::default();
    let group = engine
        .start_group(GroupConfig::new("g", ["n0", "n1", "n2"]), Box::new(list))
        .await
        .unwrap();
    assert_eq!(all(&group).await.len(), 20);
    let status = group.status();
    assert_eq!(
        (status.role, status.voters),
        (Role::Leader, vec!["n2".to_owned()])
    );
    cluster.names.push("n3".to_owned());
    cluster.boot("n3", &[]).await.unwrap();
    let voters = ["n2".to_owned(), "n3".to_owned()];
    group.change_members(&voters, soon(10)).await.unwrap();
    eventually("the new member to catch up", || cluster.items("n3").len() == 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_group_is_gone() {
    let _by_itself = by_itself().await;
    let dir = tempfile::tempdir().unwrap();
    let (engine, group) = alone(dir.path()).await.unwrap();
    group
        .propose(None, Bytes::from_static(b"x"), soon(5))
        .await
        .unwrap();
    engine.forget_group("g").await.unwrap();
    assert!(engine.stored_groups().is_empty());
    let again = engine
        .start_group(GroupConfig::new("g", ["alone"]), Box::new(List::default()))
        .await
        .unwrap();
    assert!(all(&again).await.is_empty());
    engine.stop().await;
}

/// Not a test by itself: the process that is killed. Three engines; prints what is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_cluster() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let hub: Arc<Hub> = Arc::default();
    let (engines, groups) = three(&hub, Path::new(&dir)).await;
    let run = std::process::id();
    let writers = (0..4).map(|writer| {
        let group = groups[writer % 3].clone();
        tokio::spawn(async move {
            for n in 0.. {
                let item = format!("{run}.{writer}.{n}");
                if group
                    .propose(None, Bytes::from(item.clone()), soon(10))
                    .await
                    .is_ok()
                {
                    let mut out = std::io::stdout().lock();
                    out.write_all(format!("\nacked {item}\n").as_bytes()).unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    drop(engines);
}

async fn three(hub: &Arc<Hub>, dir: &Path) -> (Vec<Arc<Engine>>, Vec<Group>) {
    let (mut engines, mut groups) = (Vec::new(), Vec::new());
    for name in ["n0", "n1", "n2"] {
        let mut config = dir_of(&dir.join(name));
        config.me = name.to_owned();
        config.segment_bytes = 256 << 10;
        let engine = plug(hub, config).unwrap();
        let mut config = GroupConfig::new("g", ["n0", "n1", "n2"]);
        config.snapshot_entries = 2_000;
        groups.push(
            engine
                .start_group(config, Box::new(List::default()))
                .await
                .unwrap(),
        );
        engines.push(engine);
    }
    (engines, groups)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_all_members_loses_nothing_acknowledged() {
    let _by_itself = by_itself().await;
    let dir = tempfile::tempdir().unwrap();
    let mut acked = BTreeSet::new();
    for round in 0..3u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_cluster", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let lines = lines.lines().map_while(Result::ok);
            lines
                .filter_map(|line| line.strip_prefix("acked ").map(str::to_owned))
                .collect::<Vec<_>>()
        });
        tokio::time::sleep(Duration::from_millis(2_000 + round * 300)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let new = reader.join().unwrap();
        assert!(!new.is_empty(), "the child did nothing in round {round}");
        acked.extend(new);
        let hub: Arc<Hub> = Arc::default();
        let (engines, groups) = three(&hub, dir.path()).await;
        let found = all(&groups[1]).await;
        let unique: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!(unique.len(), found.len(), "something is doubled");
        let lost: Vec<_> = acked.difference(&unique).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        for engine in engines {
            engine.stop().await;
        }
    }
    assert!(acked.len() > 100, "only {} proposals", acked.len());
}
