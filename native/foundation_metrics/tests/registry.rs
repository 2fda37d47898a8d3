//! Names, tags, bounds, aggregates and the text formats.

use foundation_metrics::Error;
use foundation_metrics::aggregate::{Aggregates, Measurement, Rule, Value};
use foundation_metrics::exposition::{Format, Metric, Row, Sample, Shape, write};
use foundation_metrics::layout::{Layout, Number};
use foundation_metrics::registry::{Bounds, Config, Data, Kind, Registry};
use proptest::prelude::*;
use std::sync::Arc;

fn config(kind: Kind, max_series: usize) -> Config {
    Config {
        kind,
        help: String::new(),
        unit: String::new(),
        layout: Layout::new(3, 1.0, None).unwrap(),
        adapts: false,
        bounds: Vec::new(),
        max_series,
    }
}

fn registry(names: usize, series: usize) -> Registry {
    Registry::new(Bounds { names, series }, b"/overflow")
}

fn count(registry: &Registry, key: &str, max: usize) -> Result<(), Error> {
    let name_len = key.find('/').unwrap();
    registry
        .find_or_insert(key.as_bytes(), name_len, Kind::Counter, || {
            config(Kind::Counter, max)
        })?
        .record(Number::Int(1), 0)
}

fn value(registry: &Registry, key: &str) -> Option<Number> {
    registry.with(
        key.as_bytes(),
        registry.hash(key.as_bytes()),
        |series| match &series.data {
            Data::Counter(counter) => counter.value(),
            _ => panic!("a counter"),
        },
    )
}

#[test]
fn further_tags_go_to_the_overflow_series_of_their_name() {
    let r = registry(10, 100);
    for i in 0..10 {
        count(&r, &format!("a/{i}"), 4).unwrap();
    }
    count(&r, "a/3", 4).unwrap();
    count(&r, "b/0", 4).unwrap();
    assert_eq!(value(&r, "a/3"), Some(Number::Int(2)));
    assert_eq!(value(&r, "a/overflow"), Some(Number::Int(6)));
    assert_eq!(r.find_family(b"a").unwrap().overflowed(), 6);
    assert_eq!((r.len(), r.all().len(), r.names()), (5, 6, 2));
}

#[test]
fn the_registry_is_bounded_over_all_names() {
    let r = registry(2, 3);
    for key in ["a/1", "a/2", "b/1", "b/2"] {
        count(&r, key, 100).unwrap();
    }
    assert_eq!(count(&r, "c/1", 100), Err(Error::Full));
    assert_eq!((r.len(), r.refused()), (3, 1));
    assert_eq!(value(&r, "b/overflow"), Some(Number::Int(1)));
    assert_eq!(r.forget(b"a"), 2);
    count(&r, "c/1", 100).unwrap();
    assert_eq!(r.len(), 2);
}

#[test]
fn a_name_has_one_kind_and_one_declaration() {
    let r = registry(10, 10);
    count(&r, "a/1", 10).unwrap();
    assert_eq!(r.declare(b"a", config(Kind::Gauge, 10)), Err(Error::Kind));
    assert_eq!(r.declare(b"a", config(Kind::Counter, 9)), Err(Error::Declared));
    assert_eq!(r.declare(b"a", config(Kind::Counter, 10)), Ok(()));
    let refused = r.find_or_insert(b"a/2", 1, Kind::Gauge, || config(Kind::Gauge, 10));
    assert_eq!(refused.err(), Some(Error::Kind));
    assert_eq!(r.all().len(), 1);
}

#[test]
fn a_forgotten_series_says_so() {
    let r = registry(10, 10);
    count(&r, "a/1", 10).unwrap();
    let series = r.find(b"a/1").unwrap();
    assert!(!series.is_gone());
    r.clear();
    assert!(series.is_gone() && r.is_empty() && r.names() == 0);
}

