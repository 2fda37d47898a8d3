//! The sending side.

use super::{DatagramError, HEADER, MAX_PAYLOAD, SESSION, VERSION};
use crate::secret::{Secret, Use};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The key of one sender's life.
pub(super) fn key(secret: &Secret, cluster: &str, session: &[u8; SESSION]) -> LessSafeKey {
    let context = [session.as_slice(), cluster.as_bytes()].concat();
    let key = secret.derive(Use::Datagram, &context);
    LessSafeKey::new(
        UnboundKey::new(&CHACHA20_POLY1305, key.bytes()).expect("the key has the cipher's length"),
    )
}

pub(super) fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Seals datagrams. Shared between threads.
pub struct Sealer {
    key: LessSafeKey,
    session: [u8; SESSION],
    counter: AtomicU64,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl Sealer {
    /// A sealer for one life. `session` must never come twice under one secret: draw it at random.
    pub fn new(secret: &Secret, cluster: &str, session: [u8; SESSION]) -> Self {
        Self {
            key: key(secret, cluster, &session),
            session,
            counter: AtomicU64::new(0),
        }
    }

    /// Appends the sealed datagram to `out`. `now` is the time since the epoch.
    pub fn seal(&self, now: Duration, payload: &[u8], out: &mut Vec<u8>) -> Result<(), DatagramError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(DatagramError::Oversized);
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut header = [0; HEADER];
        header[0] = VERSION;
        header[1..=SESSION].copy_from_slice(&self.session);
        header[1 + SESSION..][..8].copy_from_slice(&counter.to_be_bytes());
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        header[1 + SESSION + 8..].copy_from_slice(&millis.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(header), &mut out[start + HEADER..])
            .expect("the payload is far below the cipher's length bound");
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }
}
