//! The trunks of an endpoint: circuits that its own links take, that end here, and that lead on to others.

use super::wire::Outgoing;
use super::{Hub, Sink};
use crate::error::Error;
use crate::hello::Hello;
use crate::overlay_driver;
use crate::relay::circuit;
use crate::relay::exchange::{Event, Exchange, Leg, RelayCounts, Trunk};
use crate::relay::frame::{self, Frame, HEADER, Open, Why};
use crate::relay::{self};
use crate::transport::{Carrier, Stream};
use bytes::{Buf, BytesMut};
use foundation_overlay::{NodeId, Route};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Hops that a circuit may take.
const MAX_HOPS: u8 = 8;
/// How long a circuit may take to come about.
const WITHIN: Duration = Duration::from_secs(3);
/// Bytes that a trunk is read and written at a time.
const BUDGET: usize = 64 << 10;
/// Channels of at least this priority have trunks of their own.
const URGENT: u8 = 192;
/// Ways on that a relay tries.
const TRIES: usize = 2;

/// Who opens the trunk to a node.
type Dials = HashMap<(NodeId, u16), Arc<tokio::sync::Mutex<()>>>;

/// What an endpoint needs for circuits.
pub(crate) struct Relaying {
    exchange: Arc<Mutex<Exchange>>,
    /// Who opens a trunk; others wait for it.
    dials: Mutex<Dials>,
}

impl Relaying {
    pub(super) fn new(most: usize) -> Self {
        Self {
            exchange: Arc::new(Mutex::new(Exchange::new(most))),
            dials: Mutex::default(),
        }
    }

    pub(super) fn counts(&self) -> RelayCounts {
        self.exchange.lock().counts()
    }

    /// A node is gone: its trunks are.
    pub(super) fn lost(&self, peer: &NodeId) {
        let mut exchange = self.exchange.lock();
        for class in 0..=1 {
            while let Some(trunk) = exchange.find(peer, class) {
                exchange.trunk_down(trunk);
            }
        }
    }
}

fn class(priority: u8) -> u16 {
    u16::from(priority < URGENT)
}

impl<S: Sink> Hub<S> {
    /// A circuit to a node, whose first hop is the neighbour `next`.
    pub(super) async fn circuit(
        self: &Arc<Self>,
        next: &NodeId,
        to: &NodeId,
        priority: u8,
    ) -> Result<Carrier, Error> {
        let open = Open {
            hops: MAX_HOPS,
            priority,
            to: to.clone(),
            from: self.config.me.clone(),
        };
        let trunk = self.trunk(next, class(priority)).await?;
        let exchange = &self.relaying.exchange;
        let asked = exchange.lock().open(trunk, &open);
        let circuit = asked.ok_or(Error::Unreachable)?;
        let carrier = circuit::carrier(exchange, circuit);
        let opened = poll_fn(|context| exchange.lock().poll_opened(circuit, context));
        match timeout(WITHIN, opened).await {
            Ok(Ok(())) => Ok(carrier),
            Ok(Err(why)) => {
                tracing::debug!(%next, %to, ?why, "no circuit");
                Err(Error::Unreachable)
            }
            Err(_) => Err(Error::Unreachable),
        }
    }

    /// The trunk to a neighbour, opened if there is none.
    async fn trunk(self: &Arc<Self>, next: &NodeId, class: u16) -> Result<Trunk, Error> {
        let relaying = &self.relaying;
        let there = || relaying.exchange.lock().find(next, class);
        if let Some(trunk) = there() {
            return Ok(trunk);
        }
        let key = (next.clone(), class);
        let dial = Arc::clone(relaying.dials.lock().entry(key.clone()).or_default());
        let only = dial.lock().await;
        if let Some(trunk) = there() {
            return Ok(trunk);
        }
        let opened = self.open_trunk(next, class).await;
        relaying.dials.lock().remove(&key);
        drop(only);
        opened
    }

    async fn open_trunk(self: &Arc<Self>, next: &NodeId, class: u16) -> Result<Trunk, Error> {
        let addr = self.address(next).ok_or(Error::Unreachable)?;
        let hello = Hello {
            cluster: self.config.cluster.clone(),
            boot: self.config.me.boot,
            channel: relay::CHANNEL.to_owned(),
            lane: class,
            priority: if class == 0 { URGENT } else { 0 },
            listen: self.config.listen,
            features: 0,
        };
        let stream = self.transport.connect(addr, Some(&next.name), &hello).await?;
        if stream.peer != *next {
            return Err(Error::Unreachable);
        }
        Ok(self.trunk_up(stream, true))
    }

