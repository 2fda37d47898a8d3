//! Splits the members among the stages of a staged broadcast.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::types::NodeId;

/// The members strictly between two nodes of the ring of identities, going up from `after` and around.
///
/// With `after == until` that is everyone else.
fn between<'a>(
    members: &'a BTreeSet<NodeId>,
    after: &NodeId,
    until: &NodeId,
) -> Box<dyn Iterator<Item = &'a NodeId> + 'a> {
    if after < until {
        Box::new(members.range((Bound::Excluded(after.clone()), Bound::Excluded(until.clone()))))
    } else {
        let rest = members.range((Bound::Excluded(after.clone()), Bound::Unbounded));
        let around = members.range((Bound::Unbounded, Bound::Excluded(until.clone())));
        Box::new(rest.chain(around))
    }
}

/// Whom to send to, each with the end of its part: at most `fanout` parts of about equal size.
pub(crate) fn split(
    members: &BTreeSet<NodeId>,
    me: &NodeId,
    until: &NodeId,
    fanout: usize,
) -> Vec<(NodeId, NodeId)> {
    let part: Vec<&NodeId> = between(members, me, until).filter(|node| *node != me).collect();
    let parts = fanout.max(1).min(part.len());
    let start = |index: usize| index * part.len() / parts;
    (0..parts)
        .map(|index| {
            let end = if index + 1 == parts {
                until
            } else {
                part[start(index + 1)]
            };
            (part[start(index)].clone(), end.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::plumtree::tests::node;

    /// Runs all stages; how often each member was reached, and after how many hops at most.
    fn reach(members: &BTreeSet<NodeId>, origin: &NodeId, fanout: usize) -> (BTreeMap<NodeId, usize>, usize) {
        let mut reached = BTreeMap::new();
        let mut queue = VecDeque::from([(origin.clone(), origin.clone(), 0)]);
        let mut depth = 0;
        while let Some((at, until, hops)) = queue.pop_front() {
            depth = depth.max(hops);
            for (next, end) in split(members, &at, &until, fanout) {
                *reached.entry(next.clone()).or_insert(0) += 1;
                queue.push_back((next, end, hops + 1));
            }
        }
        (reached, depth)
    }

    proptest! {
        #[test]
        fn each_member_is_reached_once(count in 1usize..120, origin in 0usize..120, fanout in 1usize..10) {
            let members: BTreeSet<NodeId> = (0..count).map(|index| node(&format!("n{index}"))).collect();
            let origin = node(&format!("n{}", origin % count));
            let (reached, _) = reach(&members, &origin, fanout);
            let expected: BTreeMap<NodeId, usize> =
                members.iter().filter(|member| **member != origin).map(|member| (member.clone(), 1)).collect();
            prop_assert_eq!(reached, expected);
        }
    }

    #[test]
    fn the_depth_is_logarithmic() {
        let members: BTreeSet<NodeId> = (0..1000).map(|index| node(&format!("n{index}"))).collect();
        let (reached, depth) = reach(&members, &node("n500"), 8);
        assert_eq!(reached.len(), 999);
        assert!(depth <= 4, "depth {depth}");
    }

    #[test]
    fn an_origin_that_is_not_a_member_reaches_everyone() {
        let members: BTreeSet<NodeId> = (0..50).map(|index| node(&format!("n{index}"))).collect();
        assert_eq!(reach(&members, &node("stranger"), 4).0.len(), 50);
    }
}
