//! Frames on their way to other nodes: to the process that sends them.

use crate::fabric::{send_message, with_env};
use bytes::Bytes;
use foundation_consensus::Network;
use rustler::{Encoder, LocalPid, OwnedBinary};

mod atoms {
    rustler::atoms! { foundation_consensus_frame }
}

/// Frames that come in one message.
pub(crate) const MAX_BATCH: usize = 256;

/// Hands frames to a process as `{:foundation_consensus_frame, to, frame}`.
pub(crate) struct ToProcess {
    wire: LocalPid,
    me: String,
}

impl ToProcess {
    pub(crate) fn new(wire: LocalPid, me: &str) -> Self {
        Self {
            wire,
            me: me.to_owned(),
        }
    }
}

impl Network for ToProcess {
    fn send(&self, to: &str, frame: Bytes) -> bool {
        debug_assert_ne!(to, self.me, "a node sends nothing to itself");
        with_env(|env| {
            let frame = OwnedBinary::from_slice(&frame).release(env);
            let message = (atoms::foundation_consensus_frame(), to, frame).encode(env);
            send_message(env, &self.wire, message)
        })
    }
}
