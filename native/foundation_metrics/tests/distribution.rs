//! Histograms against lists of the values that went in, and against the hdrhistogram crate.

use foundation_metrics::compare::compare;
use foundation_metrics::distribution::Distribution;
use foundation_metrics::encoding::{decode, encode, encode_compressed};
use foundation_metrics::layout::{Layout, Number};
use foundation_metrics::recorder::Recorder;
use foundation_metrics::window::Window;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use proptest::collection::vec;
use proptest::prelude::*;

fn layout(digits: u8) -> Layout {
    Layout::new(digits, 1.0, None).unwrap()
}

fn of(digits: u8, values: &[i64]) -> Distribution {
    let mut d = Distribution::new(layout(digits));
    values.iter().for_each(|&v| d.record(Number::Int(v)));
    d
}

/// Values of all sizes.
fn value() -> impl Strategy<Value = i64> {
    (0_u32..62, any::<i64>()).prop_map(|(bits, n)| n.unsigned_abs() as i64 & ((1 << bits) - 1))
}

fn order_statistic(sorted: &[i64], q: f64) -> i64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

proptest! {
    #[test]
    fn quantiles_are_within_the_digits(values in vec(value(), 1..400), digits in 2_u8..=4, mut qs in vec(0.0..=1.0, 1..8)) {
        qs.sort_by(f64::total_cmp);
        let d = of(digits, &values);
        let mut sorted = values.clone();
        sorted.sort_unstable();
        for (q, found) in qs.iter().zip(d.quantiles(&qs)) {
            let exact = order_statistic(&sorted, *q) as f64;
            prop_assert!((found - exact).abs() <= exact / 10_f64.powi(digits.into()) + 1e-9, "{q}: {found} {exact}");
        }
        prop_assert_eq!(d.count(), values.len() as u64);
        prop_assert_eq!(d.sum_units(), values.iter().map(|&v| v as u128).sum::<u128>());
        prop_assert_eq!(d.min(), sorted.first().map(|&v| v as f64));
        prop_assert_eq!(d.max(), sorted.last().map(|&v| v as f64));
    }

    #[test]
    fn a_merger_is_as_if_all_were_recorded_in_one(parts in vec(vec(value(), 0..100), 1..6)) {
        let mut merged = Distribution::new(layout(3));
        parts.iter().for_each(|part| merged.merge(&of(3, part)));
        let whole = of(3, &parts.concat());
        prop_assert_eq!(encode(&merged), encode(&whole));
        prop_assert_eq!(merged.sum_units(), whole.sum_units());
        prop_assert_eq!((merged.min(), merged.max()), (whole.min(), whole.max()));
    }

    #[test]
    fn an_encoding_reads_back(values in vec(value(), 0..300), digits in 2_u8..=4) {
        let d = of(digits, &values);
        for bytes in [encode(&d), encode_compressed(&d)] {
            let read = decode(&bytes).unwrap();
            prop_assert_eq!(encode(&read), encode(&d));
        }
    }

    #[test]
    fn hdrhistogram_reads_what_we_write(values in vec(value(), 1..300), digits in 2_u8..=4) {
        let d = of(digits, &values);
        for bytes in [encode(&d), encode_compressed(&d)] {
            let theirs: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            prop_assert_eq!(theirs.len(), values.len() as u64);
            for q in [0.0, 0.5, 0.9, 0.999, 1.0] {
                let ours = d.quantiles(&[q])[0];
                let step = ours / 10_f64.powi(digits.into()) + 1.0;
                prop_assert!((theirs.value_at_quantile(q) as f64 - ours).abs() <= step);
            }
        }
    }

    #[test]
    fn we_read_what_hdrhistogram_writes(values in vec(value(), 1..300), digits in 2_u8..=4, low in 1_u64..5000) {
        let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(low, 1 << 62, digits).unwrap();
        values.iter().for_each(|&v| theirs.record(v as u64).unwrap());
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
        V2Serializer::new().serialize(&theirs, &mut plain).unwrap();
        V2DeflateSerializer::new().serialize(&theirs, &mut packed).unwrap();
        for bytes in [plain, packed] {
            let ours = decode(&bytes).unwrap();
            prop_assert_eq!(ours.count(), theirs.len());
            for q in [0.25, 0.5, 0.99] {
                let theirs = theirs.value_at_quantile(q) as f64;
                let found = ours.quantiles(&[q])[0];
                prop_assert!((found - theirs).abs() <= theirs / 10_f64.powi(digits.into()) + low as f64);
            }
        }
    }

    #[test]
    fn no_bytes_make_decoding_fail_badly(mut bytes in vec(any::<u8>(), 0..200), header in any::<bool>()) {
        if header {
            bytes.splice(..0, encode(&of(3, &[1, 500, 70_000])));
        }
        let _ = decode(&bytes);
        if let Some(byte) = bytes.get_mut(20) {
            *byte ^= 0x40;
        }
        let _ = decode(&bytes);
    }

    #[test]
    fn windows_hold_what_was_recorded_in_them(steps in vec((0_u64..120_000, 1_i64..100_000), 1..120), idle in 0_u64..4_000_000) {
        let recorder = Recorder::new(layout(3), false);
        let mut now = 1_000_000;
        let mut all = Vec::new();
        for (step, value) in steps {
            now += step;
            recorder.record(Number::Int(value), now);
            all.push((now, value));
        }
        now += idle / 7 * u64::from(idle % 2 == 0);
        // From where on each window counts: whole parts of 10 s, 30 s and 5 min.
        let tens = (now / 10_000).saturating_sub(5) * 10_000;
        let thirties = (now / 30_000).saturating_sub(9) * 30_000;
        let fives = (now / 300_000).saturating_sub(11) * 300_000;
        let starts = [(Window::All, 0), (Window::Minute, tens), (Window::FiveMinutes, thirties), (Window::Hour, fives)];
        for (window, start) in starts {
            let expected: Vec<i64> = all.iter().filter(|(at, _)| *at >= start).map(|(_, v)| *v).collect();
            let found = recorder.read(window, now);
            prop_assert_eq!(encode(&found), encode(&of(3, &expected)), "{:?}", window);
            prop_assert_eq!(found.sum_units(), expected.iter().map(|&v| v as u128).sum::<u128>());
        }
    }

    #[test]
    fn what_came_since_is_the_rest(before in vec(value(), 0..100), after in vec(value(), 0..100)) {
        let earlier = of(3, &before);
        let since = of(3, &[before, after.clone()].concat()).since(&earlier);
        prop_assert_eq!(since.buckets().iter().map(|b| b.1).sum::<u64>(), after.len() as u64);
        prop_assert_eq!(since.sum_units(), after.iter().map(|&v| v as u128).sum::<u128>());
    }

    #[test]
    fn the_distance_is_that_of_the_definition(a in vec(0_i64..500, 1..80), b in vec(0_i64..500, 1..80)) {
        let found = compare(&of(3, &a), &of(3, &b), &[0.5]).unwrap();
        let share = |list: &[i64], x: i64| list.iter().filter(|&&v| v <= x).count() as f64 / list.len() as f64;
        let exact = (0..500).map(|x| (share(&a, x) - share(&b, x)).abs()).fold(0.0, f64::max);
        prop_assert!((found.statistic - exact).abs() < 1e-12);
        prop_assert!((0.0..=1.0).contains(&found.p_value));
    }

    #[test]
    fn cumulative_counts_are_those_of_the_list(values in vec(0_i64..100_000, 1..200), mut bounds in vec(0_i64..100_000, 1..10)) {
        bounds.sort_unstable();
        let d = of(3, &values);
        let edges: Vec<f64> = bounds.iter().map(|&b| b as f64).collect();
        let layout = layout(3);
        for (bound, n) in bounds.iter().zip(d.cumulative(&edges)) {
            let top = layout.highest_of(layout.index(*bound as u64));
            prop_assert_eq!(n, values.iter().filter(|&&v| v as u64 <= top).count() as u64);
        }
    }
}

