//! What an acquire costs in the core alone: `cargo bench -p foundation_limits`. Each figure is the least of several
//! rounds, in nanoseconds of one thread.

use foundation_limits::amount::UNIT;
use foundation_limits::{Algorithm, Definition, Dimension, Limits};
use std::hint::black_box;
use std::time::Instant;

const BUCKET: u64 = 1;
const ROUNDS: usize = 9;
const CALLS: u64 = 1_000_000;

/// A name of `len` bytes; from 43 on no key is plain.
fn key(number: u64, len: usize) -> Vec<u8> {
    let mut key = number.to_le_bytes().to_vec();
    key.resize(len, 7);
    key
}

fn filled(keys: u64, len: usize) -> (Limits, Vec<Vec<u8>>) {
    let limits = Limits::new(10_000_000, Box::new(|| ()));
    let names: Vec<_> = (0..keys).map(|i| key(i, len)).collect();
    for name in &names {
        let bucket =
            Dimension::new(BUCKET, Algorithm::Bucket, 1_000_000_000 * UNIT, 1_000_000, None).unwrap();
        let definition = Definition::new(vec![bucket], 0, 0).unwrap();
        limits.define(name, definition, None, false, 0).unwrap();
    }
    (limits, names)
}

fn measure(name: &str, names: &[Vec<u8>], mut call: impl FnMut(&[u8], u64)) {
    let mut least = f64::INFINITY;
    for round in 0..ROUNDS as u64 {
        let start = Instant::now();
        for i in 0..CALLS {
            // An order that no cache guesses.
            let at = (i * 2_654_435_761 % names.len() as u64) as usize;
            call(black_box(&names[at]), round * CALLS + i);
        }
        least = least.min(start.elapsed().as_nanos() as f64 / CALLS as f64);
    }
    println!("{name:<40} {least:>8.1} ns");
}

fn main() {
    for keys in [1, 1_000, 100_000, 1_000_000] {
        let (limits, names) = filled(keys, 23);
        measure(&format!("plain, {keys} keys"), &names, |key, now| {
            black_box(limits.acquire_plain(key, |_, _| Some((BUCKET, UNIT, now))));
        });
        measure(
            &format!("plain, general call, {keys} keys"),
            &names,
            |key, now| {
                let _ = black_box(limits.acquire(key, || None::<&[u8]>, &[(BUCKET, UNIT)], now));
            },
        );
        let (limits, names) = filled(keys, 43);
        measure(&format!("node, {keys} keys"), &names, |key, now| {
            let _ = black_box(limits.acquire(key, || None::<&[u8]>, &[(BUCKET, UNIT)], now));
        });
    }
}
