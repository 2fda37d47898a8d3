//! Bytes of the types of Raft, little endian, the same on the disk and on the wire.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use openraft::{EmptyNode, EntryPayload};

use crate::types::{Command, Entry, LogId, Membership, Name, Session, StoredMembership, Vote, log_id};

/// Bytes that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Takes values off the front of bytes; what it answers shares their memory.
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    fn need(&self, bytes: usize) -> Result<(), Malformed> {
        if self.0.len() < bytes {
            Err(Malformed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.need(2)?;
        Ok(self.0.get_u16_le())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        self.need(16)?;
        Ok(self.0.get_u128_le())
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        self.need(bytes)?;
        Ok(self.0.split_to(bytes))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<Bytes, Malformed> {
        let len = self.u16()? as usize;
        let text = self.take(len)?;
        std::str::from_utf8(&text).map_err(|_| Malformed)?;
        Ok(text)
    }

    pub(crate) fn name(&mut self) -> Result<Name, Malformed> {
        let text = self.text()?;
        std::str::from_utf8(&text).map(Name::from).map_err(|_| Malformed)
    }

    /// A count of things that have `size` bytes or more each.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        self.need(count.checked_mul(size).ok_or(Malformed)?)?;
        Ok(count)
    }

    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Malformed> {
        Ok(log_id(self.u64()?, self.u64()?))
    }

    pub(crate) fn optional_log_id(&mut self) -> Result<Option<LogId>, Malformed> {
        self.optional(Self::log_id)
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, Malformed> {
        let term = self.u64()?;
        let committed = self.u8()? == 1;
        let name = self.name()?;
        Ok(if committed {
            Vote::new_committed(term, name)
        } else {
            Vote::new(term, name)
        })
    }

    pub(crate) fn session(&mut self) -> Result<Session, Malformed> {
        Ok(Session {
            client: self.u128()?,
            seq: self.u64()?,
        })
    }

    pub(crate) fn membership(&mut self) -> Result<Membership, Malformed> {
        let mut configs = Vec::new();
        for _ in 0..self.count(4)? {
            let mut config = BTreeSet::new();
            for _ in 0..self.count(2)? {
                config.insert(self.name()?);
            }
            configs.push(config);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.count(2)? {
            nodes.insert(self.name()?, EmptyNode {});
        }
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|_| Malformed)
    }

    pub(crate) fn stored_membership(&mut self) -> Result<StoredMembership, Malformed> {
        Ok(StoredMembership::new(self.optional_log_id()?, self.membership()?))
    }

    pub(crate) fn entry(&mut self) -> Result<Entry, Malformed> {
        let log_id = self.log_id()?;
        let payload = match self.u8()? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Command {
                time_ms: self.u64()?,
                session: self.optional(Self::session)?,
                data: self.bytes()?,
            }),
            2 => EntryPayload::Membership(self.membership()?),
            _ => return Err(Malformed),
        };
        Ok(Entry { log_id, payload })
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Callers keep what they send below 4 GiB: commands and chunks are bounded by the configuration.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    // Names are bounded when they come in.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.extend_from_slice(&(**id.committed_leader_id()).to_le_bytes());
    out.extend_from_slice(&id.index().to_le_bytes());
}

pub(crate) fn put_optional_log_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        put_log_id(out, id);
    }
}

pub(crate) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    out.push(u8::from(vote.committed));
    put_text(out, vote.leader_id.voted_for.as_str());
}

pub(crate) fn put_session(out: &mut Vec<u8>, session: Option<&Session>) {
    out.push(u8::from(session.is_some()));
    if let Some(session) = session {
        out.extend_from_slice(&session.client.to_le_bytes());
        out.extend_from_slice(&session.seq.to_le_bytes());
    }
}

pub(crate) fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let configs = membership.get_joint_config();
    out.extend_from_slice(&(configs.len() as u32).to_le_bytes());
    for config in configs {
        out.extend_from_slice(&(config.len() as u32).to_le_bytes());
        for name in config {
            put_text(out, name.as_str());
        }
    }
    out.extend_from_slice(&(membership.nodes().count() as u32).to_le_bytes());
    for (name, _) in membership.nodes() {
        put_text(out, name.as_str());
    }
}

pub(crate) fn put_stored_membership(out: &mut Vec<u8>, stored: &StoredMembership) {
    put_optional_log_id(out, stored.log_id().as_ref());
    put_membership(out, stored.membership());
}

pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => out.push(0),
        EntryPayload::Normal(command) => {
            out.push(1);
            out.extend_from_slice(&command.time_ms.to_le_bytes());
            put_session(out, command.session.as_ref());
            put_bytes(out, &command.data);
        }
        EntryPayload::Membership(membership) => {
            out.push(2);
            put_membership(out, membership);
        }
    }
}

/// Bytes that `put_entry` writes for most entries, for the room to make.
pub(crate) fn entry_size(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => 54 + command.data.len(),
        EntryPayload::Blank => 17,
        EntryPayload::Membership(_) => 256,
    }
}
