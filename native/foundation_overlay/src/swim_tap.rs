//! Where foca, which keeps to itself, is listened to: its codec, its runtime, its broadcasts.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use foca::{Codec, Header, Member, Message, Notification, PostcardCodec, Runtime};

use crate::swim_id::SwimId;
use crate::swim_rumours::Cases;

/// What went by inside foca since it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Overheard {
    /// Updates in what arrived.
    pub(crate) updates: Vec<Member<SwimId>>,
    /// Members that said good-bye, as they were told to us.
    pub(crate) goodbyes: Vec<SwimId>,
    /// Who accuses whom.
    pub(crate) cases: Cases,
    /// Whether there are accusations not looked at yet.
    pub(crate) accused: bool,
}

/// Shared between foca's codec, its broadcast handler and us. Never contended: one thread at a time is
/// in the overlay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear(Arc<Mutex<Overheard>>);

impl Ear {
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Overheard) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Foca's own postcard codec, with an ear for updates.
#[derive(Debug)]
pub(crate) struct TapCodec {
    pub(crate) ear: Ear,
}

impl Codec<SwimId> for TapCodec {
    type Error = postcard::Error;

    fn encode_header(&mut self, header: &Header<SwimId>, buf: impl BufMut) -> Result<(), Self::Error> {
        PostcardCodec.encode_header(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<SwimId>, Self::Error> {
        PostcardCodec.decode_header(buf)
    }

    fn encode_member(&mut self, member: &Member<SwimId>, buf: impl BufMut) -> Result<(), Self::Error> {
        PostcardCodec.encode_member(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<SwimId>, Self::Error> {
        let member: Member<SwimId> = PostcardCodec.decode_member(buf)?;
        self.ear.with(|heard| heard.updates.push(member.clone()));
        Ok(member)
    }
}

/// What foca told its runtime.
#[derive(Debug)]
pub(crate) enum Note {
    Up(SwimId),
    Down(SwimId),
    Rename(SwimId, SwimId),
    Rejoin(SwimId),
    ProbeFailed(SwimId),
    /// A probe of this member began, with this datagram.
    Pinged(SwimId, Bytes),
    /// Others were asked to probe.
    Asked,
    Received {
        from: SwimId,
        incarnation: u16,
        ack: bool,
        undead: bool,
    },
    /// Our own incarnation, as foca stamps it on what it sends.
    Incarnation(u16),
}

/// Collects what foca wants done until we do it.
#[derive(Debug, Default)]
pub(crate) struct Collect {
    pub(crate) sends: Vec<(SwimId, Bytes)>,
    pub(crate) timers: Vec<(Duration, foca::Timer<SwimId>)>,
    pub(crate) notes: Vec<Note>,
}

impl Runtime<SwimId> for Collect {
    fn notify(&mut self, notification: Notification<'_, SwimId>) {
        let note = match notification {
            Notification::MemberUp(id) => Note::Up(id.clone()),
            Notification::MemberDown(id) => Note::Down(id.clone()),
            Notification::Rename(old, new) => Note::Rename(old.clone(), new.clone()),
            Notification::Rejoin(id) => Note::Rejoin(id.clone()),
            Notification::ProbeFailed(_, id) => Note::ProbeFailed(id.clone()),
            Notification::DataReceived(header) => Note::Received {
                from: header.src.clone(),
                incarnation: header.src_incarnation,
                ack: matches!(header.message, Message::Ack(_)),
                undead: matches!(header.message, Message::TurnUndead),
            },
            Notification::DataSent(header) => {
                match header.message {
                    Message::Ping(_) => {
                        // Foca sends before it says what it sent.
                        let sent = self.sends.last().map(|(_, bytes)| bytes.clone());
                        self.notes
                            .push(Note::Pinged(header.dst.clone(), sent.unwrap_or_default()));
                    }
                    Message::PingReq { .. } => self.notes.push(Note::Asked),
                    _ => {}
                }
                Note::Incarnation(header.src_incarnation)
            }
            Notification::Active | Notification::Idle | Notification::Defunct => return,
        };
        self.notes.push(note);
    }

    fn send_to(&mut self, to: SwimId, data: &[u8]) {
        self.sends
            .push((to, crate::wire::wrap(crate::wire::kind::SWIM, data)));
    }

    fn submit_after(&mut self, event: foca::Timer<SwimId>, after: Duration) {
        self.timers.push((after, event));
    }
}
