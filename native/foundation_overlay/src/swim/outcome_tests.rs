//! How a node that news missed learns how suspicions ended.
use std::time::Duration;

use crate::swim_id::{Body, SwimId};
use crate::testnet::{Net, addr, ms, node_id};
use crate::wire::{self, Control, Probe, Standing, State, kind};
use crate::{Config, Effect, Input, MemberEvent, Overlay, Peer, Role, Topology};

/// Neither probes nor the watch in the ring find out anything in time: only what is told does.
fn without_probes(topology: Topology) -> Config {
    let mut config = Config {
        topology,
        ..Config::lan()
    };
    let swim = config.swim.as_mut().expect("the default");
    (swim.probe_period, swim.watch_periods) = (ms(60_000), 1.0);
    config
}

fn standing(at: usize, boot: u64, role: Role, incarnation: u16, state: State) -> Standing {
    let id = SwimId::new(Body {
        id: node_id(at, boot),
        renewal: 0,
        addr: addr(at),
        role,
        has_meta: false,
    });
    Standing {
        id,
        incarnation,
        state,
    }
}

fn members(standings: Vec<Standing>) -> bytes::Bytes {
    wire::encode(kind::CONTROL, &Control::Members(standings))
}

/// A node is told this of these others, as over a link.
fn hear(net: &mut Net, at: usize, of: &[usize], state: State) {
    let of = of.iter().map(|other| {
        let role = net.nodes[*other].overlay.me().role;
        standing(*other, 1, role, 0, state)
    });
    let (from, bytes) = (&node_id(9_999, 1), &members(of.collect()));
    net.input(at, Input::Frame { from, bytes });
}

fn knows_none(net: &Net, at: usize, of: &[usize]) -> bool {
    let mut members = net.nodes[at].overlay.members();
    members.all(|peer| of.iter().all(|other| peer.id != node_id(*other, 1)))
}

/// Clients linked to three servers alone. The servers and the first clients stop; all know that they are gone, but for
/// the last client, which thinks badly of itself and heard no more than that they are suspected.
fn cut_off(clients: usize, stopped: usize) -> (Net, Vec<usize>) {
    let mut net = Net::new(5);
    let config = without_probes(Topology::ClientServer);
    for at in 0..3 + clients {
        let role = if at < 3 { Role::Server } else { Role::Client };
        net.add_as(&config, role, "");
    }
    (0..3 + clients).for_each(|at| net.join(at, &[0, 1, 2]));
    net.run_to(ms(5_000), Net::agreed).expect("a cluster");
    net.run_for(ms(3_000));
    let (stopped, last): (Vec<usize>, _) = ((0..3 + stopped).collect(), 2 + clients);
    stopped.iter().for_each(|at| net.freeze(*at, ms(1_000_000)));
    net.input(last, Input::Slow(true));
    for at in stopped.len()..last {
        hear(&mut net, at, &stopped, State::Down);
    }
    hear(&mut net, last, &stopped, State::Suspect);
    (net, stopped)
}

#[test]
fn a_node_whose_links_all_lead_to_the_dead_asks_others_of_them() {
    let (mut net, dead) = cut_off(12, 3);
    let took = net.run_to(ms(20_000), |net| knows_none(net, 14, &dead));
    println!("{took:?}");
    assert!(took.is_some_and(|took| took < ms(1_500)), "{took:?}");
    let living = net.nodes.len() - dead.len();
    let down = net.count(|event| matches!(event, MemberEvent::Down { .. }));
    assert_eq!(down, living * dead.len(), "nobody else");
}

#[test]
fn one_with_many_open_suspicions_asks_of_some_at_a_time() {
    let (mut net, dead) = cut_off(60, 40);
    let sent = |net: &Net| net.nodes[62].overlay.stats().counters.datagrams_sent;
    net.run_for(ms(1_190));
    assert!(!knows_none(&net, 62, &dead));
    let before = sent(&net);
    net.run_for(ms(20));
    let burst = sent(&net) - before;
    assert!((16 * 5..16 * 5 + 16).contains(&burst), "{burst}");
    let took = net.run_to(ms(20_000), |net| knows_none(net, 62, &dead));
    println!("{took:?} after a burst of {burst}");
    assert!(took.is_some_and(|took| took < ms(500)), "{took:?}");
}

