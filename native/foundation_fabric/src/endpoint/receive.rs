//! The task of a link that another node opened: reads frames, hands messages on, and acknowledges.

use super::wire::{Incoming, is_gone};
use super::{Hub, Sink};
use crate::channel::inbox::{Inbox, Next, Receiver, Session};
use crate::compress;
use crate::error::Error;
use crate::frame::{HEADER, Header, Kind, LAST, MAX_CHUNK, PACKED};
use crate::transport::Stream;
use foundation_overlay::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long an acknowledgement that nobody waits for may wait for company.
const ACK_WITHIN: Duration = Duration::from_millis(5);

type Read = Incoming<Box<dyn AsyncRead + Send + Unpin>>;

struct Link<R: Receiver> {
    incoming: Read,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    inbox: Inbox<R>,
    session: Arc<Session>,
    gate: watch::Receiver<bool>,
    max_message: u64,
}

pub(super) async fn run<S: Sink>(hub: &Arc<Hub<S>>, stream: Stream) {
    let peer = stream.peer.clone();
    let channel = stream.hello.channel.clone();
    let mut listen = stream.hello.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(stream.remote.ip());
    }
    let Some(session) = hub.session(&peer, &channel, stream.hello.lane) else {
        tracing::debug!(%peer, "link of an earlier life refused");
        return;
    };
    // Who comes over a circuit may not say where it is.
    if !listen.ip().is_unspecified() {
        hub.learn(&peer, listen);
    }
    let settings = hub.settings(&channel);
    let mut link = Link {
        inbox: Inbox::new(
            hub.sink.receiver(&peer, &channel, stream.hello.lane),
            &settings,
            session.begin(),
        ),
        incoming: Incoming::new(stream.read),
        write: stream.write,
        session,
        gate: hub.gate(&channel, watch::Sender::subscribe),
        max_message: settings.max_message,
    };
    let end = link.serve(hub, &peer, &channel).await;
    // What the receiver took is delivered without the link.
    while link.inbox.owes_delivery() && link.inbox.delivered().await.is_ok() {}
    hub.count_arrived(&peer.name, &channel, &std::mem::take(&mut link.inbox.arrived));
    report(&peer, &channel, end);
}

fn report(peer: &NodeId, channel: &str, end: Result<(), Error>) {
    match end {
        Ok(()) | Err(Error::Closed) => {}
        Err(Error::Io(error)) if is_gone(&error) => {}
        Err(error) => tracing::warn!(%peer, channel, %error, "link closed"),
    }
}

impl<R: Receiver> Link<R> {
    async fn serve<S: Sink>(&mut self, hub: &Hub<S>, peer: &NodeId, channel: &str) -> Result<(), Error> {
        let resume = self.inbox.resume().resume(self.max_message);
        self.write.write_all(&resume).await?;
        self.write.flush().await?;
        loop {
            let mut wanted = HEADER;
            while let Some(header) = self.incoming.header()? {
                self.keep_up().await?;
                match self.frame(&header).await? {
                    Step::Done => self.acknowledge(false).await?,
                    Step::Wants(bytes) => {
                        wanted = bytes;
                        break;
                    }
                    Step::Bye => return Ok(()),
                }
            }
            let arrived = std::mem::take(&mut self.inbox.arrived);
            hub.count_arrived(&peer.name, channel, &arrived);
            self.more(wanted).await?;
        }
    }

    /// Waits while the receiver has too much to deliver.
    async fn keep_up(&mut self) -> Result<(), Error> {
        self.inbox.catch_up()?;
        while self.inbox.is_behind() {
            self.inbox.delivered().await?;
            self.acknowledge(false).await?;
        }
        Ok(())
    }

    /// Waits for more bytes; acknowledges when it is time.
    async fn more(&mut self, wanted: usize) -> Result<(), Error> {
        loop {
            self.inbox.catch_up()?;
            self.acknowledge(false).await?;
            let owes = self.inbox.owes_ack();
            tokio::select! {
                biased;
                read = self.incoming.more(wanted) => return read,
                delivered = self.inbox.delivered() => delivered?,
                changed = self.gate.changed() => {
                    changed.map_err(|_| Error::Closed)?;
                    self.acknowledge(true).await?;
                }
                () = sleep(ACK_WITHIN), if owes => self.acknowledge(true).await?,
            }
        }
    }

    async fn acknowledge(&mut self, due: bool) -> Result<(), Error> {
        let paused = *self.gate.borrow();
        if let Some(grant) = self.inbox.ack(paused, due) {
            self.write.write_all(&grant.ack()).await?;
            self.write.flush().await?;
        }
        Ok(())
    }

    async fn frame(&mut self, header: &Header) -> Result<Step, Error> {
        let length = header.length as usize;
        if header.kind == Kind::Chunk && header.has(LAST) {
            // A receiver that delivers small messages later is not given a large one before it has.
            while self.inbox.owes_delivery() {
                self.inbox.delivered().await?;
            }
        }
        match header.kind {
            Kind::Bye => return Ok(Step::Bye),
            Kind::Chunk if !header.has(PACKED) => self.chunk(header).await?,
            Kind::Chunk | Kind::Batch => {
                let Some(body) = self.incoming.there().get(HEADER..HEADER + length) else {
                    return Ok(Step::Wants(HEADER + length));
                };
                let refuse = if header.kind == Kind::Batch {
                    self.inbox.batch(&self.session, header, body)?;
                    false
                } else {
                    packed(&mut self.inbox, &self.session, header, body)?
                };
                self.incoming.used(HEADER + length);
                if refuse {
                    self.refuse(header).await?;
                }
            }
            _ => return Err(Error::Malformed),
        }
        Ok(Step::Done)
    }

    /// The bytes of a chunk go from the link to their place.
    async fn chunk(&mut self, header: &Header) -> Result<(), Error> {
        let length = header.length as usize;
        let next = self.inbox.chunk(&self.session, header, length)?;
        self.incoming.used(HEADER);
        if next == Next::Place {
            let place = self.inbox.place(header);
            let there = self.incoming.take_into(place);
            self.incoming.fill(&mut place[there..]).await?;
            return self.inbox.placed(&self.session, header, length);
        }
        let mut thrown_away = vec![0; length];
        let there = self.incoming.take_into(&mut thrown_away);
        self.incoming.fill(&mut thrown_away[there..]).await?;
        if next == Next::Refuse {
            self.refuse(header).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, header: &Header) -> Result<(), Error> {
        let refusal = Header {
            kind: Kind::Refuse,
            flags: 0,
            count: header.count,
            length: 0,
            number: 0,
        };
        self.write.write_all(&refusal.encode()).await?;
        self.write.flush().await?;
        Ok(())
    }
}

enum Step {
    Done,
    Wants(usize),
    Bye,
}

/// True when the message is to be refused.
fn packed<R: Receiver>(
    inbox: &mut Inbox<R>,
    session: &Session,
    header: &Header,
    body: &[u8],
) -> Result<bool, Error> {
    let raw = compress::raw_length(body, MAX_CHUNK)?;
    match inbox.chunk(session, header, raw)? {
        Next::Place => inbox.packed(session, header, body).map(|()| false),
        Next::Refuse => Ok(true),
        Next::Skip => Ok(false),
    }
}
