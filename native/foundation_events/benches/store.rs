//! What storing costs: `cargo bench -p foundation_events`. The times are medians of a call, an event's share of it.

use foundation_events::{Durability, Event, Pid, PidParts, Store, Syncing, Wall, symbols};
use std::hint::black_box;
use std::time::{Duration, Instant};

const BATCH: u64 = 1000;

fn data(i: u64) -> Vec<u8> {
    let mut data = vec![131, 116, 0, 0, 0, 2];
    data.extend_from_slice(b"\x77\x06amountb");
    data.extend_from_slice(&(i as u32).to_be_bytes());
    data.extend_from_slice(b"\x77\x04notem\x00\x00\x00\x96");
    data.extend_from_slice(&[b'n'; 150]);
    data
}

fn event<'a>(id: u64, timestamp: i64, correlation: &'a str, data: &'a [u8]) -> Event<'a> {
    let node = symbols::intern("nonode@nohost");
    Event {
        id,
        timestamp,
        kind: symbols::intern("payment"),
        node: Some(node),
        wall: Some(Wall::Utc {
            micros: 1_700_000_000_123_456,
            precision: 6,
        }),
        pid: Some(Pid::Parts(PidParts {
            node,
            form: 119,
            id: 150,
            serial: 0,
            creation: 0,
        })),
        correlation: Some(correlation.as_bytes()),
        parent: id.checked_sub(1).filter(|parent| *parent > 0),
        data,
    }
}

/// Median time of storing a batch, an event's share.
fn batches(store: &Store, rounds: u64, timestamp: impl Fn(u64, u64) -> i64) -> Duration {
    let correlations: Vec<String> = (0..BATCH / 10)
        .map(|i| format!("00000000-0000-4000-8000-{i:012x}"))
        .collect();
    let data: Vec<Vec<u8>> = (0..BATCH).map(data).collect();
    let mut times: Vec<Duration> = (0..rounds)
        .map(|round| {
            let events: Vec<Event<'_>> = (0..BATCH)
                .map(|i| {
                    let id = 1 + round * BATCH + i;
                    let correlation = &correlations[(i / 10) as usize];
                    event(id, timestamp(round, i), correlation, &data[i as usize])
                })
                .collect();
            let start = Instant::now();
            black_box(store.store(&events, 1_700_000_000_100, false)).expect("stored");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2] / BATCH as u32
}

fn main() {
    let rounds = std::env::var("ROUNDS").map_or(200, |n| n.parse().expect("a number"));
    let in_order = |round: u64, i: u64| (round * BATCH + i) as i64;
    println!("{:<52} {:>12}", "an event in a batch of 1000", "median");
    let took = batches(&Store::new(), rounds, in_order);
    println!("{:<52} {took:>12?}", "in memory, times in order");
    let took = batches(&Store::new(), rounds, |_, i| i as i64);
    println!(
        "{:<52} {took:>12?}",
        "in memory, the same 1000 times again and again"
    );
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("dir");
    let store = Store::new();
    store
        .open(&Durability {
            dir: dir.path().to_path_buf(),
            sync: Syncing::Always,
            segment_bytes: 64 << 20,
        })
        .expect("opens");
    let took = batches(&store, rounds, in_order);
    println!("{:<52} {took:>12?}", "on disk, each batch synced");
}
