//! What each primitive promises, one story a test.

use super::*;

/// A machine and what feeds it: an index and a clock.
struct Run {
    machine: Coordination,
    index: u64,
    time: u64,
    term: u64,
}

fn hold(session: u64, number: u64) -> Hold {
    Hold { session, number }
}

impl Run {
    /// Sessions 1 to 3, of nodes a, b and c, of 1,000 ms.
    fn new() -> Self {
        let mut run = Self {
            machine: Coordination::new(None),
            index: 0,
            time: 1_000_000,
            term: 1,
        };
        for (session, node) in [(1, "a"), (2, "b"), (3, "c")] {
            run.does(Command::Open {
                session,
                node: node.into(),
                ttl_ms: 1_000,
            });
        }
        run
    }

    fn does(&mut self, command: Command) -> Reply {
        self.index += 1;
        self.machine.apply(self.index, self.term, self.time, command)
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.time += ms;
        self
    }

    fn lock(&mut self, name: &str, hold: Hold) -> Reply {
        self.acquire(Kind::Lock, name, hold, 1, 0)
    }

    fn acquire(&mut self, kind: Kind, name: &str, hold: Hold, weight: u32, lease_ms: u64) -> Reply {
        self.does(Command::Acquire {
            kind,
            name: name.into(),
            hold,
            weight,
            lease_ms,
            wait: true,
        })
    }

    fn campaign(&mut self, hold: Hold, priority: i32, preempt: bool) -> Reply {
        self.does(Command::Campaign {
            name: "e".into(),
            hold,
            priority,
            preempt,
            metadata: vec![hold.session as u8],
        })
    }

    fn told(&mut self) -> Vec<(Hold, What)> {
        let events = self.machine.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Hold { hold, what } => Some((hold, what)),
                _ => None,
            })
            .collect()
    }
}

fn granted(token: u64) -> Reply {
    Reply::Granted { token, wanted: false }
}

fn told_granted(token: u64, wanted: bool) -> What {
    What::Granted { token, wanted }
}

#[test]
fn a_lock_goes_to_those_who_wait_in_their_order_with_growing_tokens() {
    let mut run = Run::new();
    assert_eq!(run.lock("l", hold(1, 1)), granted(1));
    assert_eq!(run.lock("l", hold(2, 1)), Reply::Queued { ahead: 0 });
    assert_eq!(run.lock("l", hold(3, 1)), Reply::Queued { ahead: 1 });
    assert_eq!(run.lock("other", hold(3, 2)), granted(2));
    assert_eq!(run.told(), [(hold(1, 1), What::Wanted)]);
    assert_eq!(run.does(Command::Release { hold: hold(1, 1) }), Reply::Done);
    assert_eq!(run.told(), [(hold(2, 1), told_granted(3, true))]);
    assert_eq!(
        run.does(Command::Drop {
            holds: vec![hold(2, 1)]
        }),
        Reply::Done
    );
    assert_eq!(run.told(), [(hold(3, 1), told_granted(4, false))]);
}

#[test]
fn asking_again_under_the_same_hold_changes_nothing() {
    let mut run = Run::new();
    assert_eq!(run.lock("l", hold(1, 1)), granted(1));
    assert_eq!(run.lock("l", hold(1, 1)), granted(1));
    assert_eq!(run.lock("l", hold(2, 1)), Reply::Queued { ahead: 0 });
    assert_eq!(run.lock("l", hold(2, 1)), Reply::Queued { ahead: 0 });
    assert_eq!(run.lock("m", hold(1, 1)), Reply::Refused(Refusal::HoldInUse));
    assert_eq!(
        run.does(Command::Release { hold: hold(3, 9) }),
        Reply::Refused(Refusal::NotHeld)
    );
}