#[test]
fn stddev_and_mean() {
    let d = of(3, &[2, 4, 4, 4, 5, 5, 7, 9]);
    assert_eq!(d.mean(), Some(5.0));
    assert_eq!(d.stddev(), Some(2.0));
    assert_eq!(Distribution::new(layout(3)).mean(), None);
}

#[test]
fn values_out_of_range_are_clamped_and_counted() {
    let mut d = Distribution::new(Layout::new(2, 0.5, Some(100.0)).unwrap());
    for number in [
        Number::Int(-1),
        Number::Float(1e300),
        Number::Int(101),
        Number::Float(99.5),
    ] {
        d.record(number);
    }
    assert_eq!((d.count(), d.clamped()), (4, 3));
    assert_eq!((d.min(), d.max()), (Some(0.0), Some(100.0)));
}

#[test]
fn whole_numbers_turn_to_millionths_when_a_fraction_comes() {
    let recorder = Recorder::new(layout(3), true);
    for n in 1..=1000 {
        recorder.record(Number::Int(n), n as u64 * 100);
    }
    recorder.record(Number::Float(0.25), 100_000);
    let all = recorder.read(Window::All, 100_000);
    assert_eq!(all.count(), 1001);
    assert_eq!(all.min(), Some(0.25));
    assert!((all.quantiles(&[0.5])[0] - 500.0).abs() < 0.5);
    assert_eq!(recorder.read(Window::Minute, 100_000).layout().resolution(), 1e-6);
}

#[test]
fn threads_lose_nothing_and_the_recorder_stays_bounded() {
    let recorder = std::sync::Arc::new(Recorder::new(layout(3), false));
    let threads: Vec<_> = (0..4_i64)
        .map(|t| {
            let recorder = std::sync::Arc::clone(&recorder);
            std::thread::spawn(move || {
                (0..100_000).for_each(|n| recorder.record(Number::Int(n % 5000 + t), n as u64));
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(recorder.read(Window::All, 100_000).count(), 400_000);
    assert!(recorder.bytes() < 2_000_000, "{}", recorder.bytes());
}

#[test]
fn p_values_are_those_of_the_tables() {
    // The 5 % point of two samples of 1000 is a distance of about 1.358 · sqrt(2 / 1000).
    let a: Vec<i64> = (0..1000).collect();
    let b: Vec<i64> = (61..1061).collect();
    let found = compare(&of(4, &a), &of(4, &b), &[]).unwrap();
    assert!((found.statistic - 0.061).abs() < 1e-9);
    assert!((found.p_value - 0.0485).abs() < 0.004, "{}", found.p_value);
    assert!(compare(&of(3, &a), &of(3, &a), &[]).unwrap().p_value > 0.999);
}

#[test]
fn a_bomb_is_not_unpacked() {
    use std::io::Write as _;
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        packed.write_all(&vec![2; 1024 * 1024]).unwrap();
    }
    let packed = packed.finish().unwrap();
    let mut bytes = 0x1c84_9314_u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&packed);
    assert!(decode(&bytes).is_err());
}
