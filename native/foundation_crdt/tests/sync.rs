//! What two replicas send each other follows from what they differ in, not from what they hold.

mod support;

use foundation_crdt::{Bounds, Error, Kind, Op, State};
use support::{act, copy, read, settle, state, sync};

const KEYS: u32 = 100_000;

fn name(i: u32) -> Vec<u8> {
    format!("user:{i:08}").into_bytes()
}

fn filled() -> (State, State) {
    let a = state(&Kind::OrMap(Box::new(Kind::Mv)), 1, 32);
    for i in 0..KEYS {
        act(&a, &[&name(i)], Op::Assign(&[7; 32]), 0);
    }
    let b = copy(&a, 2);
    (a, b)
}

/// The bytes of the keys and values that differ.
const DIFFERENCE: usize = KEYS as usize / 100 * (13 + 32);

#[test]
fn equal_replicas_send_a_hash_a_shard() {
    let (a, b) = filled();
    assert!(sync(&a, &b, 0) < 400);
}

#[test]
fn writes_cost_what_they_are() {
    let (a, b) = filled();
    for i in 0..KEYS / 200 {
        act(&a, &[&name(i * 97)], Op::Assign(&[8; 32]), 0);
        act(&b, &[&name(i * 89 + 1)], Op::Assign(&[9; 32]), 0);
    }
    let bytes = sync(&a, &b, 0);
    assert_eq!(a.root(), b.root());
    assert!(bytes < DIFFERENCE * 2, "{bytes} bytes for {DIFFERENCE}");
}

#[test]
fn removals_cost_less() {
    let (a, b) = filled();
    for i in 0..KEYS / 200 {
        act(&a, &[&name(i * 97)], Op::Remove, 0);
        act(&b, &[&name(i * 89 + 1)], Op::Remove, 0);
    }
    let mut bytes = sync(&a, &b, 0);
    while a.root() != b.root() {
        bytes += sync(&a, &b, 0);
        assert!(bytes < DIFFERENCE, "{bytes} bytes for {DIFFERENCE}");
    }
    assert!(bytes < DIFFERENCE, "{bytes} bytes for {DIFFERENCE}");
    // A few among many cost little however large the state is.
    act(&a, &[&name(50_000)], Op::Remove, 0);
    let bytes = sync(&a, &b, 0);
    assert_eq!(a.root(), b.root());
    assert!(bytes < 2_000, "{bytes} bytes for one removal");
}

#[test]
fn a_new_replica_gets_everything_in_slices() {
    let (a, _) = filled();
    let c = state(a.kind(), 3, 32);
    let bytes = sync(&a, &c, 0);
    assert_eq!(a.root(), c.root());
    assert!(bytes < KEYS as usize * 45 * 2, "{bytes}");
}

#[test]
fn removal_marks_go_when_all_have_them() {
    let [a, b, c] = [1, 2, 3].map(|id| state(&Kind::RwSet, id, 4));
    for i in 0..50u8 {
        act(&a, &[&[i]], Op::Add, 0);
    }
    settle(&a, &b, 0);
    for i in 0..40u8 {
        act(&b, &[&[i]], Op::Remove, 0);
    }
    settle(&a, &b, 0);
    sync(&b, &a, 0);
    assert_eq!(a.collect(&[2, 3], 100), 0, "the third has not confirmed anything");
    assert!(a.status().marks > 0);
    settle(&a, &c, 0);
    for _ in 0..2 {
        for (x, y) in [(&a, &b), (&b, &c), (&c, &a)] {
            sync(x, y, 0);
            sync(y, x, 0);
        }
    }
    assert_eq!(a.collect(&[2, 3], 100), 40);
    for (x, y) in [(&a, &b), (&b, &c)] {
        settle(x, y, 0);
    }
    assert_eq!([a.status().keys, b.status().keys, c.status().keys], [10, 10, 10]);
    assert_eq!(read(&a), read(&c));
}

#[test]
fn a_message_of_another_type_is_refused_and_so_is_noise() {
    let a = state(&Kind::OrSet, 1, 4);
    let b = state(&Kind::RwSet, 2, 4);
    let c = state(&Kind::OrSet, 3, 8);
    act(&a, &[b"x"], Op::Add, 0);
    let push = a.push(1000).message.unwrap();
    for other in [&b, &c] {
        assert!(matches!(other.handle(1, &push, 0, 1000), Err(Error::Mismatch)));
    }
    let d = state(&Kind::OrSet, 4, 4);
    for cut in 0..push.len() {
        let _ = d.handle(1, &push[..cut], 0, 1000);
        let mut wrong = push.clone();
        wrong[cut] ^= 0x55;
        let _ = d.handle(1, &wrong, 0, 1000);
    }
    settle(&a, &state(&Kind::OrSet, 5, 4), 0);
}

