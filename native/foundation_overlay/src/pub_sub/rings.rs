//! Where the subscribers of a topic stand on its rings.

use std::collections::BTreeSet;

use crate::types::NodeId;

/// A place on a ring of a topic: the same on every node that computes it.
fn place(topic: u32, ring: usize, node: &NodeId) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(topic) ^ ((ring as u64) << 32);
    for byte in node.name.as_str().bytes().chain(node.boot.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(mix(hash))
}

/// A bijection that spreads neighbouring numbers (the finaliser of splitmix64).
pub(crate) fn mix(mut hash: u64) -> u64 {
    hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The nodes beside `me` on each ring: O(rings × others).
pub(crate) fn beside<'a>(
    topic: u32,
    rings: usize,
    me: &NodeId,
    others: impl Iterator<Item = &'a NodeId> + Clone,
) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    for ring in 0..rings {
        let mine = place(topic, ring, me);
        let away = |node: &NodeId| place(topic, ring, node).wrapping_sub(mine);
        found.extend(others.clone().min_by_key(|node| (away(node), *node)).cloned());
        found.extend(others.clone().max_by_key(|node| (away(node), *node)).cloned());
    }
    found
}

/// The first `count` nodes after `me` on the first ring.
pub(crate) fn nearest<'a>(
    topic: u32,
    count: usize,
    me: &NodeId,
    others: impl Iterator<Item = &'a NodeId>,
) -> BTreeSet<NodeId> {
    let mine = place(topic, 0, me);
    let mut all: Vec<_> = others
        .map(|node| (place(topic, 0, node).wrapping_sub(mine), node))
        .collect();
    all.sort_unstable();
    all.into_iter()
        .take(count)
        .map(|(_, node)| node.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plumtree::tests::node;

    #[test]
    fn the_relation_is_symmetric_connected_and_of_bounded_degree() {
        let all: Vec<NodeId> = (0..200).map(|index| node(&format!("n{index}"))).collect();
        let beside = |me: &NodeId| beside(9, 2, me, all.iter().filter(|other| *other != me));
        let mut found = BTreeSet::from([all[0].clone()]);
        let mut queue = vec![all[0].clone()];
        while let Some(at) = queue.pop() {
            let links = beside(&at);
            assert!((2..=4).contains(&links.len()));
            for peer in links {
                assert!(beside(&peer).contains(&at), "both ends see the link");
                if found.insert(peer.clone()) {
                    queue.push(peer);
                }
            }
        }
        assert_eq!(found.len(), 200);
    }

    #[test]
    fn topics_have_orders_of_their_own() {
        let all: Vec<NodeId> = (0..50).map(|index| node(&format!("n{index}"))).collect();
        assert_ne!(
            beside(1, 2, &all[0], all[1..].iter()),
            beside(2, 2, &all[0], all[1..].iter())
        );
    }
}
