//! The store and its query engine against a plain list of events.

use foundation_events::query::{Basic, Query};
use foundation_events::{Event, Store, symbols};
use proptest::prelude::*;
use std::cmp::Ordering;

#[derive(Debug, Clone, PartialEq)]
struct Plain {
    id: u64,
    timestamp: i64,
    kind: u8,
    node: Option<u8>,
    correlation: Option<u8>,
    parent: Option<u64>,
    amount: Option<i32>,
    text: String,
}

impl Plain {
    fn kind_name(&self) -> String {
        format!("kind{}", self.kind)
    }

    fn correlation_text(&self) -> Option<String> {
        self.correlation.map(|c| match c % 2 {
            0 => format!("story {c}"),
            _ => format!("00000000-0000-4000-8000-0000000000{c:02x}"),
        })
    }

    fn data(&self) -> Vec<u8> {
        let mut pairs = vec![(atom("text"), binary(self.text.as_bytes()))];
        if let Some(amount) = self.amount {
            pairs.push((atom("amount"), int(i64::from(amount))));
        }
        [vec![131], map(&pairs)].concat()
    }

    fn store(&self, store: &Store) {
        let (data, correlation) = (self.data(), self.correlation_text());
        let event = Event {
            id: self.id,
            timestamp: self.timestamp,
            kind: symbols::intern(&self.kind_name()),
            node: self.node.map(|n| symbols::intern(&format!("node{n}@host"))),
            wall: None,
            pid: None,
            correlation: correlation.as_deref().map(str::as_bytes),
            parent: self.parent,
            data: &data,
        };
        store
            .store(&[event], 0, false)
            .expect("a store in memory takes every event");
    }
}

fn atom(name: &str) -> Vec<u8> {
    [&[119, name.len() as u8], name.as_bytes()].concat()
}

fn int(n: i64) -> Vec<u8> {
    match i32::try_from(n) {
        Ok(n) => [&[98][..], &n.to_be_bytes()].concat(),
        Err(_) => [&[110, 8, u8::from(n < 0)][..], &n.unsigned_abs().to_le_bytes()].concat(),
    }
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    [&[109][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [vec![104, parts.len() as u8], parts.concat()].concat()
}

fn list(parts: &[Vec<u8>]) -> Vec<u8> {
    if parts.is_empty() {
        return vec![106];
    }
    [
        &[108][..],
        &(parts.len() as u32).to_be_bytes(),
        &parts.concat(),
        &[106],
    ]
    .concat()
}

fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = pairs
        .iter()
        .flat_map(|(k, v)| [k.clone(), v.clone()].concat())
        .collect();
    [&[116][..], &(pairs.len() as u32).to_be_bytes(), &body].concat()
}

#[derive(Debug, Clone)]
enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Kind(u8),
    Correlation(u8),
    Parent(u64),
    Node(u8),
    Id(u64),
    Time(&'static str, i64),
    Amount(&'static str, i32),
    Prefix(String),
    Exists,
}

impl Cond {
    fn term(&self) -> Vec<u8> {
        let test = |op: &str, path: Vec<u8>, value: Vec<u8>| tuple(&[atom(op), path, value]);
        let data = |key: &str| list(&[atom("data"), atom(key)]);
        match self {
            Cond::And(all) => tuple(&[atom("and"), list(&all.iter().map(Cond::term).collect::<Vec<_>>())]),
            Cond::Or(any) => tuple(&[atom("or"), list(&any.iter().map(Cond::term).collect::<Vec<_>>())]),
            Cond::Not(inner) => tuple(&[atom("not"), inner.term()]),
            Cond::Kind(k) => test("==", atom("event_type"), atom(&format!("kind{k}"))),
            Cond::Correlation(c) => {
                let text = Plain {
                    correlation: Some(*c),
                    ..plain()
                }
                .correlation_text()
                .unwrap_or_default();
                test("==", atom("correlation_id"), binary(text.as_bytes()))
            }
            Cond::Parent(p) => test("==", atom("parent_id"), int(*p as i64)),
            Cond::Node(n) => test("==", atom("node"), atom(&format!("node{n}@host"))),
            Cond::Id(id) => test("==", atom("event_id"), int(*id as i64)),
            Cond::Time(op, t) => test(op, atom("timestamp"), int(*t)),
            Cond::Amount(op, a) => test(op, data("amount"), int(i64::from(*a))),
            Cond::Prefix(p) => test("prefix", data("text"), binary(p.as_bytes())),
            Cond::Exists => tuple(&[atom("exists"), data("amount")]),
        }
    }

    fn holds(&self, e: &Plain) -> bool {
        let compare = |op: &str, order: Ordering| match op {
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            _ => order.is_ge(),
        };
        match self {
            Cond::And(all) => all.iter().all(|c| c.holds(e)),
            Cond::Or(any) => any.iter().any(|c| c.holds(e)),
            Cond::Not(inner) => !inner.holds(e),
            Cond::Kind(k) => e.kind == *k,
            Cond::Correlation(c) => e.correlation == Some(*c),
            Cond::Parent(p) => e.parent == Some(*p),
            Cond::Node(n) => e.node == Some(*n),
            Cond::Id(id) => e.id == *id,
            Cond::Time(op, t) => compare(op, e.timestamp.cmp(t)),
            Cond::Amount(op, a) => e.amount.is_some_and(|x| compare(op, x.cmp(a))),
            Cond::Prefix(p) => e.text.starts_with(p.as_str()),
            Cond::Exists => e.amount.is_some(),
        }
    }
}

fn plain() -> Plain {
    Plain {
        id: 1,
        timestamp: 0,
        kind: 0,
        node: None,
        correlation: None,
        parent: None,
        amount: None,
        text: String::new(),
    }
}

fn events() -> impl Strategy<Value = Vec<Plain>> {
    let event = (
        1u64..60,
        -5i64..20,
        0u8..4,
        prop::option::of(0u8..3),
        prop::option::of(0u8..5),
        prop::option::of(1u64..6),
        prop::option::of(-3i32..4),
        "[ab]{0,3}",
    )
        .prop_map(
            |(id, timestamp, kind, node, correlation, parent, amount, text)| Plain {
                id,
                timestamp,
                kind,
                node,
                correlation,
                parent,
                amount,
                text,
            },
        );
    prop::collection::vec(event, 0..120)
}

fn conds() -> impl Strategy<Value = Cond> {
    let op = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (0u8..5).prop_map(Cond::Kind),
        (0u8..6).prop_map(Cond::Correlation),
        (1u64..7).prop_map(Cond::Parent),
        (0u8..4).prop_map(Cond::Node),
        (1u64..62).prop_map(Cond::Id),
        (op.clone(), -6i64..21).prop_map(|(op, t)| Cond::Time(op, t)),
        (op, -4i32..5).prop_map(|(op, a)| Cond::Amount(op, a)),
        "[ab]{0,2}".prop_map(Cond::Prefix),
        Just(Cond::Exists),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Cond::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Cond::Or),
            inner.prop_map(|c| Cond::Not(Box::new(c))),
        ]
    })
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Time(bool),
    Amount(bool),
    Id(bool),
}

