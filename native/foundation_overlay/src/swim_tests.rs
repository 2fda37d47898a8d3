//! Membership between simulated nodes.
use crate::swim_id::{Body, SwimId};
use crate::testnet::{Net, addr, ms, node_id};
use crate::wire::{self, Control, Probe, Standing, State, kind};
use crate::{Config, DownReason, Effect, Input, MemberEvent, NodeId, Overlay, Peer, Role, Timer};

fn lan() -> Config {
    Config::lan()
}

fn is_down(event: &MemberEvent) -> bool {
    matches!(event, MemberEvent::Down { .. })
}

#[test]
fn two_nodes_find_each_other() {
    let mut net = Net::cluster(1, 2, &lan());
    assert!(net.run_to(ms(1_000), Net::agreed).is_some());
}

#[test]
fn thirty_nodes_agree_although_datagrams_are_lost() {
    for seed in 0..5 {
        let mut net = Net::cluster(seed, 30, &lan());
        net.loss = 0.3;
        let took = net.run_to(ms(10_000), Net::agreed);
        assert!(took.is_some(), "seed {seed}");
    }
}

#[test]
fn a_dead_node_is_noticed_in_under_two_seconds() {
    let mut slowest = ms(0);
    for seed in 0..20 {
        for count in [2, 3, 5, 20] {
            let mut net = Net::cluster(seed, count, &lan());
            net.run_to(ms(5_000), Net::agreed).expect("a cluster");
            net.run_for(ms(500 + seed * 37));
            net.freeze(count - 1, ms(1_000_000));
            let dead = net.id(count - 1);
            let took = net.run_to(ms(10_000), |net| {
                (0..count - 1).all(|at| net.nodes[at].overlay.members().all(|peer| peer.id != dead))
            });
            let took = took.expect("noticed");
            slowest = slowest.max(took);
            let others = net.count(is_down);
            assert_eq!(others, count - 1, "only the dead one, seed {seed}, {count} nodes");
        }
    }
    println!("slowest {slowest:?}");
    assert!(slowest < ms(2_000), "{slowest:?}");
}

/// Until everyone knows that these are gone, who stop at this moment.
fn noticed(net: &mut Net, dead: &[usize]) -> Option<std::time::Duration> {
    dead.iter().for_each(|at| net.freeze(*at, ms(1_000_000)));
    let ids: Vec<_> = dead.iter().map(|at| net.id(*at)).collect();
    let rest: Vec<usize> = (0..net.nodes.len()).filter(|at| !dead.contains(at)).collect();
    net.run_to(ms(60_000), |net| {
        let mut members = rest.iter().flat_map(|at| net.nodes[*at].overlay.members());
        members.all(|peer| !ids.contains(&peer.id))
    })
}

#[test]
fn the_news_of_a_death_miss_nobody_although_datagrams_are_lost() {
    let mut slowest = ms(0);
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 40, &lan());
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.loss = 0.3;
        net.run_for(ms(5_000));
        slowest = slowest.max(noticed(&mut net, &[7, 21]).expect("noticed"));
    }
    println!("slowest {slowest:?}");
    assert!(slowest < ms(6_000), "{slowest:?}");
}

#[test]
fn many_deaths_at_once_are_noticed_as_soon_as_one() {
    let mut slowest = ms(0);
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 40, &lan());
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.run_for(ms(1_000));
        let dead: Vec<usize> = (0..12).map(|at| at * 3).collect();
        slowest = slowest.max(noticed(&mut net, &dead).expect("noticed"));
    }
    println!("slowest {slowest:?}");
    assert!(slowest < ms(4_000), "{slowest:?}");
}

#[test]
fn a_death_that_no_probe_falls_on_is_noticed_by_who_watches() {
    let mut config = lan();
    let swim = config.swim.as_mut().expect("the default");
    // Of forty nodes, one probes another each second and a half.
    (swim.watch_periods, swim.probe_period) = (0.7 / 60.0, ms(60_000));
    let mut slowest = ms(0);
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 40, &config);
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.run_for(ms(2_000 + seed * 91));
        slowest = slowest.max(noticed(&mut net, &[seed as usize * 3]).expect("noticed"));
        assert_eq!(net.count(is_down), 39, "only the dead one, seed {seed}");
    }
    println!("slowest {slowest:?}");
    assert!(slowest < ms(1_800), "{slowest:?}");
}