#[test]
fn a_lease_ends_at_its_time_unless_it_is_renewed() {
    let mut run = Run::new();
    run.acquire(Kind::Lock, "l", hold(1, 1), 1, 300);
    run.lock("l", hold(2, 1));
    run.after(200).does(Command::Renew {
        hold: hold(1, 1),
        lease_ms: 300,
    });
    run.told();
    run.after(299).does(Command::Tick);
    assert_eq!(run.told(), []);
    assert_eq!(run.machine.next_due(), Some(run.time + 1));
    run.after(1).does(Command::Tick);
    let expected = [
        (hold(1, 1), What::Lost(Loss::Lease)),
        (hold(2, 1), told_granted(2, false)),
    ];
    assert_eq!(run.told(), expected);
    let renewed = run.does(Command::Renew {
        hold: hold(1, 1),
        lease_ms: 300,
    });
    assert_eq!(renewed, Reply::Refused(Refusal::NotHeld));
}

#[test]
fn a_session_that_is_not_kept_alive_loses_everything() {
    let mut run = Run::new();
    run.lock("l", hold(1, 1));
    run.lock("l", hold(1, 2));
    run.lock("l", hold(2, 1));
    run.campaign(hold(1, 3), 0, false);
    run.campaign(hold(2, 2), 0, false);
    run.told();
    run.after(600).does(Command::KeepAlive { session: 2 });
    run.after(399).does(Command::Tick);
    assert_eq!(run.told(), []);
    run.after(1).does(Command::Tick);
    let lost = |number| (hold(1, number), What::Lost(Loss::Session));
    let told = run.told();
    assert_eq!(told[..3], [lost(1), lost(2), lost(3)]);
    assert!(
        told[3..]
            .iter()
            .all(|(hold, what)| hold.session == 2 && matches!(what, What::Granted { .. }))
    );
    assert_eq!(told.len(), 5);
    assert_eq!(run.lock("l", hold(1, 4)), Reply::Refused(Refusal::NoSession));
    assert_eq!(
        run.does(Command::KeepAlive { session: 1 }),
        Reply::Refused(Refusal::NoSession)
    );
}

#[test]
fn the_clock_of_a_new_leader_ends_no_lease() {
    let mut run = Run::new();
    run.acquire(Kind::Lock, "l", hold(1, 1), 1, 300);
    run.term = 2;
    run.after(3_600_000).does(Command::Tick);
    assert_eq!(run.told(), []);
    run.after(299).does(Command::Tick);
    assert_eq!(run.told(), []);
    run.after(1).does(Command::Tick);
    assert_eq!(run.told(), [(hold(1, 1), What::Lost(Loss::Lease))]);
}

#[test]
fn readers_share_and_a_writer_is_not_overtaken() {
    let mut run = Run::new();
    let read = |run: &mut Run, hold| run.acquire(Kind::RwLock, "rw", hold, 1, 0);
    assert_eq!(read(&mut run, hold(1, 1)), granted(1));
    assert_eq!(read(&mut run, hold(2, 1)), granted(2));
    let writer = run.acquire(Kind::RwLock, "rw", hold(3, 1), Command::WRITE, 0);
    assert_eq!(writer, Reply::Queued { ahead: 0 });
    assert_eq!(read(&mut run, hold(1, 2)), Reply::Queued { ahead: 1 });
    run.does(Command::Release { hold: hold(1, 1) });
    run.told();
    run.does(Command::Release { hold: hold(2, 1) });
    assert_eq!(run.told(), [(hold(3, 1), told_granted(3, true))]);
    run.does(Command::Release { hold: hold(3, 1) });
    assert_eq!(run.told(), [(hold(1, 2), told_granted(4, false))]);
}

