//! The receiving side.

use super::seal::{key, nonce};
use super::window::Window;
use super::{DatagramError, HEADER, MAX_AGE, MAX_PAYLOAD, OVERHEAD, SESSION, VERSION};
use crate::secret::Secret;
use ring::aead::{Aad, LessSafeKey};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A datagram that passed.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The sender's life.
    pub session: [u8; SESSION],
    /// What it says.
    pub payload: &'a [u8],
}

struct Sender {
    key: LessSafeKey,
    secret: Arc<Secret>,
    window: Window,
    /// Nothing older than this is taken once the sender is forgotten.
    heard: Duration,
}

/// Opens datagrams and remembers what was taken. Costs a key derivation for each secret (3 µs) for a datagram from an
/// unknown sender, forged ones included, and a look into a table for others, besides opening the seal.
pub struct Opener {
    /// Any of them may have sealed a datagram.
    secrets: Vec<Arc<Secret>>,
    cluster: String,
    senders: HashMap<[u8; SESSION], Sender>,
    most: usize,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("senders", &self.senders.len())
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// Remembers at most `most` senders: 1 kB at most for each five.
    pub fn new(secret: &Secret, cluster: &str, most: usize) -> Self {
        Self {
            secrets: vec![Arc::new(secret.clone())],
            cluster: cluster.to_owned(),
            senders: HashMap::new(),
            most,
        }
    }

    /// Opens what was sealed with one of `secrets` from now on. Forgets senders of other secrets.
    pub fn set_secrets<'s>(&mut self, secrets: impl IntoIterator<Item = &'s Secret>) {
        let known = std::mem::take(&mut self.secrets);
        let kept = |secret: &Secret| known.iter().find(|known| known.same(secret)).cloned();
        self.secrets = secrets
            .into_iter()
            .map(|secret| kept(secret).unwrap_or_else(|| Arc::new(secret.clone())))
            .collect();
        let secrets = &self.secrets;
        self.senders
            .retain(|_, sender| secrets.iter().any(|secret| Arc::ptr_eq(secret, &sender.secret)));
    }

    /// The cluster whose datagrams are opened.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Opens `bytes` in place. `now` is the time since the epoch. After an error nothing is remembered of the
    /// datagram, and `bytes` may hold anything.
    pub fn open<'a>(&mut self, now: Duration, bytes: &'a mut [u8]) -> Result<Opened<'a>, DatagramError> {
        if bytes.len() < OVERHEAD || bytes.len() > OVERHEAD + MAX_PAYLOAD {
            return Err(DatagramError::Malformed);
        }
        let (header, sealed) = bytes
            .split_first_chunk_mut::<HEADER>()
            .ok_or(DatagramError::Malformed)?;
        let (session, counter, sent) = parse(header).ok_or(DatagramError::Malformed)?;
        if now.abs_diff(sent) > MAX_AGE {
            return Err(DatagramError::TooOld);
        }
        let known = self.senders.get_mut(&session);
        if let Some(sender) = known {
            if !sender.window.is_new(counter) {
                return Err(DatagramError::Replay);
            }
            let payload = unseal(&sender.key, counter, header, sealed)?;
            sender.window.take(counter);
            sender.heard = now;
            return Ok(Opened { session, payload });
        }
        let (key, secret) = self.key_of(&session, counter, header, sealed)?;
        let payload = unseal(&key, counter, header, sealed)?;
        self.make_room(now)?;
        let mut window = Window::default();
        window.take(counter);
        self.senders.insert(
            session,
            Sender {
                key,
                secret,
                window,
                heard: now,
            },
        );
        Ok(Opened { session, payload })
    }

    /// The key of an unknown sender: that of the only secret, or of the one that opens a copy.
    fn key_of(
        &self,
        session: &[u8; SESSION],
        counter: u64,
        header: &[u8; HEADER],
        sealed: &[u8],
    ) -> Result<(LessSafeKey, Arc<Secret>), DatagramError> {
        let mut keys = self
            .secrets
            .iter()
            .map(|secret| (key(secret, &self.cluster, session), Arc::clone(secret)));
        if let [_] = self.secrets[..] {
            return keys.next().ok_or(DatagramError::Forged);
        }
        let opens = |key: &LessSafeKey| unseal(key, counter, header, &mut sealed.to_vec()).is_ok();
        keys.find(|(key, _)| opens(key)).ok_or(DatagramError::Forged)
    }

    #[cfg(test)]
    pub(super) fn senders_known(&self) -> usize {
        self.senders.len()
    }

    /// Forgets senders that were silent for so long that nothing of theirs would be taken any more.
    fn make_room(&mut self, now: Duration) -> Result<(), DatagramError> {
        if self.senders.len() >= self.most {
            self.senders
                .retain(|_, sender| now.abs_diff(sender.heard) <= 2 * MAX_AGE);
        }
        if self.senders.len() < self.most {
            Ok(())
        } else {
            Err(DatagramError::TooMany)
        }
    }
}

fn parse(header: &[u8; HEADER]) -> Option<([u8; SESSION], u64, Duration)> {
    let (version, rest) = header.split_first()?;
    let (session, rest) = rest.split_first_chunk::<SESSION>()?;
    let (counter, rest) = rest.split_first_chunk::<8>()?;
    let sent = u64::from_be_bytes(*rest.first_chunk::<8>()?);
    (*version == VERSION).then(|| {
        (
            *session,
            u64::from_be_bytes(*counter),
            Duration::from_millis(sent),
        )
    })
}

fn unseal<'a>(
    key: &LessSafeKey,
    counter: u64,
    header: &[u8; HEADER],
    sealed: &'a mut [u8],
) -> Result<&'a [u8], DatagramError> {
    let payload = key.open_in_place(nonce(counter), Aad::from(*header), sealed);
    payload
        .map(|payload| &*payload)
        .map_err(|_| DatagramError::Forged)
}
