//! Getting into the cluster through addresses that may or may not answer.
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use crate::PeerName;
use crate::context::{Context, Wake};
use crate::swim_id::SwimId;
use crate::wire::{self, Probe, kind};

/// At most this many knocks go out at once.
const KNOCKS_AT_ONCE: usize = 16;
/// At most this many addresses are remembered.
const MAX_SEEDS: usize = 1024;

#[derive(Debug)]
struct Seed {
    addr: SocketAddr,
    /// Who answered there last.
    who: Option<PeerName>,
    attempts: u32,
    due: Duration,
}

/// The addresses to join through. One announcement over a lossy network is not enough: each is knocked at
/// until the node behind it is a member, with growing pauses, and again should it cease to be one.
#[derive(Debug, Default)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    next: usize,
    awake: bool,
}

impl Seeds {
    /// Takes addresses, and knocks at once.
    pub(crate) fn add(&mut self, ctx: &mut Context, addrs: &[SocketAddr]) {
        for addr in addrs {
            let known = *addr == ctx.me.addr || self.seeds.iter().any(|seed| seed.addr == *addr);
            if !known && self.seeds.len() < MAX_SEEDS {
                self.seeds.push(Seed {
                    addr: *addr,
                    who: None,
                    attempts: 0,
                    due: ctx.now,
                });
            }
        }
        self.knock(ctx);
    }

    /// Whoever answered lives at this address.
    pub(crate) fn answered(&mut self, from: SocketAddr, id: &SwimId) {
        for seed in &mut self.seeds {
            if seed.addr == from || seed.addr == id.body().addr {
                seed.who = Some(id.name().clone());
            }
        }
    }

    /// Knocks where it is due.
    pub(crate) fn knock(&mut self, ctx: &mut Context) {
        let (retry, slowest) = pauses(ctx);
        let me = &ctx.me.id.name;
        let peers = &ctx.peers;
        let done = |seed: &Seed| {
            seed.who
                .as_ref()
                .is_some_and(|who| who == me || peers.contains_key(who))
        };
        let mut due = Vec::new();
        for offset in 0..self.seeds.len() {
            let at = (self.next + offset) % self.seeds.len();
            let seed = &mut self.seeds[at];
            if done(seed) {
                seed.attempts = 0;
            } else if seed.due <= ctx.now && due.len() < KNOCKS_AT_ONCE {
                let pause = (retry * (1 << seed.attempts.min(16))).min(slowest);
                seed.attempts += 1;
                seed.due = ctx.now + pause.mul_f64(ctx.rng.random_range(0.75..1.25));
                due.push(seed.addr);
            }
        }
        self.next += due.len();
        let knock = wire::encode(kind::PROBE, &Probe::Knock);
        due.into_iter().for_each(|addr| ctx.datagram(addr, knock.clone()));
        if !self.awake && !self.seeds.is_empty() {
            self.awake = true;
            ctx.wake(retry, Wake::Join);
        }
    }

    /// The periodic look.
    pub(crate) fn tick(&mut self, ctx: &mut Context) {
        self.awake = false;
        self.knock(ctx);
    }
}

fn pauses(ctx: &Context) -> (Duration, Duration) {
    let swim = ctx.config.swim.as_ref();
    swim.map_or((Duration::from_millis(100), Duration::from_secs(5)), |swim| {
        (swim.join_retry, swim.join_retry_max.max(swim.join_retry))
    })
}