    /// A trunk is there, whoever opened it.
    pub(super) fn trunk_up(self: &Arc<Self>, stream: Stream, dialled: bool) -> Trunk {
        let (peer, class, priority) = (stream.peer.clone(), stream.hello.lane, stream.hello.priority);
        let trunk = self
            .relaying
            .exchange
            .lock()
            .trunk_up(peer.clone(), class, dialled);
        let hub = Arc::clone(self);
        self.spawn(priority, async move {
            let end = tokio::select! {
                end = hub.read_trunk(trunk, stream.read) => end,
                end = hub.write_trunk(trunk, stream.write) => end,
            };
            tracing::debug!(%peer, ?end, "trunk ended");
            hub.relaying.exchange.lock().trunk_down(trunk);
        });
        trunk
    }

    async fn read_trunk(
        self: &Arc<Self>,
        trunk: Trunk,
        mut read: impl AsyncRead + Unpin,
    ) -> Result<(), Error> {
        let mut buffer = BytesMut::with_capacity(BUDGET);
        let mut events = Vec::new();
        loop {
            buffer.reserve(BUDGET);
            if read.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            self.frames(trunk, &mut buffer, &mut events)?;
            for event in events.drain(..) {
                let hub = Arc::clone(self);
                match event {
                    Event::Incoming(number, open) => {
                        let carrier = circuit::carrier(&self.relaying.exchange, number);
                        self.spawn(open.priority, async move { hub.incoming(carrier, &open).await });
                    }
                    Event::Onward(leg, open) => {
                        self.spawn(open.priority, async move { hub.onward(leg, open).await });
                    }
                }
            }
        }
    }

    fn frames(&self, trunk: Trunk, buffer: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), Error> {
        let mut exchange = self.relaying.exchange.lock();
        while let Some(head) = buffer.first_chunk::<HEADER>().copied() {
            let length = HEADER + frame::length(&head);
            if buffer.len() < length {
                break;
            }
            let body = buffer.split_to(length).freeze().slice(HEADER..);
            let (id, frame) = Frame::decode(&head, body)?;
            exchange.frame(&self.config.me, (trunk, id), frame, events)?;
        }
        Ok(())
    }

    async fn write_trunk(&self, trunk: Trunk, mut write: impl AsyncWrite + Unpin) -> Result<(), Error> {
        let exchange = &self.relaying.exchange;
        let mut out = VecDeque::new();
        loop {
            let taking = poll_fn(|context| exchange.lock().poll_take(trunk, BUDGET, context, &mut out));
            match timeout(self.config.idle, taking).await {
                Ok(taken) => taken?,
                Err(_) if exchange.lock().is_unused(trunk) => {
                    write.shutdown().await?;
                    return Ok(());
                }
                Err(_) => continue,
            }
            let mut outgoing = Outgoing::default();
            out.drain(..).for_each(|piece| outgoing.piece(piece));
            while outgoing.has_remaining() {
                write.write_buf(&mut outgoing).await?;
            }
            write.flush().await?;
        }
    }

    /// A circuit leads here: whoever is at its other end proves itself, and then it is a link like any other.
    async fn incoming(self: &Arc<Self>, carrier: Carrier, open: &Open) {
        match self.transport.accept_over(carrier).await {
            Ok(stream) if [overlay_driver::CHANNEL, relay::CHANNEL].contains(&&*stream.hello.channel) => {
                tracing::warn!(peer = %stream.peer, "circuit refused: such links are not relayed");
            }
            Ok(stream) => self.accepted(stream),
            Err(error) => tracing::debug!(from = %open.from, %error, "circuit refused"),
        }
    }

    /// A circuit leads on.
    async fn onward(self: &Arc<Self>, leg: Leg, open: Open) {
        let exchange = &self.relaying.exchange;
        for next in self.hops(leg, &open).into_iter().take(TRIES) {
            let trunk = timeout(WITHIN / 2, self.trunk(&next, class(open.priority))).await;
            if let Ok(Ok(trunk)) = trunk {
                if !exchange.lock().pass(leg, trunk, open.clone()) {
                    continue;
                }
                return;
            }
            if next == open.to {
                self.guide().inspect(|guide| guide.unreachable(&next));
            }
        }
        exchange.lock().refuse(leg, Why::NoWay);
    }

    /// Who may be asked to lead a circuit on: not who asked us.
    fn hops(&self, leg: Leg, open: &Open) -> Vec<NodeId> {
        let came = self.relaying.exchange.lock().peer(leg.0).cloned();
        let Some((id, ways)) = self.guide().and_then(|guide| guide.ways(&open.to.name)) else {
            return Vec::new();
        };
        if id != open.to {
            return Vec::new();
        }
        let next = ways.into_iter().filter_map(|way| match way {
            Route::Direct | Route::Dial(_) => Some(open.to.clone()),
            Route::Via(next) => Some(next),
            Route::Unknown => None,
        });
        next.filter(|next| Some(next) != came.as_ref() && *next != open.from)
            .collect()
    }
}