#[test]
fn a_suspicion_whose_accuser_died_is_taken_up_by_others() {
    let mut slowest = Duration::ZERO;
    for seed in 0..10 {
        let mut net = Net::cluster(seed, 12, &without_probes(Topology::HyParView));
        net.run_to(ms(5_000), Net::agreed).expect("a cluster");
        net.run_for(ms(3_000));
        net.freeze(4, ms(1_000_000));
        let others: Vec<usize> = (0..12).filter(|at| *at != 4).collect();
        for at in &others {
            hear(&mut net, *at, &[4], State::Suspect);
        }
        let took = net.run_to(ms(20_000), |net| {
            others.iter().all(|at| knows_none(net, *at, &[4]))
        });
        slowest = slowest.max(took.expect("taken up"));
        let down = net.count(|event| matches!(event, MemberEvent::Down { .. }));
        assert_eq!(down, others.len(), "seed {seed}");
    }
    println!("slowest {slowest:?}");
    assert!(slowest < ms(3_000), "{slowest:?}");
}

/// One node, and what it sends.
struct Alone(Overlay);

impl Alone {
    fn new(known: Vec<Standing>) -> Self {
        let me = Peer {
            id: node_id(0, 1),
            addr: addr(0),
            role: Role::Peer,
            meta: bytes::Bytes::new(),
        };
        let mut alone = Self(Overlay::new(Config::lan(), me, [1; 32]).expect("valid"));
        alone.learn(known);
        alone
    }

    fn learn(&mut self, known: Vec<Standing>) {
        let (from, bytes) = (&node_id(1, 1), &members(known));
        let input = Input::Frame { from, bytes };
        self.0.handle(ms(1), input, &mut Vec::new()).expect("understood");
    }

    /// What it sends to each when it is asked or told this.
    fn hears(&mut self, probe: Probe) -> Vec<(usize, Probe)> {
        let (from, bytes) = (addr(1), &wire::encode(kind::PROBE, &probe));
        let mut out = Vec::new();
        let input = Input::Datagram { from, bytes };
        self.0.handle(ms(2), input, &mut out).expect("understood");
        let probes = out.into_iter().filter_map(|effect| match effect {
            Effect::Datagram { to, bytes } if bytes[1] == kind::PROBE => {
                let to = (0..100).find(|at| addr(*at) == to)?;
                wire::decode(&bytes[2..], "probe").ok().map(|probe| (to, probe))
            }
            _ => None,
        });
        probes.collect()
    }

    fn knows(&self, at: usize) -> bool {
        self.0.members().any(|peer| peer.id.name == node_id(at, 1).name)
    }
}

fn peer(at: usize, boot: u64, incarnation: u16, state: State) -> Standing {
    standing(at, boot, Role::Peer, incarnation, state)
}

#[test]
fn a_witness_that_knows_how_it_ended_says_so() {
    let known = [
        peer(2, 1, 0, State::Down),
        peer(3, 1, 0, State::Left),
        peer(4, 1, 3, State::Alive),
        peer(5, 2, 0, State::Alive),
    ];
    let mut node = Alone::new(known.to_vec());
    let mut ask = |at, boot, incarnation| {
        let suspect = peer(at, boot, incarnation, State::Suspect).id;
        node.hears(Probe::Witness { suspect, incarnation })
    };
    let says = |known: &Standing| vec![(1, Probe::Known(known.clone()))];
    assert_eq!(ask(2, 1, 0), says(&known[0]), "gone");
    assert_eq!(
        ask(2, 1, 7),
        says(&known[0]),
        "gone, whatever it was suspected of"
    );
    assert_eq!(ask(3, 1, 0), says(&known[1]), "said good-bye");
    assert_eq!(ask(4, 1, 2), says(&known[2]), "refuted");
    assert_eq!(ask(5, 1, 9), says(&known[3]), "another life");
    assert_eq!(ask(5, 3, 0), [], "a life not heard of");
    assert_eq!(ask(6, 1, 0), [], "a stranger");
    // What it does not know it sees for itself.
    let (suspect, incarnation) = (known[2].id.clone(), 3);
    assert_eq!(ask(4, 1, 3), [(4, Probe::Challenge { suspect, incarnation })]);
}

#[test]
fn what_a_witness_says_counts_for_suspects_alone() {
    let mut node = Alone::new(vec![peer(2, 1, 0, State::Alive), peer(3, 1, 0, State::Suspect)]);
    for at in [2, 3] {
        node.hears(Probe::Known(peer(at, 1, 0, State::Down)));
    }
    assert!(node.knows(2) && !node.knows(3));
    node.learn(vec![peer(2, 1, 0, State::Suspect)]);
    assert_eq!(node.0.stats().suspects, 1);
    node.hears(Probe::Known(peer(2, 1, 1, State::Alive)));
    assert!(node.knows(2) && node.0.stats().suspects == 0);
}