#[test]
fn a_clock_that_is_ahead_is_not_followed() {
    let bounds = Bounds {
        max_drift_ms: 1_000,
        ..Bounds::default()
    };
    let [a, b] = [1, 2].map(|id| State::new(Kind::Lww, id, 1, bounds).unwrap());
    act(&a, &[], Op::Assign(b"future"), 50_000);
    let push = a.push(1000).message.unwrap();
    assert!(matches!(
        b.handle(1, &push, 10_000, 1000),
        Err(Error::Drift(40_000))
    ));
    assert_eq!(read(&b), support::Seen::Nothing);
    act(&b, &[], Op::Assign(b"present"), 10_000);
    assert!(b.handle(1, &push, 49_500, 1000).unwrap().changed);
    assert_eq!(read(&b), support::Seen::One(b"future".to_vec()));
    // What is written here afterwards comes after it, though this clock is behind.
    act(&b, &[], Op::Assign(b"later"), 49_500);
    assert_eq!(read(&b), support::Seen::One(b"later".to_vec()));
}

#[test]
fn bounds_hold_for_writes_and_not_for_removals() {
    let bounds = Bounds {
        max_keys: 2,
        max_bytes: 20,
        ..Bounds::default()
    };
    let a = State::new(Kind::OrMap(Box::new(Kind::Mv)), 1, 1, bounds).unwrap();
    act(&a, &[b"1"], Op::Assign(b"a"), 0);
    act(&a, &[b"2"], Op::Assign(b"b"), 0);
    assert!(matches!(a.mutate(&[b"3"], Op::Assign(b"c"), 0), Err(Error::Full)));
    assert!(matches!(
        a.mutate(&[b"1"], Op::Assign(&[0; 30]), 0),
        Err(Error::Full)
    ));
    act(&a, &[b"1"], Op::Assign(b"again"), 0);
    act(&a, &[b"2"], Op::Remove, 0);
    act(&a, &[b"3"], Op::Assign(b"c"), 0);
    assert_eq!(a.status().keys, 2);
}

#[test]
fn changes_are_told_once_and_as_they_are_seen() {
    let a = state(&Kind::OrSet, 1, 1);
    let b = state(&Kind::OrSet, 2, 1);
    act(&a, &[b"before"], Op::Add, 0);
    a.watch(true);
    act(&a, &[b"before"], Op::Add, 0);
    act(&a, &[b"new"], Op::Add, 0);
    act(&a, &[b"passing"], Op::Add, 0);
    act(&a, &[b"passing"], Op::Remove, 0);
    act(&b, &[b"far"], Op::Add, 0);
    settle(&a, &b, 0);
    let mut told: Vec<_> = a
        .take_changes(0)
        .unwrap()
        .into_iter()
        .map(|c| (c.path, c.before, c.now.is_some()))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            (vec![b"far".to_vec()], false, true),
            (vec![b"new".to_vec()], false, true)
        ]
    );
    act(&b, &[b"new"], Op::Remove, 0);
    settle(&a, &b, 0);
    let told = a.take_changes(0).unwrap();
    assert_eq!((told.len(), told[0].before, &told[0].now), (1, true, &None));
}

#[test]
fn a_removed_key_whose_removal_was_lost_stays_removed() {
    let kind = Kind::OrMap(Box::new(Kind::OrSet));
    let [a, b] = [1, 2].map(|id| state(&kind, id, 2));
    for e in 0..100u8 {
        act(&a, &[b"k", &[e]], Op::Add, 0);
    }
    settle(&a, &b, 0);
    act(&b, &[b"k"], Op::Remove, 0);
    let _lost = b.push(1 << 20);
    settle(&a, &b, 0);
    assert_eq!(a.status().keys, 0);
}

#[test]
fn the_journal_brings_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let kind = Kind::OrMap(Box::new(Kind::Mv));
    let open = |id| {
        let state = state(&kind, id, 4);
        let recovered = state.open_journal(dir.path(), foundation_crdt::Sync::Os).unwrap();
        (state, recovered)
    };
    let before = {
        let (a, recovered) = open(1);
        assert_eq!(recovered.records, 0);
        for round in 0..40u8 {
            for i in 0..2_000u32 {
                act(&a, &[&name(i)], Op::Assign(&[round; 100]), 0);
            }
            a.compact().unwrap();
        }
        for i in 0..100u32 {
            act(&a, &[&name(i)], Op::Remove, 0);
        }
        let b = state(&kind, 9, 4);
        act(&b, &[b"from elsewhere"], Op::Assign(b"x"), 0);
        settle(&a, &b, 0);
        assert!(a.status().journal_bytes < 6 << 20, "{}", a.status().journal_bytes);
        read(&a)
    };
    let (again, recovered) = open(2);
    assert_eq!(read(&again), before);
    assert_eq!((recovered.unreadable, recovered.damaged), (0, 0));
    drop(again);
    let other = state(&Kind::OrSet, 3, 4);
    assert!(matches!(
        other.open_journal(dir.path(), foundation_crdt::Sync::Os),
        Err(Error::Mismatch)
    ));
}