#[test]
fn a_semaphore_has_the_permits_it_was_defined_with() {
    let mut run = Run::new();
    let refused = run.acquire(Kind::Semaphore, "s", hold(1, 1), 1, 0);
    assert_eq!(refused, Reply::Refused(Refusal::Undefined));
    let define = |size| Command::Define {
        kind: Kind::Semaphore,
        name: "s".into(),
        size,
    };
    assert_eq!(run.does(define(3)), Reply::Done);
    assert_eq!(run.does(define(3)), Reply::Done);
    assert_eq!(run.does(define(4)), Reply::Refused(Refusal::Mismatch(3)));
    assert_eq!(run.acquire(Kind::Semaphore, "s", hold(1, 1), 2, 0), granted(1));
    assert_eq!(
        run.acquire(Kind::Semaphore, "s", hold(1, 2), 4, 0),
        Reply::Refused(Refusal::Mismatch(3))
    );
    assert_eq!(
        run.acquire(Kind::Semaphore, "s", hold(2, 1), 2, 0),
        Reply::Queued { ahead: 0 }
    );
    assert_eq!(
        run.acquire(Kind::Semaphore, "s", hold(3, 1), 1, 0),
        Reply::Queued { ahead: 1 }
    );
    run.told();
    run.does(Command::Release { hold: hold(1, 1) });
    let expected = [
        (hold(2, 1), told_granted(2, true)),
        (hold(3, 1), told_granted(3, false)),
    ];
    assert_eq!(run.told(), expected);
}

#[test]
fn the_best_candidate_leads_and_another_follows() {
    let mut run = Run::new();
    assert_eq!(run.campaign(hold(1, 1), 0, false), granted(1));
    assert_eq!(run.campaign(hold(2, 1), 1, false), Reply::Queued { ahead: 1 });
    assert_eq!(run.campaign(hold(3, 1), 5, false), Reply::Queued { ahead: 2 });
    run.told();
    run.does(Command::Release { hold: hold(1, 1) });
    assert_eq!(run.told(), [(hold(3, 1), told_granted(2, true))]);
    let leads = run.campaign(hold(1, 2), 9, true);
    assert_eq!(
        leads,
        Reply::Granted {
            token: 3,
            wanted: true
        }
    );
    assert_eq!(run.told(), [(hold(3, 1), What::Lost(Loss::Deposed))]);
    assert!(matches!(
        run.machine.query(Query::Leader { name: "e".into() }),
        Answer::Leader { node, token: 3, metadata, .. } if node == "a" && metadata == [1]
    ));
}

#[test]
fn a_barrier_opens_for_as_many_as_it_waits_for() {
    let mut run = Run::new();
    run.does(Command::Define {
        kind: Kind::Barrier,
        name: "b".into(),
        size: 2,
    });
    let enter = |run: &mut Run, hold| {
        run.does(Command::Enter {
            kind: Kind::Barrier,
            name: "b".into(),
            hold,
        })
    };
    assert_eq!(enter(&mut run, hold(1, 1)), Reply::Queued { ahead: 0 });
    run.does(Command::Drop {
        holds: vec![hold(1, 1)],
    });
    assert_eq!(enter(&mut run, hold(2, 1)), Reply::Queued { ahead: 0 });
    assert_eq!(enter(&mut run, hold(3, 1)), granted(1));
    assert_eq!(run.told(), [(hold(2, 1), told_granted(1, false))]);
    assert_eq!(enter(&mut run, hold(2, 2)), Reply::Queued { ahead: 0 });
}

#[test]
fn those_inside_a_double_barrier_leave_together() {
    let mut run = Run::new();
    run.does(Command::Define {
        kind: Kind::DoubleBarrier,
        name: "b".into(),
        size: 2,
    });
    let enter = |run: &mut Run, hold| {
        run.does(Command::Enter {
            kind: Kind::DoubleBarrier,
            name: "b".into(),
            hold,
        })
    };
    enter(&mut run, hold(1, 1));
    assert_eq!(enter(&mut run, hold(2, 1)), granted(1));
    assert_eq!(enter(&mut run, hold(3, 1)), Reply::Queued { ahead: 0 });
    run.told();
    assert_eq!(
        run.does(Command::Leave { hold: hold(1, 1) }),
        Reply::Queued { ahead: 1 }
    );
    assert_eq!(
        run.does(Command::Leave { hold: hold(3, 1) }),
        Reply::Refused(Refusal::NotHeld)
    );
    // The other one dies inside.
    run.does(Command::Close { session: 2 });
    assert_eq!(run.told(), [(hold(1, 1), told_granted(1, false))]);
    assert_eq!(enter(&mut run, hold(1, 2)), granted(2));
}