#[test]
fn threads_that_make_the_same_series_make_it_once() {
    let r = Arc::new(registry(100, 50));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let r = Arc::clone(&r);
            std::thread::spawn(move || {
                (0..2000).for_each(|i| count(&r, &format!("a/{}", i % 80), 1000).unwrap())
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(r.len(), 50);
    let total: i64 = r
        .all()
        .iter()
        .map(|(key, _)| match value(&r, std::str::from_utf8(key).unwrap()) {
            Some(Number::Int(n)) => n,
            _ => 0,
        })
        .sum();
    assert_eq!(total, 8000);
}

fn event(set: &Aggregates, key: &'static [u8], rule: Rule, value: Value, at: i64) {
    set.find_or_insert(b"name", b"meta")
        .unwrap()
        .update(at, [Measurement { key, rule, value }]);
}

#[test]
fn aggregates_join_as_1x_does() {
    let set = Aggregates::new(1);
    for n in [1, 2, 4] {
        event(&set, b"counter", Rule::Add, Value::Int(n), 10 + n as i64);
        event(&set, b"gauge", Rule::Last, Value::Int(n), 10 + n as i64);
        event(&set, b"other", Rule::Mean, Value::Int(n), 10 + n as i64);
        event(
            &set,
            b"atom",
            Rule::Mean,
            Value::Opaque(vec![n as u8].into()),
            10 + n as i64,
        );
    }
    let all = set.collect();
    assert_eq!((all.len(), all[0].count, all[0].timestamp), (1, 12, 14));
    assert_eq!(&*all[0].metadata, b"meta");
    let values: Vec<Value> = all[0].measurements.iter().map(|(_, v)| v.clone()).collect();
    let atom = Value::Opaque(vec![4].into());
    assert_eq!(values, [Value::Int(7), Value::Int(4), Value::Float(2.75), atom]);
    assert!(set.find_or_insert(b"more", b"").is_none());
    assert_eq!(set.dropped(), 1);
    assert_eq!((set.sweep(15), set.len()), (1, 0));
}

proptest! {
    #[test]
    fn means_are_those_of_the_formula(values in proptest::collection::vec(-1.0e6..1.0e6, 1..50)) {
        let set = Aggregates::new(1);
        let mut expected = values[0];
        event(&set, b"x", Rule::Mean, Value::Float(values[0]), 0);
        for &v in &values[1..] {
            event(&set, b"x", Rule::Mean, Value::Float(v), 0);
            expected = (expected + v) / 2.0;
        }
        prop_assert_eq!(&set.collect()[0].measurements[0].1, &Value::Float(expected));
    }
}

fn metric(name: &str, kind: Kind, labels: &[(&str, &str)], number: Number) -> Metric {
    Metric {
        name: name.into(),
        kind,
        help: "says \"a\\b\"\nand".into(),
        unit: String::new(),
        bounds: Vec::new(),
        rows: vec![Row {
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            sample: Sample::Number(number),
            exemplars: Vec::new(),
        }],
    }
}

#[test]
fn text_is_escaped_and_named_by_the_rules() {
    let metrics = [
        metric(
            "http.requests_total",
            Kind::Counter,
            &[("le", "a\"b\\c\nd"), ("1x", "y")],
            Number::Int(3),
        ),
        metric("http.requests", Kind::Counter, &[], Number::Int(4)),
        metric("9 lives", Kind::Gauge, &[], Number::Float(0.5)),
    ];
    let open = write(&metrics, Format::OpenMetrics, &Shape::Buckets);
    assert_eq!(
        open,
        "# HELP http_requests says \\\"a\\\\b\\\"\\nand\n# TYPE http_requests counter\n\
         http_requests_total{_1x=\"y\",tag_le=\"a\\\"b\\\\c\\nd\"} 3\n\
         # HELP _9_lives says \\\"a\\\\b\\\"\\nand\n# TYPE _9_lives gauge\n_9_lives 0.5\n# EOF\n"
    );
    let old = write(&metrics[..1], Format::Prometheus, &Shape::Buckets);
    assert!(old.starts_with(
        "# HELP http_requests_total says \"a\\\\b\"\\nand\n# TYPE http_requests_total counter\n"
    ));
    assert!(!old.contains("# EOF"));
}