impl Order {
    fn term(self) -> Vec<u8> {
        let (descending, path) = match self {
            Order::Time(d) => (d, atom("timestamp")),
            Order::Amount(d) => (d, list(&[atom("data"), atom("amount")])),
            Order::Id(d) => (d, atom("event_id")),
        };
        list(&[tuple(&[atom(if descending { "desc" } else { "asc" }), path])])
    }

    fn compare(self, a: &Plain, b: &Plain) -> Ordering {
        match self {
            Order::Time(d) => reversed((a.timestamp, a.id).cmp(&(b.timestamp, b.id)), d),
            Order::Id(d) => reversed(a.id.cmp(&b.id), d),
            Order::Amount(d) => match (a.amount, b.amount) {
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (x, y) => reversed(x.cmp(&y).then(a.id.cmp(&b.id)), d),
            },
        }
    }
}

fn reversed(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![
        any::<bool>().prop_map(Order::Time),
        any::<bool>().prop_map(Order::Amount),
        any::<bool>().prop_map(Order::Id),
    ]
}

fn query(cond: &Cond, order: Order, limit: i64, cursor: Option<&[u8]>) -> Query {
    let cursor = cursor.map_or_else(|| atom("nil"), binary);
    let term = tuple(&[cond.term(), order.term(), int(limit), cursor, int(1_000_000)]);
    Query::parse(&[vec![131], term].concat()).expect("the query is one")
}

fn filled(events: &[Plain]) -> (Store, Vec<Plain>) {
    let store = Store::new();
    let mut model: Vec<Plain> = Vec::new();
    for event in events {
        event.store(&store);
        model.retain(|e| e.id != event.id);
        model.push(event.clone());
    }
    (store, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_query_finds_what_looking_at_each_event_finds(
        events in events(), cond in conds(), order in orders(), limit in 1i64..8,
    ) {
        let (store, mut model) = filled(&events);
        model.retain(|e| cond.holds(e));
        model.sort_by(|a, b| order.compare(a, b));
        let wanted: Vec<u64> = model.iter().map(|e| e.id).collect();
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let before = found.len();
            let page = store
                .search(&query(&cond, order, limit, cursor.as_deref()), &mut |e| found.push(e.id))
                .expect("within the bound");
            prop_assert!(found.len() - before <= limit as usize);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
            prop_assert!(found.len() > before, "a page with a cursor is not empty here");
        }
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn lists_and_pruning_agree_with_a_plain_list(events in events(), prunes in prop::collection::vec(-6i64..21, 0..3)) {
        let (store, mut model) = filled(&events);
        for cutoff in prunes {
            let before = model.len();
            model.retain(|e| e.timestamp >= cutoff);
            prop_assert_eq!(store.prune_before(cutoff).expect("in memory"), (before - model.len()) as u64);
        }
        model.sort_by_key(|e| (e.timestamp, e.id));
        let ids = |hits| {
            let mut ids = Vec::new();
            store.read(&hits, &mut |e| ids.push(e.id));
            ids
        };
        let wanted = |f: &dyn Fn(&Plain) -> bool| model.iter().filter(|e| f(e)).map(|e| e.id).collect::<Vec<_>>();
        for c in 0..6u8 {
            let text = Plain { correlation: Some(c), ..plain() }.correlation_text().unwrap_or_default();
            prop_assert_eq!(ids(store.by_correlation(text.as_bytes())), wanted(&|e| e.correlation == Some(c)));
        }
        for p in 1..7 {
            prop_assert_eq!(ids(store.by_parent(p)), wanted(&|e| e.parent == Some(p)));
        }
        for k in 0..4u8 {
            let kind = symbols::intern(&format!("kind{k}"));
            for by_time in [true, false] {
                let basic = Basic { kind: Some(kind), range: Some((0, 10)), by_time, ..Basic::default() };
                let mut expected = wanted(&|e| e.kind == k && (0..=10).contains(&e.timestamp));
                if !by_time {
                    expected.sort_unstable();
                }
                prop_assert_eq!(ids(store.basic(&basic)), expected);
            }
        }
        let newest = wanted(&|_| true);
        prop_assert_eq!(ids(store.recent(5)), newest[newest.len().saturating_sub(5)..].to_vec());
        prop_assert_eq!(store.stats().events, model.len() as u64);
    }
}
