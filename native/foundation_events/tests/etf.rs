//! Reading terms: damaged ones give None, whole ones compare as Erlang compares them.

use foundation_events::etf::{self, Found, Term};
use foundation_events::query::{Filter, Query};
use proptest::prelude::*;
use std::cmp::Ordering;

fn int(n: i64) -> Vec<u8> {
    [&[110, 8, u8::from(n < 0)][..], &n.unsigned_abs().to_le_bytes()].concat()
}

fn float(f: f64) -> Vec<u8> {
    [&[70][..], &f.to_be_bytes()].concat()
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    [&[109][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    if items.is_empty() {
        return vec![106];
    }
    [
        &[108][..],
        &(items.len() as u32).to_be_bytes(),
        &items.concat(),
        &[106],
    ]
    .concat()
}

#[test]
fn terms_rank_as_in_erlang() {
    let ranked = [
        int(-5),
        float(-4.5),
        vec![97, 3],
        [&[110, 9, 0][..], &[0xff; 9]].concat(),
        vec![119, 1, b'a'],
        vec![119, 2, b'a', b'b'],
        vec![104, 0],
        vec![104, 1, 97, 9],
        vec![104, 2, 97, 1, 97, 1],
        vec![116, 0, 0, 0, 0],
        vec![106],
        list(&[vec![97, 1]]),
        vec![107, 0, 2, 1, 2],
        list(&[vec![97, 1], vec![97, 3]]),
        binary(b""),
        binary(b"a"),
        vec![77, 0, 0, 0, 2, 1, b'a', 0x80],
        binary(b"b"),
    ];
    for (i, a) in ranked.iter().enumerate() {
        assert_eq!(etf::size(a), Some(a.len()), "{a:?}");
        for (j, b) in ranked.iter().enumerate() {
            assert_eq!(etf::compare(a, b, false), Some(i.cmp(&j)), "{a:?} and {b:?}");
        }
    }
}

#[test]
fn a_list_of_bytes_is_a_list() {
    let text = vec![107, 0, 3, 1, 2, 3];
    let cells = list(&[vec![97, 1], vec![97, 2], vec![98, 0, 0, 0, 3]]);
    assert_eq!(etf::compare(&text, &cells, true), Some(Ordering::Equal));
    assert!(matches!(etf::get(&text, &[97, 2]), Some(Found::Byte(3))));
    assert!(etf::get(&text, &[97, 3]).is_none());
}

#[test]
fn one_and_one_point_zero() {
    assert_eq!(etf::compare(&int(1), &float(1.0), false), Some(Ordering::Equal));
    assert_eq!(etf::compare(&int(1), &float(1.0), true), Some(Ordering::Less));
    let big = (1i64 << 53) + 1;
    assert_eq!(
        etf::compare(&int(big), &float((1i64 << 53) as f64), false),
        Some(Ordering::Greater)
    );
    assert_eq!(
        etf::compare(&int(i64::MAX), &float(9.3e18), false),
        Some(Ordering::Less)
    );
}

#[test]
fn maps_compare_whatever_the_order_of_their_pairs() {
    let pair = |k: u8, v: u8| vec![97, k, 97, v];
    let map = |pairs: &[Vec<u8>]| [&[116][..], &(pairs.len() as u32).to_be_bytes(), &pairs.concat()].concat();
    let a = map(&[pair(1, 5), pair(2, 6)]);
    let b = map(&[pair(2, 6), pair(1, 5)]);
    assert_eq!(etf::compare(&a, &b, true), Some(Ordering::Equal));
    assert_eq!(
        etf::compare(&map(&[pair(1, 9)]), &map(&[pair(2, 0)]), true),
        Some(Ordering::Less)
    );
}

#[test]
fn nesting_is_bounded() {
    let deep: Vec<u8> = (0..200_000).flat_map(|_| [104, 1]).chain([97, 1]).collect();
    let other: Vec<u8> = (0..200_000).flat_map(|_| [104, 1]).chain([97, 2]).collect();
    assert_eq!(etf::size(&deep), Some(deep.len()));
    assert_eq!(etf::compare(&deep, &other, true), Some(Ordering::Less));
}

#[test]
fn lengths_that_lie() {
    for bytes in [
        &[108, 255, 255, 255, 255, 97, 1][..],
        &[105, 255, 255, 255, 255],
        &[116, 255, 255, 255, 255, 97, 1],
        &[109, 255, 255, 255, 255, 1],
        &[111, 255, 255, 255, 255, 0],
        &[112, 255, 255, 255, 255],
        &[90, 255, 255, 119, 0],
        &[77, 0, 0, 0, 0],
        &[],
    ] {
        assert_eq!(etf::size(bytes), None, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(a in prop::collection::vec(any::<u8>(), 0..200), b in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = etf::size(&a);
        let _ = etf::read(&a);
        let _ = etf::compare(&a, &b, true);
        let _ = etf::compare(&b, &a, false);
        let _ = etf::get(&a, &b);
        let _ = Query::parse(&a);
        let _ = Filter::parse(&a);
    }

    #[test]
    fn cut_and_flipped_terms_are_survived(cut in 0usize..80, at in 0usize..80, bit in 0u8..8) {
        let whole = list(&[
            binary(b"text"), int(7), float(1.5), vec![116, 0, 0, 0, 1, 97, 1, 97, 2],
            vec![104, 2, 119, 2, b'o', b'k', 106], vec![107, 0, 2, 8, 9],
        ]);
        let mut flipped = whole.clone();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 1 << bit;
        }
        for bytes in [&whole[..cut.min(whole.len())], &flipped] {
            let _ = etf::compare(bytes, &whole, false);
            for i in 0..6 {
                let _ = etf::get(bytes, &[97, i]);
            }
        }
    }

    #[test]
    fn numbers_compare_as_numbers(a in any::<i64>(), b in any::<i64>(), f in any::<i32>()) {
        prop_assert_eq!(etf::compare(&int(a), &int(b), false), Some(a.cmp(&b)));
        let g = f64::from(f) + 0.5;
        prop_assert_eq!(etf::compare(&int(i64::from(f)), &float(g), false), Some(Ordering::Less));
        prop_assert_eq!(etf::compare(&float(g), &int(i64::from(f) + 1), false), Some(Ordering::Less));
        prop_assert!(matches!(etf::read(&int(a)), Some(Term::Int(n)) if n == a));
    }
}
