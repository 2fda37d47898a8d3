//! A node that said good-bye is gone, whatever of it is still under way; on real sockets.
#![allow(missing_docs)]

mod support;

use foundation_fabric::endpoint::Whereabouts;
use foundation_overlay::{Role, Topology};
use support::eventually;
use support::nodes::{Node, Plan, overlay};

fn plan() -> Plan {
    Plan::new(Topology::FullMesh, Role::Peer)
}

async fn two() -> (Node, Node) {
    let mut nodes = Node::cluster(&[("a@host", plan()), ("b@host", plan())]).await;
    let b = nodes.pop().unwrap();
    (nodes.pop().unwrap(), b)
}

/// Where `node` believes that one to be.
fn belief(node: &Node, of: &Node) -> Whereabouts {
    let peers = node.endpoint.peers();
    let found = peers.into_iter().find(|(name, _)| name == of.name());
    found.expect("it is known").1
}

fn is_up(node: &Node, of: &Node) -> bool {
    belief(node, of).up
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_opens_after_the_goodbye_brings_nobody_back() {
    let (a, b) = two().await;
    b.driver.leave().await;
    eventually("the good-bye is heard", || !is_up(&a, &b)).await;
    assert!(belief(&a, &b).left);
    // The first message, so its link is opened now.
    b.send(&a, b"my last words").unwrap();
    eventually("what it carries is taken", || a.count_from(&b) == 1).await;
    assert!(!is_up(&a, &b), "who left is not there for a link");
    // Nor for one of another channel, or in the other direction of the same life.
    let news = b.endpoint.outlet(a.name(), "news").unwrap();
    news.push(1, b"and some more", None).unwrap();
    eventually("that too", || a.count_from(&b) == 2).await;
    assert!(!is_up(&a, &b));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_life_is_believed_by_its_first_link() {
    let (a, b) = two().await;
    b.driver.leave().await;
    eventually("the good-bye is heard", || !is_up(&a, &b)).await;
    b.die();
    let again = Node::start("b@host", &plan()).await;
    again.endpoint.peer_up(a.endpoint.me(), a.addr());
    again.send(&a, b"here again").unwrap();
    eventually("the new life is known", || is_up(&a, &again)).await;
    let at = belief(&a, &again);
    assert_eq!(
        (at.boot, at.left, at.addr),
        (again.endpoint.me().boot, false, again.addr())
    );
    a.send(&again, b"welcome").unwrap();
    eventually("an answer", || again.count_from(&a) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_life_is_back_when_it_joins_again() {
    let (a, b) = two().await;
    b.driver.leave().await;
    eventually("the good-bye is heard", || !is_up(&a, &b)).await;
    let again = overlay(&b.endpoint, &plan()).await;
    again.join(&[a.addr()]).unwrap();
    eventually("it is a member again", || is_up(&a, &b)).await;
    a.send(&b, b"welcome").unwrap();
    eventually("a message", || b.count_from(&a) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_that_was_taken_for_dead_is_back_with_its_first_link() {
    let (a, b) = two().await;
    a.endpoint.peer_down(b.endpoint.me());
    assert!(!is_up(&a, &b) && !belief(&a, &b).left);
    b.send(&a, b"I was cut off").unwrap();
    eventually("what it says", || a.count_from(&b) == 1).await;
    assert!(is_up(&a, &b));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_goodbye_of_an_earlier_life_ends_no_later_one() {
    let (a, b) = two().await;
    let mut earlier = b.endpoint.me().clone();
    earlier.boot -= 1;
    a.endpoint.peer_left(&earlier);
    assert!(is_up(&a, &b));
    // Of one that is known by its address alone, as the configuration gives it, the good-bye says which life it was.
    let mut later = b.endpoint.me().clone();
    later.boot += 1;
    a.endpoint.peer_left(&later);
    assert_eq!((belief(&a, &b).boot, is_up(&a, &b)), (later.boot, false));
}
