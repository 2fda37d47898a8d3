//! The task of one lane: opens the link when there is something to send, writes, and takes acknowledgements.

use super::pipe::{Pipe, Write};
use super::remote::{Lane, Remote};
use super::ways::{self, Place, Way};
use super::wire::Incoming;
use super::{Hub, Sink};
use crate::channel::Channel;
use crate::error::Error;
use crate::frame::{Grant, HEADER, Header, Kind, u64_at};
use crate::hello::Hello;
use crate::transport::{Stream, TransportError};
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// An attempt that has taken so long is joined by another.
const ANOTHER: Duration = Duration::from_secs(1);
/// Attempts at once.
const ATTEMPTS: usize = 4;
/// How often a silent link is looked at.
const TICK: Duration = Duration::from_millis(250);

/// A link that the receiver has said its first word on.
pub(super) struct Link<S> {
    incoming: Incoming<Box<dyn AsyncRead + Send + Unpin>>,
    write: Write,
    grant: Grant,
    max_message: u64,
    relayed: bool,
    /// Held as long as the link.
    _place: Option<Place<S>>,
}

pub(super) async fn run<S: Sink>(
    hub: Arc<Hub<S>>,
    remote: Arc<Remote>,
    channel: Arc<Channel>,
    lane: Arc<Lane>,
) {
    let (mut failures, mut turn) = (0, 0);
    loop {
        lane.await_work().await;
        if !await_up(&hub, &remote, &lane).await {
            continue;
        }
        match open(&hub, &remote, &channel, lane.number, turn).await {
            Ok((link, way)) => {
                failures = 0;
                let end = follow(&hub, &remote, &channel, &lane, link).await;
                turn = 0;
                if let Err(error) = end {
                    tracing::debug!(peer = %remote.name, channel = %channel.name, %error, "link ended");
                    // What carried it may be at fault.
                    turn = way + 1;
                    sleep(jitter(FIRST_WAIT)).await;
                }
            }
            Err(error) => {
                tracing::debug!(peer = %remote.name, channel = %channel.name, %error, "no link");
                failures += 1;
                turn += 1;
                let wait = jitter((FIRST_WAIT * (1 << failures.min(8))).min(hub.config.backoff));
                let mut news = remote.whereabouts.subscribe();
                // News of the node end the wait.
                let _ = timeout(wait, news.changed()).await;
            }
        }
    }
}

/// Uses a link until it ends, and in its place a better one as soon as there is one.
async fn follow<S: Sink>(
    hub: &Arc<Hub<S>>,
    remote: &Arc<Remote>,
    channel: &Arc<Channel>,
    lane: &Lane,
    mut link: Link<S>,
) -> Result<(), Error> {
    loop {
        lane.linked.store(true, Ordering::Relaxed);
        lane.links.fetch_add(1, Ordering::Relaxed);
        let relayed = link.relayed;
        let end = tokio::select! {
            end = drive(hub, channel, lane, link) => Err(end),
            better = ways::better(hub, remote, channel, lane.number, relayed) => Ok(better),
        };
        lane.linked.store(false, Ordering::Relaxed);
        let settled = lane.outbox.lock().link_down();
        hub.settle(settled);
        match end {
            Ok(better) => link = better,
            Err(end) => return end,
        }
    }
}

/// Waits until the node is up; false when what was queued was given up meanwhile.
async fn await_up<S: Sink>(hub: &Hub<S>, remote: &Remote, lane: &Lane) -> bool {
    let mut news = remote.whereabouts.subscribe();
    if timeout(hub.config.forget, news.wait_for(|at| at.up))
        .await
        .is_ok()
    {
        return true;
    }
    let settled = lane.outbox.lock().clear();
    hub.settle(settled);
    false
}

/// Opens a link by one of the ways there are, beginning with the `turn`th; when an attempt takes long, another is begun
/// beside it, by the next way.
async fn open<S: Sink>(
    hub: &Arc<Hub<S>>,
    remote: &Arc<Remote>,
    channel: &Arc<Channel>,
    lane: u16,
    turn: usize,
) -> Result<(Link<S>, usize), Error> {
    let ways = hub.ways_to(remote);
    if ways.is_empty() {
        return Err(Error::Unreachable);
    }
    let mut attempts = JoinSet::new();
    for number in turn.. {
        if attempts.len() < ATTEMPTS {
            let (hub, remote, channel) = (Arc::clone(hub), Arc::clone(remote), Arc::clone(channel));
            let way = ways[number % ways.len()].clone();
            attempts.spawn(async move {
                let link = attempt(&hub, &remote, &channel, lane, &way).await?;
                Ok((link, number))
            });
        }
        match timeout(ANOTHER, attempts.join_next()).await {
            Ok(Some(Ok(outcome))) => return outcome,
            Ok(_) => return Err(Error::Closed),
            Err(_) => {}
        }
    }
    Err(Error::Unreachable)
}

pub(super) async fn attempt<S: Sink>(
    hub: &Arc<Hub<S>>,
    remote: &Remote,
    channel: &Channel,
    lane: u16,
    way: &Way,
) -> Result<Link<S>, Error> {
    let at = remote.whereabouts.borrow().clone();
    let priority = channel.settings.priority;
    let hello = Hello {
        cluster: hub.config.cluster.clone(),
        boot: hub.config.me.boot,
        channel: channel.name.to_string(),
        lane,
        priority,
        listen: hub.config.listen,
        features: 0,
    };
    let stream = match way {
        Way::Dial { .. } => {
            let dialled = hub.transport.connect(at.addr, Some(&remote.name), &hello).await;
            dialled.inspect_err(|error| hub.not_dialled(remote, error))?
        }
        Way::Relay { next, to } => {
            let carrier = hub.circuit(next, to, priority).await?;
            hub.transport.connect_over(carrier, &remote.name, &hello).await?
        }
    };
    if stream.peer.boot > at.boot {
        hub.learn(&stream.peer, at.addr);
    }
    let mut link = timeout(Duration::from_secs(5), greet(stream))
        .await
        .map_err(|_| Error::Transport(TransportError::Timeout))??;
    link.relayed = way.relayed();
    link._place = matches!(way, Way::Dial { spare: true }).then(|| Place::new(hub));
    Ok(link)
}