#[test]
fn an_accuser_waits_for_the_word_of_others_and_gets_it() {
    let config = |unconfirmed| {
        let mut config = lan();
        let swim = config.swim.as_mut().expect("the default");
        (swim.suspicion, swim.unconfirmed) = (ms(400), unconfirmed);
        config
    };
    let took = |nodes: usize, unconfirmed| {
        let mut net = Net::cluster(1, nodes, &config(unconfirmed));
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        noticed(&mut net, &[1]).expect("noticed")
    };
    // Where nobody else is, nobody is waited for.
    assert_eq!(took(2, 1.0), took(2, 20.0));
    // Without anyone's word it would be eight seconds.
    assert!(took(8, 20.0) < took(2, 1.0) + ms(1_500));
}

#[test]
fn heavy_loss_does_not_make_the_living_dead() {
    let mut accused = 0;
    for seed in 0..3 {
        let mut net = Net::cluster(seed, 20, &lan());
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.loss = 0.3;
        net.run_for(ms(60_000));
        accused += net.count(|event| *event == MemberEvent::Suspect);
        assert_eq!(net.count(is_down), 0, "seed {seed}");
    }
    println!("suspicions {accused}");
    assert!(accused > 0, "the loss was felt");
}

#[test]
fn leaving_is_told_from_dying() {
    let mut net = Net::cluster(3, 10, &lan());
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.input(4, Input::Leave);
    net.run_for(ms(20));
    net.kill(4);
    assert!(net.run_to(ms(2_000), Net::agreed).is_some());
    assert_eq!(net.count(|event| *event == MemberEvent::Left), 9);
    assert_eq!(net.count(is_down), 0);
}

#[test]
fn a_goodbye_is_told_of_a_life_that_was_taken_for_dead_and_of_a_stranger() {
    let mut net = Net::cluster(3, 3, &lan());
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    let name = |at: usize, boot| {
        SwimId::new(Body {
            id: node_id(at, boot),
            renewal: 0,
            addr: addr(at),
            role: Role::Peer,
            has_meta: false,
        })
    };
    net.kill(2);
    net.run_to(ms(5_000), |net| net.nodes[0].overlay.members().count() == 1)
        .expect("noticed");
    assert!(!net.nodes[0].overlay.has_left(&net.id(2)));
    for (late, times) in [(name(2, 1), 1), (name(2, 1), 1), (name(9, 5), 2)] {
        let goodbye = Probe::Leave { me: late.clone() };
        let bytes = &wire::encode(kind::PROBE, &goodbye);
        let from = addr(2);
        net.input(0, Input::Datagram { from, bytes });
        assert!(net.nodes[0].overlay.has_left(late.id()));
        assert_eq!(net.nodes[0].goodbyes.len(), times, "once of each");
    }
    // Another life of that name has not left.
    assert!(!net.nodes[0].overlay.has_left(&node_id(2, 2)));
    net.restart(2, 2, &lan());
    net.join(2, &[0]);
    assert!(net.run_to(ms(3_000), Net::agreed).is_some());
    assert!(!net.nodes[0].overlay.has_left(&node_id(2, 2)));
}

#[test]
fn a_restarted_node_replaces_its_former_life() {
    let mut net = Net::cluster(4, 5, &lan());
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.kill(2);
    net.restart(2, 2, &lan());
    net.join(2, &[0]);
    assert!(net.run_to(ms(3_000), Net::agreed).is_some());
    let replaced = MemberEvent::Down {
        reason: DownReason::Replaced,
    };
    assert_eq!(net.count(|event| *event == replaced), 4);
}

#[test]
fn a_healed_partition_becomes_one_cluster_in_under_two_seconds() {
    for seed in 0..5 {
        let mut net = Net::cluster(seed, 12, &lan());
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.partition(|at| at < 5);
        let split = |net: &Net| {
            (0..12).all(|at| net.nodes[at].overlay.members().count() == if at < 5 { 4 } else { 6 })
        };
        net.run_to(ms(20_000), split).expect("two clusters");
        net.run_for(ms(3_000));
        net.cut.clear();
        let took = net.run_to(ms(20_000), Net::agreed).expect("one cluster");
        assert!(took < ms(2_000), "{took:?}, seed {seed}");
    }
}

#[test]
fn a_node_that_was_stopped_accuses_nobody_when_it_wakes() {
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 8, &lan());
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        let until = net.now + ms(900);
        net.freeze(3, until);
        net.run_until(until + ms(5_000));
        assert_eq!(
            net.nodes[3]
                .events
                .iter()
                .filter(|(_, event, _)| is_down(event))
                .count(),
            0
        );
        assert!(net.agreed(), "seed {seed}");
    }
}

