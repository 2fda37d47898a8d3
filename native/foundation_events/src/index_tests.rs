use super::*;
use crate::event::Event;
use crate::record::pack_with;
use crate::symbols;
use crate::uuid;
use proptest::prelude::*;

const STORIES: [&str; 3] = [
    "story",
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
];

#[derive(Debug, Clone)]
struct Plain {
    id: u64,
    timestamp: i64,
    kind: u8,
    node: Option<u8>,
    story: Option<usize>,
    parent: Option<u64>,
    size: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Store(Plain),
    Remove(u64),
}

/// Few ids and fewer timestamps: most events take the place of another.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (
        (1..8_u64, 0..2_i64, 0..2_u8, prop::option::of(0..2_u8)),
        prop::option::weighted(0.8, 0..STORIES.len()),
        prop::option::of(1..3_u64),
        0..100_usize,
    )
        .prop_map(|((id, timestamp, kind, node), story, parent, size)| Plain {
            id,
            timestamp,
            kind,
            node,
            story,
            parent,
            size,
        });
    let step = prop_oneof![9 => event.prop_map(Step::Store), 1 => (1..8_u64).prop_map(Step::Remove)];
    prop::collection::vec(step, 1..60)
}

fn kind(n: u8) -> Symbol {
    symbols::intern(&format!("kind{n}"))
}

fn node(n: u8) -> Symbol {
    symbols::intern(&format!("node{n}@host"))
}

fn store(index: &mut Index, plain: &Plain, seq: u64) {
    let data = vec![106; plain.size];
    let event = Event {
        id: plain.id,
        timestamp: plain.timestamp,
        kind: kind(plain.kind),
        node: plain.node.map(node),
        wall: None,
        pid: None,
        correlation: plain.story.map(|s| STORIES[s].as_bytes()),
        parent: plain.parent,
        data: &data,
    };
    let uuid = event.correlation.and_then(uuid::parse);
    let mut record = Vec::new();
    pack_with(&event, uuid, 0, Names::Interned, &mut record);
    index.insert(&Keys::of_event(&event, uuid), &record, seq);
}

fn listed(index: &Index, list: List<'_>) -> Vec<u64> {
    index
        .walk(list, None)
        .map(|slot| index.slots.get(slot).id)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever takes the place of an event arrives last, in every list that it is in from then on.
    #[test]
    fn lists_are_in_order_of_arrival(steps in steps()) {
        let (mut index, mut model) = (Index::default(), Vec::<Plain>::new());
        for (seq, step) in steps.iter().enumerate() {
            match step {
                Step::Store(plain) => {
                    model.retain(|e| e.id != plain.id);
                    model.push(plain.clone());
                    store(&mut index, plain, seq as u64);
                }
                Step::Remove(id) => {
                    model.retain(|e| e.id != *id);
                    if let Some(slot) = index.find(*id) {
                        index.remove(slot);
                    }
                }
            }
            let wanted = |f: &dyn Fn(&Plain) -> bool| -> Vec<u64> {
                model.iter().filter(|e| f(e)).map(|e| e.id).collect()
            };
            for (s, text) in STORIES.iter().enumerate() {
                let list = List::Correlation(Correlation::of(text.as_bytes()));
                prop_assert_eq!(listed(&index, list), wanted(&|e| e.story == Some(s)), "{}", text);
            }
            for parent in 1..3 {
                prop_assert_eq!(listed(&index, List::Parent(parent)), wanted(&|e| e.parent == Some(parent)));
            }
            for n in 0..2 {
                let (of_kind, of_node) = (wanted(&|e| e.kind == n), wanted(&|e| e.node == Some(n)));
                prop_assert_eq!(index.count(List::Kind(kind(n)), 0), of_kind.len());
                prop_assert_eq!(index.count(List::Node(node(n)), 0), of_node.len());
                prop_assert_eq!(listed(&index, List::Kind(kind(n))), of_kind);
                prop_assert_eq!(listed(&index, List::Node(node(n))), of_node);
            }
            let arrivals: Vec<u64> = index.arrivals().map(|slot| index.slots.get(slot).id).collect();
            prop_assert_eq!(arrivals, wanted(&|_| true));
        }
    }
}
