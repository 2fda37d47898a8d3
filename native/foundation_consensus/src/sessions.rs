//! Which numbers of which clients were applied, and what came of them. Part of the replicated state: every member
//! forgets the same at the same place of the log.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::codec::{Malformed, Reader, put_bytes};
use crate::types::Session;

/// Replies kept for each client: so many of its proposals may be on their way at a time.
pub(crate) const WINDOW: u64 = 256;
/// A client that has proposed nothing for so long, by the time of the log, may be forgotten.
const IDLE_MS: u64 = 3_600_000;
/// And is, when there are more clients than this; when that is not enough, the sixteenth that is idle the longest.
const CLIENTS: usize = 65_536;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Client {
    highest: u64,
    seen_ms: u64,
    /// Numbers above `highest - WINDOW` that were applied, in order of number.
    replies: VecDeque<(u64, Bytes)>,
}

/// What is known of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is to be applied.
    New,
    /// It was applied, with this reply.
    Reply(Bytes),
    /// It may have been applied; the reply is gone.
    Forgotten,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    clients: BTreeMap<u128, Client>,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn known(&self, session: Session) -> Known {
        let Some(client) = self.clients.get(&session.client) else {
            return Known::New;
        };
        if session.seq + WINDOW <= client.highest {
            return Known::Forgotten;
        }
        match client.replies.binary_search_by_key(&session.seq, |(seq, _)| *seq) {
            Ok(at) => Known::Reply(client.replies[at].1.clone()),
            Err(_) => Known::New,
        }
    }

    pub(crate) fn applied(&mut self, session: Session, time_ms: u64, reply: Bytes) {
        let client = self.clients.entry(session.client).or_default();
        client.highest = client.highest.max(session.seq);
        client.seen_ms = time_ms;
        if let Err(at) = client.replies.binary_search_by_key(&session.seq, |(seq, _)| *seq) {
            client.replies.insert(at, (session.seq, reply));
        }
        let highest = client.highest;
        while client
            .replies
            .front()
            .is_some_and(|(seq, _)| seq + WINDOW <= highest)
        {
            client.replies.pop_front();
        }
        if self.clients.len() > CLIENTS {
            self.forget(time_ms);
        }
    }

    fn forget(&mut self, now_ms: u64) {
        self.clients.retain(|_, client| client.seen_ms + IDLE_MS > now_ms);
        if self.clients.len() > CLIENTS {
            let seen = |(id, client): (&u128, &Client)| (client.seen_ms, *id);
            let mut idle: Vec<(u64, u128)> = self.clients.iter().map(seen).collect();
            idle.sort_unstable();
            for (_, id) in &idle[..CLIENTS / 16] {
                self.clients.remove(id);
            }
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.clients.len() as u32).to_le_bytes());
        for (id, client) in &self.clients {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&client.highest.to_le_bytes());
            out.extend_from_slice(&client.seen_ms.to_le_bytes());
            out.extend_from_slice(&(client.replies.len() as u32).to_le_bytes());
            for (seq, reply) in &client.replies {
                out.extend_from_slice(&seq.to_le_bytes());
                put_bytes(out, reply);
            }
        }
    }

    pub(crate) fn read(from: &mut Reader) -> Result<Self, Malformed> {
        let mut sessions = Sessions::default();
        for _ in 0..from.count(36)? {
            let id = from.u128()?;
            let mut client = Client {
                highest: from.u64()?,
                seen_ms: from.u64()?,
                replies: VecDeque::new(),
            };
            for _ in 0..from.count(12)? {
                client.replies.push_back((from.u64()?, from.bytes()?));
            }
            sessions.clients.insert(id, client);
        }
        Ok(sessions)
    }
}
