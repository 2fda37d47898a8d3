//! What nodes with partial views say to each other.
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::wire::Contact;

/// Most nodes in one exchange; a message with more is refused.
pub(super) const MAX_CONTACTS: usize = 33;
/// The longest walk believed.
const MAX_TTL: u8 = 32;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// I am new: take me in and tell others of me.
    Join,
    /// Someone is new; the walk that ends at you takes it in.
    ForwardJoin { joiner: Contact, ttl: u8 },
    /// Be my neighbour. High: I have no other.
    Neighbour { high: bool },
    /// Yes, to any of these.
    Accept,
    /// No, to any of these.
    Refuse,
    /// You are my neighbour no more. You might turn to this one instead.
    Disconnect { instead: Option<Contact> },
    /// A part of my views for a part of yours, wherever the walk ends.
    Shuffle {
        origin: Contact,
        ttl: u8,
        contacts: Vec<Contact>,
    },
    /// A part of mine for what you sent.
    ShuffleReply { contacts: Vec<Contact> },
    /// Be my neighbour: you are nearer than this one, whom I would let go.
    Trade { old: Contact },
}

impl Message {
    /// Refuses what no sender of ours says.
    pub(super) fn checked(self) -> Result<Self, Error> {
        let fits = match &self {
            Self::Shuffle { ttl, contacts, .. } => contacts.len() <= MAX_CONTACTS && *ttl <= MAX_TTL,
            Self::ShuffleReply { contacts } => contacts.len() <= MAX_CONTACTS,
            Self::ForwardJoin { ttl, .. } => *ttl <= MAX_TTL,
            _ => true,
        };
        if fits {
            Ok(self)
        } else {
            Err(Error::Malformed("views message"))
        }
    }
}
