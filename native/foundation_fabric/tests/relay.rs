//! Channels between nodes that are not linked: over others, on real sockets.
#![allow(missing_docs)]

mod support;

use bytes::Bytes;
use foundation_fabric::channel::Settings;
use foundation_fabric::{Error, Outcome};
use foundation_overlay::{Role, Route, Topology};
use std::time::Duration;
use support::eventually;
use support::nodes::{Node, Plan};

fn client_server(role: Role) -> Plan {
    Plan::new(Topology::ClientServer, role)
}

async fn two_servers_three_clients() -> Vec<Node> {
    let (server, client) = (client_server(Role::Server), client_server(Role::Client));
    let plans = [
        ("s1@host", server.clone()),
        ("s2@host", server),
        ("c1@host", client.clone()),
        ("c2@host", client.clone()),
        ("c3@host", client),
    ];
    Node::cluster(&plans).await
}

fn numbers(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_le_bytes().to_vec()).collect()
}

async fn send_numbers(from: &Node, to: &Node, range: std::ops::Range<u32>) {
    for n in range {
        while let Err(error) = from.send(to, &n.to_le_bytes()) {
            assert!(matches!(error, Error::Busy), "{error:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn clients_never_dialled_clients(nodes: &[Node]) {
    for from in &nodes[2..] {
        for to in &nodes[2..] {
            assert!(!from.dialled(to), "{} dialled {}", from.name(), to.name());
        }
    }
}

fn relayed(nodes: &[Node]) -> u64 {
    nodes.iter().map(|node| node.endpoint.relayed().relayed).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_relay_between_clients_in_order_and_once() {
    let nodes = two_servers_three_clients().await;
    for (from, to) in [(2, 3), (3, 2), (4, 2)] {
        send_numbers(&nodes[from], &nodes[to], 0..2_000).await;
    }
    for (from, to) in [(2, 3), (3, 2), (4, 2)] {
        eventually("all arrived", || nodes[to].count_from(&nodes[from]) >= 2_000).await;
        assert_eq!(nodes[to].got(&nodes[from]), numbers(2_000));
    }
    clients_never_dialled_clients(&nodes);
    assert!(relayed(&nodes[..2]) >= 3 && relayed(&nodes[2..]) == 0);
    // Client and server speak directly, both ways.
    send_numbers(&nodes[2], &nodes[0], 0..10).await;
    send_numbers(&nodes[0], &nodes[2], 0..10).await;
    eventually("both arrived", || {
        nodes[0].count_from(&nodes[2]) == 10 && nodes[2].count_from(&nodes[0]) == 10
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_acknowledged_end_to_end() {
    let nodes = two_servers_three_clients().await;
    nodes[2].send_asking(&nodes[3], b"are you there?", 77).unwrap();
    let told = || nodes[2].recorder.told.lock().unwrap().clone();
    eventually("an answer", || !told().is_empty()).await;
    assert_eq!(told(), [(77, Outcome::Delivered)]);
    assert_eq!(nodes[3].got(&nodes[2]), [b"are you there?".to_vec()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_is_relayed_whole() {
    let nodes = two_servers_three_clients().await;
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let outlet = nodes[2].endpoint.outlet(nodes[4].name(), "data").unwrap();
    outlet
        .push_large(1, vec![Bytes::from(bytes.clone())], None)
        .unwrap();
    // Another channel does not wait for it.
    let news = nodes[2].endpoint.outlet(nodes[4].name(), "news").unwrap();
    news.push(1, b"meanwhile", None).unwrap();
    eventually("both", || nodes[4].count_from(&nodes[2]) == 2).await;
    let got = nodes[4].got(&nodes[2]);
    assert!(got.contains(&bytes) && got.contains(&b"meanwhile".to_vec()));
    clients_never_dialled_clients(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_relay_dies_another_takes_over_and_nothing_is_lost() {
    let nodes = two_servers_three_clients().await;
    send_numbers(&nodes[2], &nodes[3], 0..500).await;
    eventually("some arrived", || nodes[3].count_from(&nodes[2]) >= 100).await;
    let carrying = (0..2)
        .find(|at| nodes[*at].endpoint.relayed().relaying > 0)
        .unwrap();
    send_numbers(&nodes[2], &nodes[3], 500..1_000).await;
    nodes[carrying].die();
    send_numbers(&nodes[2], &nodes[3], 1_000..1_500).await;
    eventually("all arrived", || nodes[3].count_from(&nodes[2]) >= 1_500).await;
    assert_eq!(nodes[3].got(&nodes[2]), numbers(1_500));
    assert!(nodes[1 - carrying].endpoint.relayed().relayed > 0);
    clients_never_dialled_clients(&nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_is_held_back_when_the_receiver_is() {
    let settings = Settings {
        max_messages: 2_000,
        window_messages: 100,
        ..Plan::new(Topology::ClientServer, Role::Client).settings
    };
    let plan = |role| Plan {
        settings: settings.clone(),
        ..client_server(role)
    };
    let plans = [
        ("s1@host", plan(Role::Server)),
        ("c1@host", plan(Role::Client)),
        ("c2@host", plan(Role::Client)),
    ];
    let nodes = Node::cluster(&plans).await;
    nodes[2].endpoint.pause("data", true);
    let mut sent = 0_u32;
    while nodes[1].send(&nodes[2], &sent.to_le_bytes()).is_ok() {
        sent += 1;
        assert!(sent < 100_000, "the queue fills");
        if sent.is_multiple_of(500) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    nodes[2].endpoint.pause("data", false);
    send_numbers(&nodes[1], &nodes[2], sent..sent + 500).await;
    eventually("all arrived", || {
        nodes[2].count_from(&nodes[1]) as u32 == sent + 500
    })
    .await;
    assert_eq!(nodes[2].got(&nodes[1]), numbers(sent + 500));
}

fn views(max_dialled: usize) -> Plan {
    Plan {
        max_dialled,
        ..Plan::new(Topology::HyParView, Role::Peer)
    }
}

async fn views_of(count: usize, plan: &Plan) -> Vec<Node> {
    let names: Vec<_> = (0..count).map(|n| format!("v{n:02}@host")).collect();
    let plans: Vec<_> = names.iter().map(|name| (&**name, plan.clone())).collect();
    Node::cluster(&plans).await
}

/// Whether the first node has a link to that one, be it one that is about to be closed.
fn linked(nodes: &[Node], at: usize) -> bool {
    nodes[0].driver.route(nodes[at].endpoint.me()) == Route::Direct
}

/// A node that the first one has no link to.
fn stranger(nodes: &[Node]) -> usize {
    (1..nodes.len()).find(|at| !linked(nodes, *at)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_views_dial_on_demand_while_they_may() {
    let nodes = views_of(12, &views(1_000)).await;
    let to = stranger(&nodes);
    send_numbers(&nodes[0], &nodes[to], 0..100).await;
    eventually("all arrived", || nodes[to].count_from(&nodes[0]) == 100).await;
    assert!(nodes[0].dialled(&nodes[to]));
    assert_eq!(relayed(&nodes), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_views_relay_through_neighbours_beyond_that() {
    let nodes = views_of(12, &views(0)).await;
    let to = stranger(&nodes);
    let before = nodes[0].transport.dialled.lock().unwrap().len();
    // Views change: who becomes a neighbour, be it for a moment, may be dialled.
    let mut met = false;
    let sending = async {
        send_numbers(&nodes[0], &nodes[to], 0..1_000).await;
        eventually("all arrived", || nodes[to].count_from(&nodes[0]) == 1_000).await;
    };
    let watching = async {
        loop {
            met |= linked(&nodes, to);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = sending => {}
        () = watching => {}
    }
    assert_eq!(nodes[to].got(&nodes[0]), numbers(1_000));
    let dialled = nodes[0].transport.dialled.lock().unwrap()[before..].to_vec();
    assert!(met || !dialled.contains(&(nodes[to].addr(), "data".to_owned())));
    assert!(relayed(&nodes) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_dialled_is_reached_over_others_in_any_topology() {
    let plan = Plan::new(Topology::HyParView, Role::Peer);
    let nodes = views_of(12, &plan).await;
    let to = stranger(&nodes);
    nodes[0].transport.blocked.lock().unwrap().push(nodes[to].addr());
    send_numbers(&nodes[0], &nodes[to], 0..500).await;
    eventually("all arrived", || nodes[to].count_from(&nodes[0]) == 500).await;
    assert_eq!(nodes[to].got(&nodes[0]), numbers(500));
    assert!(relayed(&nodes) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_follow_the_topology_when_it_changes() {
    let nodes = two_servers_three_clients().await;
    send_numbers(&nodes[2], &nodes[3], 0..100).await;
    eventually("relayed", || nodes[3].count_from(&nodes[2]) == 100).await;
    nodes[0].driver.switch(Topology::FullMesh).unwrap();
    let relaying = || {
        let of = |node: &Node| node.endpoint.relayed().relaying;
        nodes.iter().map(of).sum::<u64>()
    };
    eventually("directly now", || nodes[2].dialled(&nodes[3]) && relaying() == 0).await;
    send_numbers(&nodes[2], &nodes[3], 100..200).await;
    nodes[0].driver.switch(Topology::ClientServer).unwrap();
    eventually("relayed again", || relaying() == 1).await;
    send_numbers(&nodes[2], &nodes[3], 200..300).await;
    eventually("all arrived", || nodes[3].count_from(&nodes[2]) >= 300).await;
    assert_eq!(nodes[3].got(&nodes[2]), numbers(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_carries_no_more_than_it_is_told_to() {
    let mut server = client_server(Role::Server);
    server.max_relayed = 1;
    let client = client_server(Role::Client);
    let plans = [
        ("s1@host", server),
        ("c1@host", client.clone()),
        ("c2@host", client.clone()),
        ("c3@host", client),
    ];
    let nodes = Node::cluster(&plans).await;
    send_numbers(&nodes[1], &nodes[2], 0..10).await;
    eventually("the first one goes", || nodes[2].count_from(&nodes[1]) == 10).await;
    send_numbers(&nodes[1], &nodes[3], 0..10).await;
    eventually("the second one is refused", || {
        nodes[0].endpoint.relayed().refused >= 2
    })
    .await;
    assert_eq!(nodes[3].count_from(&nodes[1]), 0);
    assert!(!nodes[1].dialled(&nodes[3]));
}