/// Reads the receiver's first word.
async fn greet<S>(stream: Stream) -> Result<Link<S>, Error> {
    let mut incoming = Incoming::new(stream.read);
    loop {
        if let Some(header) = incoming.header()? {
            if header.kind != Kind::Resume {
                return Err(Error::Malformed);
            }
            if let Some(body) = incoming.there().get(HEADER..HEADER + header.length as usize) {
                let (grant, max_message) = (Grant::read(&header, body), u64_at(body, 16));
                incoming.used(HEADER + header.length as usize);
                return Ok(Link {
                    incoming,
                    write: stream.write,
                    grant,
                    max_message,
                    relayed: false,
                    _place: None,
                });
            }
        }
        incoming.more(HEADER + 24).await?;
    }
}

/// Uses the link until it breaks or was idle for long.
async fn drive<S: Sink>(hub: &Hub<S>, channel: &Channel, lane: &Lane, link: Link<S>) -> Result<(), Error> {
    let _place = link._place;
    let pipe = Pipe::new(link.write, channel.settings.compress_above);
    *lane.pipe.lock() = Some(pipe);
    let settled = lane
        .outbox
        .lock()
        .link_up(link.grant, link.max_message, lane.now());
    hub.settle(settled);
    let end = tokio::select! {
        end = write(hub, lane) => end,
        end = listen(hub, lane, link.incoming) => end,
    };
    drop(lane.pipe.lock().take());
    end
}

async fn write<S: Sink>(hub: &Hub<S>, lane: &Lane) -> Result<(), Error> {
    let mut idle = hub.config.idle;
    loop {
        poll_fn(|context| lane.poll_write(context, |settled| hub.settle(settled))).await?;
        if timeout(idle, lane.await_ready()).await.is_ok() {
            idle = hub.config.idle;
            continue;
        }
        // Who queued something may have written it meanwhile.
        let silent = Duration::from_micros(lane.now().saturating_sub(lane.wrote.load(Ordering::Relaxed)));
        idle = match hub.config.idle.saturating_sub(silent) {
            Duration::ZERO => match lane.close_if_idle() {
                Some(write) => return bye(write).await,
                None => hub.config.idle,
            },
            left => left,
        };
    }
}

async fn bye(mut write: Write) -> Result<(), Error> {
    let bye = Header {
        kind: Kind::Bye,
        flags: 0,
        count: 0,
        length: 0,
        number: 0,
    };
    write.write_all(&bye.encode()).await?;
    write.shutdown().await?;
    Ok(())
}

/// Takes acknowledgements; ends when they stay away although some are due.
async fn listen<S: Sink>(
    hub: &Hub<S>,
    lane: &Lane,
    mut incoming: Incoming<Box<dyn AsyncRead + Send + Unpin>>,
) -> Result<(), Error> {
    let mut silent = Duration::ZERO;
    loop {
        while let Some(header) = incoming.header()? {
            let Some(body) = incoming.there().get(HEADER..HEADER + header.length as usize) else {
                break;
            };
            let settled = match header.kind {
                Kind::Ack => lane.outbox.lock().acked(Grant::read(&header, body), lane.now()),
                Kind::Refuse => lane.outbox.lock().refused(header.count),
                Kind::Bye => return Ok(()),
                _ => return Err(Error::Malformed),
            };
            incoming.used(HEADER + header.length as usize);
            settled
                .latencies
                .iter()
                .for_each(|micros| lane.latency.record(*micros, lane.now()));
            hub.settle(settled);
            lane.rouse();
        }
        match timeout(TICK, incoming.more(HEADER + 16)).await {
            Ok(read) => {
                read?;
                silent = Duration::ZERO;
            }
            Err(_) if lane.outbox.lock().expects_ack() => {
                silent += TICK;
                if silent >= hub.config.stall {
                    return Err(Error::Transport(TransportError::Timeout));
                }
            }
            Err(_) => silent = Duration::ZERO,
        }
    }
}

impl Lane {
    /// Waits until something is queued, link or no link.
    async fn await_work(&self) {
        self.await_that(|outbox| outbox.waits() || outbox.expects_ack())
            .await;
    }

    /// Waits until something can be written.
    async fn await_ready(&self) {
        self.await_that(|outbox| self.stuck.swap(false, Ordering::SeqCst) || outbox.is_ready())
            .await;
    }

    async fn await_that(&self, holds: impl Fn(&crate::channel::outbox::Outbox) -> bool) {
        loop {
            self.asleep.store(true, Ordering::SeqCst);
            if holds(&self.outbox.lock()) {
                self.asleep.store(false, Ordering::SeqCst);
                return;
            }
            self.wake.notified().await;
        }
    }

    /// The link's writing end, when nothing waits and nothing is to be acknowledged.
    fn close_if_idle(&self) -> Option<Write> {
        let mut pipe = self.pipe.lock();
        let outbox = self.outbox.lock();
        if outbox.waits() || outbox.expects_ack() {
            return None;
        }
        pipe.take().map(Pipe::into_write)
    }
}

/// Between half and all of that time.
fn jitter(time: Duration) -> Duration {
    let part = RandomState::new().build_hasher().finish() % 1000;
    time / 2 + time * part as u32 / 2000
}