#[test]
fn metadata_and_role_reach_everyone() {
    let mut net = Net::new(6);
    for at in 0..6 {
        net.add_as(
            &lan(),
            if at == 0 { Role::Server } else { Role::Client },
            &format!("meta-{at}"),
        );
    }
    (0..6).for_each(|at| net.join(at, &[0]));
    let done = |net: &Net| {
        net.agreed()
            && net
                .nodes
                .iter()
                .all(|node| node.overlay.members().all(|peer| peer.meta.starts_with(b"meta-")))
    };
    assert!(net.run_to(ms(3_000), done).is_some());
    let roles = net.nodes[3]
        .overlay
        .members()
        .filter(|peer| peer.role == Role::Server)
        .count();
    assert_eq!(roles, 1);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut net = Net::cluster(seed, 15, &lan());
        net.loss = 0.1;
        net.run_for(ms(3_000));
        (
            net.datagrams,
            net.datagram_bytes,
            net.frames,
            net.nodes[7].events.clone(),
        )
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_process_that_dies_with_its_links_is_noticed_without_a_probe() {
    let mut slowest = ms(0);
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 30, &lan());
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.run_for(ms(1_000 + seed * 37));
        net.kill(11);
        slowest = slowest.max(net.run_to(ms(10_000), Net::agreed).expect("noticed"));
        assert_eq!(net.count(is_down), 29, "only the dead one, seed {seed}");
    }
    println!("slowest {slowest:?}");
    assert!(slowest < ms(1_200), "{slowest:?}");
}

/// Two overlays linked to each other alone; frames of one kind may get lost between them.
struct Pair {
    now: std::time::Duration,
    nodes: [Overlay; 2],
    alarms: [Option<Timer>; 2],
}

impl Pair {
    fn new() -> Self {
        let node = |at: usize| {
            let me = Peer {
                id: node_id(at, 1),
                addr: addr(at),
                role: Role::Peer,
                meta: bytes::Bytes::new(),
            };
            Overlay::new(lan(), me, [at as u8; 32]).expect("valid")
        };
        let mut pair = Self {
            now: ms(1),
            nodes: [node(0), node(1)],
            alarms: [None, None],
        };
        for at in 0..2 {
            pair.input(at, Input::LinkUp(node_id(1 - at, 1)), true);
        }
        pair
    }

    fn input(&mut self, at: usize, input: Input<'_>, through: bool) {
        let mut out = Vec::new();
        self.nodes[at]
            .handle(self.now, input, &mut out)
            .expect("accepted");
        for effect in out {
            match effect {
                Effect::Timer { timer, .. } => self.alarms[at] = Some(timer),
                Effect::Frame { to, bytes } if to == node_id(1 - at, 1) && through => {
                    let from = &node_id(at, 1);
                    self.input(1 - at, Input::Frame { from, bytes: &bytes }, through);
                }
                _ => {}
            }
        }
    }

    fn run(&mut self, span: std::time::Duration, through: bool) {
        let until = self.now + span;
        while self.now < until {
            self.now += ms(10);
            for at in 0..2 {
                if let Some(timer) = self.alarms[at] {
                    self.input(at, Input::Timer(timer), through);
                }
            }
        }
    }

    fn knows(&self, at: usize, id: &NodeId) -> bool {
        self.nodes[at].members().any(|peer| peer.id == *id)
    }
}

#[test]
fn what_a_neighbour_missed_it_learns_by_comparison() {
    let mut pair = Pair::new();
    let third = SwimId::new(Body {
        id: node_id(2, 1),
        renewal: 0,
        addr: addr(2),
        role: Role::Peer,
        has_meta: false,
    });
    let news = Control::Members(vec![Standing {
        id: third.clone(),
        incarnation: 0,
        state: State::Alive,
    }]);
    let bytes = wire::encode(kind::CONTROL, &news);
    let from = &node_id(3, 1);
    pair.input(0, Input::Frame { from, bytes: &bytes }, false);
    // What it tells its neighbour at once is lost.
    pair.run(ms(100), false);
    assert!(pair.knows(0, third.id()) && !pair.knows(1, third.id()));
    let learnt = (0..150).any(|_| {
        pair.run(ms(10), true);
        pair.knows(1, third.id())
    });
    assert!(learnt);
}
