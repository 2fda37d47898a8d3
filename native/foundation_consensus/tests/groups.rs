//! Groups of engines in one process: what a proposal, a query and a change of members promise.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use foundation_consensus::{ChangeError, Consistency, GroupConfig, ProposeError, ReadError, Role, Session};
use support::{Cluster, Hub, List, decode, eventually, plug, soon};

fn network() -> (Arc<Hub>, foundation_consensus::EngineConfig) {
    (Arc::default(), foundation_consensus::EngineConfig::new("alone"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_needs_nobody() {
    let cluster = Cluster::start(1, true).await;
    for i in 0..20 {
        assert_eq!(cluster.add("n0", &format!("{i}")).await, Ok(i));
    }
    let status = cluster.group("n0").status();
    assert_eq!(
        (status.role, status.voters),
        (Role::Leader, vec!["n0".to_owned()])
    );
    let all = cluster
        .group("n0")
        .read(Bytes::new(), Consistency::Linearizable, soon(5))
        .await
        .unwrap();
    assert_eq!(decode(all).len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_takes_proposals_and_all_apply_the_same() {
    let cluster = Cluster::start(3, true).await;
    cluster.leader().await;
    for i in 0..30 {
        let at = &cluster.names[i % 3];
        assert_eq!(cluster.add(at, &format!("{i}")).await, Ok(i as u64));
    }
    for name in &cluster.names {
        eventually("all to apply", || cluster.items(name).len() == 30).await;
        assert_eq!(cluster.items(name), cluster.items("n0"));
    }
    let times = cluster.lists["n0"].times.lock().clone();
    assert!(times.is_sorted(), "time goes back: {times:?}");
    assert_eq!(times, *cluster.lists["n1"].times.lock());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_what_was_replied_wherever_they_are_asked() {
    let cluster = Cluster::start(3, false).await;
    cluster.leader().await;
    for i in 0..30usize {
        cluster.add(&cluster.names[i % 3], "x").await.unwrap();
        let at = cluster.group(&cluster.names[(i + 1) % 3]);
        let consistency = if i % 2 == 0 {
            Consistency::Linearizable
        } else {
            Consistency::Lease
        };
        let seen = decode(at.read(Bytes::new(), consistency, soon(5)).await.unwrap());
        assert_eq!(seen.len(), i + 1, "{consistency:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_and_the_leader_are_a_majority_of_three() {
    let cluster = Cluster::start(3, false).await;
    let leader = cluster.leader().await;
    let others: Vec<_> = cluster.names.iter().filter(|name| **name != leader).collect();
    cluster.add(&leader, "x").await.unwrap();
    // The third is gone for good, and its answer is not missed.
    cluster.hub.unplug(others[1]);
    for _ in 0..20 {
        let read = |at: &str| {
            let group = cluster.group(at);
            async move { group.read(Bytes::new(), Consistency::Linearizable, soon(5)).await }
        };
        assert_eq!(decode(read(others[0]).await.unwrap()).len(), 1);
        assert_eq!(decode(read(&leader).await.unwrap()).len(), 1);
    }
    // Nobody is left to agree.
    cluster.hub.isolate(&leader, &cluster.names);
    let alone = cluster.group(&leader);
    let refused = alone.read(Bytes::new(), Consistency::Linearizable, soon(1)).await;
    assert!(
        matches!(refused, Err(ReadError::Timeout | ReadError::NoLeader)),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_queries_share_rounds_and_all_are_answered() {
    let cluster = Cluster::start(3, false).await;
    let leader = cluster.leader().await;
    cluster.add(&leader, "x").await.unwrap();
    let queries = (0..500usize).map(|i| {
        let group = cluster.group(&cluster.names[i % 3]);
        tokio::spawn(async move {
            group
                .read(Bytes::new(), Consistency::Linearizable, soon(10))
                .await
        })
    });
    for query in queries.collect::<Vec<_>>() {
        assert_eq!(decode(query.await.unwrap().unwrap()).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_and_a_new_leader_goes_on() {
    let cluster = Cluster::start(3, true).await;
    let old = cluster.leader().await;
    cluster.add(&old, "before").await.unwrap();
    cluster.hub.isolate(&old, &cluster.names);
    let others: Vec<_> = cluster
        .names
        .iter()
        .filter(|name| **name != old)
        .cloned()
        .collect();
    let session = Some(Session { client: 1, seq: 1 });
    assert_eq!(cluster.add_as(&others[0], session, "after").await, Ok(1));
    let lost = cluster
        .group(&old)
        .propose(None, Bytes::from_static(b"lost"), soon(1))
        .await;
    assert!(
        matches!(lost, Err(ProposeError::NoLeader | ProposeError::Unknown)),
        "{lost:?}"
    );
    let stale = cluster
        .group(&old)
        .read(Bytes::new(), Consistency::Linearizable, soon(1))
        .await;
    assert!(
        matches!(stale, Err(ReadError::NoLeader | ReadError::Timeout)),
        "{stale:?}"
    );
    cluster.hub.heal();
    eventually("the old leader to follow", || cluster.items(&old).len() == 2).await;
    assert_eq!(cluster.items(&old), ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_proposal_counts_once() {
    let cluster = Cluster::start(3, false).await;
    cluster.leader().await;
    let session = |seq| Some(Session { client: 7, seq });
    assert_eq!(cluster.add_as("n0", session(1), "one").await, Ok(0));
    assert_eq!(cluster.add_as("n1", session(1), "one").await, Ok(0));
    assert_eq!(cluster.add_as("n2", session(3), "three").await, Ok(1));
    assert_eq!(
        cluster.add_as("n2", session(2), "two").await,
        Ok(2),
        "numbers may overtake each other"
    );
    assert_eq!(cluster.add_as("n2", session(3), "three").await, Ok(1));
    assert_eq!(cluster.add_as("n0", session(1_000), "far").await, Ok(3));
    assert_eq!(
        cluster.add_as("n0", session(3), "three").await,
        Err(ProposeError::Stale)
    );
    let leader = cluster.leader().await;
    assert_eq!(cluster.items(&leader), ["one", "three", "two", "far"]);
    assert_eq!(cluster.group(&leader).status().sessions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_across_a_change_of_leader() {
    let mut cluster = Cluster::start(3, true).await;
    let old = cluster.leader().await;
    let at = cluster.follower().await;
    let group = cluster.group(&at);
    let proposals = (1..=40u64).map(|seq| {
        let group = group.clone();
        let session = Some(Session { client: 9, seq });
        tokio::spawn(async move {
            group
                .propose(session, Bytes::from(format!("{seq}")), soon(20))
                .await
        })
    });
    let proposals: Vec<_> = proposals.collect();
    cluster.kill(&old).await;
    for proposal in proposals {
        proposal.await.unwrap().expect("a session retries until it knows");
    }
    // The leader has answered; here it is applied a little later.
    eventually("all of them", || cluster.items(&at).len() >= 40).await;
    let mut items = cluster.items(&at);
    items.sort_by_key(|item| item.parse::<u64>().unwrap());
    let expected: Vec<_> = (1..=40).map(|seq| seq.to_string()).collect();
    assert_eq!(items, expected, "nothing is lost and nothing counts twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go() {
    let mut cluster = Cluster::start(3, true).await;
    for i in 0..10 {
        cluster.add("n0", &format!("{i}")).await.unwrap();
    }
    cluster.names.push("n3".to_owned());
    cluster.boot("n3", &[]).await.unwrap();
    let group = cluster.group("n1");
    group.add_learner("n3", soon(10)).await.unwrap();
    eventually("the learner to catch up", || cluster.items("n3").len() == 10).await;
    assert_eq!(cluster.group("n3").status().role, Role::Learner);
    let voters: Vec<String> = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
    group.change_members(&voters, soon(10)).await.unwrap();
    cluster.kill("n0").await;
    assert_eq!(cluster.add("n3", "last").await, Ok(10));
    let leader = cluster.leader().await;
    let status = cluster.group(&leader).status();
    assert_eq!((status.voters, status.joint), (voters, false));
    assert_eq!(
        group.change_members(&[], soon(1)).await,
        Err(ChangeError::Invalid("a group needs a voter".into()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_it_is_wanted() {
    let cluster = Cluster::start(3, true).await;
    let old = cluster.leader().await;
    let to = cluster.follower().await;
    let watch = cluster.group(&to).watch();
    let asked = cluster.group(&old).transfer_leadership(&to, soon(10)).await;
    assert_eq!(asked, Ok(()));
    assert_eq!(cluster.leader().await, to);
    assert_eq!(watch.borrow().node.as_deref(), Some(to.as_str()));
    let nobody = cluster.group(&old).transfer_leadership("nobody", soon(5)).await;
    assert!(matches!(nobody, Err(ChangeError::Invalid(_))), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_far_behind_gets_a_snapshot_in_pieces() {
    let mut cluster = Cluster::tuned(3, true, |engine, group| {
        engine.snapshot_chunk = 4_096;
        group.snapshot_entries = 50;
        group.keep_entries = 5;
    })
    .await;
    let behind = cluster.follower().await;
    cluster.kill(&behind).await;
    let at = cluster.leader().await;
    let big = "x".repeat(500);
    for i in 0..200 {
        cluster.add(&at, &format!("{i} {big}")).await.unwrap();
    }
    eventually("the log to be cut", || {
        cluster
            .group(&at)
            .status()
            .purged
            .is_some_and(|index| index > 100)
    })
    .await;
    cluster.boot(&behind, &[]).await.unwrap();
    eventually("it to catch up", || cluster.items(&behind).len() == 200).await;
    assert_eq!(cluster.items(&behind), cluster.items(&at));
    assert!(cluster.group(&behind).status().snapshot.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_share_an_engine() {
    let (hub, config) = network();
    let engine = plug(&hub, config).unwrap();
    for i in 0..100 {
        let config = GroupConfig::new(format!("group {i}"), ["alone"]);
        engine
            .start_group(config, Box::new(List::default()))
            .await
            .unwrap();
    }
    assert_eq!(engine.groups().len(), 100);
    for group in engine.groups() {
        group
            .propose(None, Bytes::from_static(b"x"), soon(10))
            .await
            .unwrap();
    }
    assert!(engine.stop_group("group 7").await);
    assert!(engine.group("group 7").is_none());
    assert_eq!(engine.stored_groups().len(), 100);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_at_once_is_busy_and_too_large_is_refused() {
    let cluster = Cluster::tuned(3, false, |_, group| {
        group.max_in_flight = 4;
        group.max_command = 100;
    })
    .await;
    let leader = cluster.leader().await;
    cluster.hub.isolate(&leader, &cluster.names);
    let group = cluster.group(&leader);
    let waiting = (0..4).map(|_| {
        let group = group.clone();
        tokio::spawn(async move { group.propose(None, Bytes::from_static(b"x"), soon(2)).await })
    });
    let waiting: Vec<_> = waiting.collect();
    eventually("four to wait", || group.status().in_flight == 4).await;
    let fifth = group.propose(None, Bytes::from_static(b"x"), soon(2)).await;
    assert_eq!(fifth, Err(ProposeError::Busy));
    for proposal in waiting {
        assert!(proposal.await.unwrap().is_err());
    }
    let large = group.propose(None, Bytes::from(vec![0; 101]), soon(2)).await;
    assert_eq!(large, Err(ProposeError::TooLarge));
}
