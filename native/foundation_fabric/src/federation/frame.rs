//! What goes between a caller and a gateway.
//!
//! ```text
//! kind u8 │ id u64 │ word u32 │ length u32 │ payload
//! kind 1: a request, word = ms until nobody waits for its answer;  kind 2: the answer, word = its status
//! kind 3: nobody waits for the answer any more, word = 0, no payload
//! ```

use bytes::Bytes;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const HEADER: usize = 17;
/// A peer that announces more than this is not heard out.
pub(super) const MAX_SKIPPED: usize = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Request { id: u64, within_ms: u32, payload: Bytes },
    Answer { id: u64, status: u32, payload: Bytes },
    Cancel { id: u64 },
}

/// What was read: a frame, or the head of one whose payload was too large and was thrown away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Frame(Frame),
    TooLarge { id: u64 },
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let nothing = Bytes::new();
        let (kind, id, word, payload) = match self {
            Self::Request {
                id,
                within_ms,
                payload,
            } => (1, id, within_ms, payload),
            Self::Answer { id, status, payload } => (2, id, status, payload),
            Self::Cancel { id } => (3, id, &0, &nothing),
        };
        let mut out = Vec::with_capacity(HEADER + payload.len());
        out.push(kind);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&word.to_be_bytes());
        // Bounded far below by who makes a frame.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    /// Waits for the next frame to begin; `None` at an orderly end. May be given up and called again.
    pub(super) async fn begin(link: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<u8>> {
        match link.read_u8().await {
            Ok(kind @ 1..=3) => Ok(Some(kind)),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the next frame; `max` bounds its payload. `None` at an orderly end.
    pub(super) async fn read(link: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Option<Read>> {
        match Self::begin(link).await? {
            None => Ok(None),
            Some(kind) => Self::finish(link, kind, max).await.map(Some),
        }
    }

    /// Reads the rest of a frame that began with `kind`.
    pub(super) async fn finish(
        link: &mut (impl AsyncRead + Unpin),
        kind: u8,
        max: usize,
    ) -> io::Result<Read> {
        let id = link.read_u64().await?;
        let word = link.read_u32().await?;
        let length = link.read_u32().await? as usize;
        if length > max {
            if length > MAX_SKIPPED {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut rest = link.take(length as u64);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
            return Ok(Read::TooLarge { id });
        }
        let mut payload = Vec::new();
        // Grows with what really arrives, not with what was announced.
        let arrived = link.take(length as u64).read_to_end(&mut payload).await?;
        if arrived < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let payload = payload.into();
        Ok(Read::Frame(match kind {
            1 => Self::Request {
                id,
                within_ms: word,
                payload,
            },
            2 => Self::Answer {
                id,
                status: word,
                payload,
            },
            _ => Self::Cancel { id },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(mut bytes: &[u8], max: usize) -> io::Result<Option<Read>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Frame::read(&mut bytes, max))
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_was(kind in 1..=3, id: u64, word: u32, payload in prop::collection::vec(0..=255_u8, 0..300)) {
            let payload = Bytes::from(payload);
            let frame = match kind {
                1 => Frame::Request { id, within_ms: word, payload },
                2 => Frame::Answer { id, status: word, payload },
                _ => Frame::Cancel { id },
            };
            prop_assert_eq!(read(&frame.encode(), 300).unwrap(), Some(Read::Frame(frame)));
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(mut bytes in prop::collection::vec(0..=255_u8, 0..60)) {
            let _ = read(&bytes, 20);
            if let Some(first) = bytes.first_mut() { *first = 1; }
            let _ = read(&bytes, 20);
        }

        #[test]
        fn a_cut_frame_is_an_error(id: u64, at: prop::sample::Index) {
            let bytes = Frame::Answer { id, status: 0, payload: Bytes::from_static(b"payload") }.encode();
            let cut = 1 + at.index(bytes.len() - 1);
            prop_assert!(read(&bytes[..cut], 300).is_err());
        }
    }

    #[test]
    fn a_payload_above_the_bound_is_skipped() {
        let frame = Frame::Request {
            id: 7,
            within_ms: 1,
            payload: Bytes::from_static(b"too much"),
        };
        assert_eq!(read(&frame.encode(), 7).unwrap(), Some(Read::TooLarge { id: 7 }));
        let mut endless = frame.encode();
        endless[13..17].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(read(&endless, 7).is_err());
        assert_eq!(read(&[], 7).unwrap(), None);
    }
}