#[test]
fn a_value_that_was_taken_and_not_acknowledged_comes_back_to_its_place() {
    let mut run = Run::new();
    run.does(Command::Define {
        kind: Kind::Queue,
        name: "q".into(),
        size: 2,
    });
    let push = |run: &mut Run, value| {
        run.does(Command::Push {
            name: "q".into(),
            value: vec![value],
        })
    };
    let take = |run: &mut Run, hold| {
        run.does(Command::Take {
            name: "q".into(),
            hold,
            wait: true,
        })
    };
    push(&mut run, 1);
    push(&mut run, 2);
    assert_eq!(push(&mut run, 3), Reply::Refused(Refusal::Full));
    assert_eq!(
        take(&mut run, hold(1, 1)),
        Reply::Item {
            token: 1,
            value: vec![1]
        }
    );
    assert_eq!(push(&mut run, 3), Reply::Refused(Refusal::Full));
    run.does(Command::Close { session: 1 });
    assert_eq!(
        take(&mut run, hold(2, 1)),
        Reply::Item {
            token: 1,
            value: vec![1]
        }
    );
    assert_eq!(run.does(Command::Acknowledge { hold: hold(2, 1) }), Reply::Done);
    assert_eq!(
        take(&mut run, hold(2, 2)),
        Reply::Item {
            token: 2,
            value: vec![2]
        }
    );
    assert_eq!(take(&mut run, hold(3, 1)), Reply::Queued { ahead: 0 });
    run.told();
    push(&mut run, 4);
    assert_eq!(
        run.told(),
        [(
            hold(3, 1),
            What::Item {
                token: 3,
                value: vec![4]
            }
        )]
    );
}

#[test]
fn counters_sequences_and_values() {
    let mut run = Run::new();
    let add = |run: &mut Run, by| run.does(Command::Add { name: "c".into(), by });
    assert_eq!(add(&mut run, 5), Reply::Number(5));
    assert_eq!(add(&mut run, i64::MAX), Reply::Refused(Refusal::Overflow));
    let set = Command::SetCounter {
        name: "c".into(),
        value: 1,
        expect: Some(4),
    };
    assert_eq!(run.does(set), Reply::Unexpected(5));
    let next = |run: &mut Run, count| {
        run.does(Command::Next {
            name: "s".into(),
            count,
        })
    };
    assert_eq!(next(&mut run, 1), Reply::Range { first: 1, count: 1 });
    assert_eq!(next(&mut run, 10), Reply::Range { first: 2, count: 10 });
    let put = |expect, hold| Command::Put {
        key: "k".into(),
        value: vec![7],
        expect,
        hold,
    };
    let Reply::Version(version) = run.does(put(Expect::Absent, None)) else {
        panic!()
    };
    let conflict = Reply::Conflict {
        version,
        value: Some(vec![7]),
    };
    assert_eq!(run.does(put(Expect::Absent, None)), conflict);
    assert!(matches!(
        run.does(put(Expect::Version(version), Some(hold(1, 1)))),
        Reply::Version(_)
    ));
    run.does(Command::Close { session: 1 });
    assert_eq!(
        run.machine.query(Query::Value { key: "k".into() }),
        Answer::Nothing
    );
}

#[test]
fn a_restored_member_tells_its_node_what_it_may_have_missed() {
    let mut run = Run::new();
    run.lock("l", hold(1, 1));
    run.lock("l", hold(2, 1));
    run.campaign(hold(1, 2), 0, false);
    let snapshot = run.machine.snapshot().unwrap();
    let mut other = Coordination::new(Some("a".into()));
    other.restore(&snapshot).unwrap();
    let events = other.events();
    let held = vec![(1, 1), (2, 2)];
    assert_eq!(
        events[0],
        Event::Holdings {
            session: 1,
            held,
            waiting: vec![]
        }
    );
    assert!(matches!(&events[1], Event::Leader { node: Some(node), .. } if node == "a"));
    assert_eq!(other.snapshot().unwrap(), snapshot);
    assert!(other.restore(&snapshot[..snapshot.len() - 1]).is_err());
    assert_eq!(other.snapshot().unwrap(), snapshot);
}
