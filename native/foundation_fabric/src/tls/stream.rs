//! The two halves of an established TLS link. Each has its own key, buffer and half of the socket.

use super::handshake::{Established, NextKeys};
use super::record::{Cipher, Content, HEADER, MAX_PLAIN, MAX_SEALED, RecordError, TRAILER, sealed_length};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Smallest buffer: one record.
const SMALL: usize = HEADER + MAX_SEALED;
/// Largest buffer to read into.
const LARGE: usize = 256 * 1024;
/// Sealed bytes that one write call makes before it hands them to the socket.
const WRITE: usize = 8 * (HEADER + MAX_PLAIN + TRAILER);
/// Records under one key before it is changed: half of what AES-GCM allows by rustls' account (2^24).
const REKEY: u64 = 1 << 23;

const KEY_UPDATE: u8 = 24;

/// What both halves touch, seldom: only when a key changes.
struct Shared {
    next: Mutex<Box<dyn NextKeys>>,
    /// The peer asked us to change our key too.
    asked: AtomicBool,
}

/// An alert that the peer ended the link with.
#[derive(Debug, thiserror::Error)]
#[error("TLS alert {0}")]
pub(crate) struct Alert(pub(crate) u8);

/// Makes the halves of a link from a finished handshake.
pub(crate) fn halves<R, W>(established: Established, read: R, write: W) -> Option<(Reader<R>, Writer<W>)> {
    let Established {
        secrets,
        next,
        early,
        incoming,
        ..
    } = established;
    let shared = Arc::new(Shared {
        next: Mutex::new(next),
        asked: AtomicBool::new(false),
    });
    let mut buffer = early;
    let plain = 0..buffer.len();
    buffer.extend_from_slice(&incoming);
    let sealed = plain.end..buffer.len();
    buffer.resize(buffer.len().max(SMALL), 0);
    let reader = Reader {
        socket: read,
        cipher: Cipher::new(secrets.rx)?,
        shared: shared.clone(),
        buffer,
        plain,
        sealed,
        small_reads: 0,
        ended: false,
        failed: None,
    };
    let writer = Writer {
        socket: write,
        cipher: Cipher::new(secrets.tx)?,
        shared,
        buffer: Vec::new(),
        sent: 0,
        rekey_after: REKEY,
        small_writes: 0,
        closing: false,
    };
    Some((reader, writer))
}

impl Reader<()> {
    /// Puts a socket in.
    pub(super) fn attach<R>(self, socket: R) -> Reader<R> {
        self.with(socket).1
    }
}

/// What the peer sends, opened.
pub(crate) struct Reader<R> {
    socket: R,
    cipher: Cipher,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    /// Opened bytes not yet handed out.
    plain: Range<usize>,
    /// Bytes of records not yet opened, behind `plain`.
    sealed: Range<usize>,
    /// Reads in a row that a much smaller buffer would have done for.
    small_reads: u32,
    ended: bool,
    /// What came to light behind bytes that were still good.
    failed: Option<io::Error>,
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R> Reader<R> {
    /// Takes the socket out.
    pub(super) fn detach(self) -> (R, Reader<()>) {
        self.with(())
    }

    fn with<S>(self, socket: S) -> (R, Reader<S>) {
        let reader = Reader {
            socket,
            cipher: self.cipher,
            shared: self.shared,
            buffer: self.buffer,
            plain: self.plain,
            sealed: self.sealed,
            small_reads: self.small_reads,
            ended: self.ended,
            failed: self.failed,
        };
        (self.socket, reader)
    }

    /// Bytes of memory held for reading.
    #[cfg(test)]
    pub(super) const fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Opens the next record if all of it is here.
    fn open_next(&mut self) -> io::Result<bool> {
        let Some(header) = self.buffer[self.sealed.clone()].first_chunk::<HEADER>() else {
            return Ok(false);
        };
        let length = sealed_length(*header).map_err(invalid)?;
        let body = self.sealed.start + HEADER..self.sealed.start + HEADER + length;
        if body.end > self.sealed.end {
            return Ok(false);
        }
        let (content, plain) = self
            .cipher
            .open(&mut self.buffer[body.clone()])
            .map_err(invalid)?;
        self.sealed.start = body.end;
        let plain = body.start..body.start + plain;
        match content {
            Content::Data => self.plain = plain,
            Content::Alert => self.alert(plain)?,
            Content::Handshake => self.handshake(plain)?,
        }
        Ok(true)
    }

    fn alert(&mut self, plain: Range<usize>) -> io::Result<()> {
        match self.buffer[plain] {
            [_, 0] => {
                self.ended = true;
                Ok(())
            }
            [_, code] => Err(io::Error::new(io::ErrorKind::ConnectionReset, Alert(code))),
            _ => Err(invalid(RecordError::Malformed)),
        }
    }

    /// Nothing but key updates follows our handshakes: tickets are switched off.
    fn handshake(&mut self, plain: Range<usize>) -> io::Result<()> {
        let [KEY_UPDATE, 0, 0, 1, asked @ (0 | 1)] = self.buffer[plain] else {
            return Err(invalid(RecordError::Malformed));
        };
        let keys = self.shared.next.lock().receive().map_err(invalid)?;
        self.cipher = Cipher::new(keys).ok_or_else(|| invalid(RecordError::Malformed))?;
        if asked == 1 {
            self.shared.asked.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Moves the sealed bytes to the front, so that at least the rest of one record fits behind them.
    fn make_room(&mut self) {
        if self.sealed.is_empty() {
            self.sealed = 0..0;
            if self.small_reads > 256 && self.buffer.len() > SMALL {
                self.buffer = vec![0; SMALL];
                self.small_reads = 0;
            }
        } else if self.sealed.start > 0 {
            // Less than a record, so this costs little beside what is read behind it.
            self.buffer.copy_within(self.sealed.clone(), 0);
            self.sealed = 0..self.sealed.len();
        }
    }

    /// Grows the buffer when the socket had more than fitted, and counts reads that needed far less.
    fn adapt(&mut self, count: usize) {
        if self.sealed.end == self.buffer.len() && self.buffer.len() < LARGE {
            self.buffer.resize(LARGE, 0);
        }
        self.small_reads = if count * 8 < self.buffer.len() {
            self.small_reads.saturating_add(1)
        } else {
            0
        };
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Err(error));
        }
        while out.remaining() > 0 && !this.ended {
            if !this.plain.is_empty() {
                let count = out.remaining().min(this.plain.len());
                out.put_slice(&this.buffer[this.plain.start..this.plain.start + count]);
                this.plain.start += count;
                continue;
            }
            match this.open_next() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) if out.filled().len() > before => {
                    this.failed = Some(error);
                    break;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            if out.filled().len() > before {
                break;
            }
            this.make_room();
            let mut room = ReadBuf::new(&mut this.buffer[this.sealed.end..]);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut room))?;
            let count = room.filled().len();
            if count == 0 {
                // Without a closing alert something may have been cut off.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.sealed.end += count;
            this.adapt(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// What goes to the peer, sealed.
pub(crate) struct Writer<W> {
    socket: W,
    cipher: Cipher,
    shared: Arc<Shared>,
    /// Sealed bytes; those up to `sent` are in the socket.
    buffer: Vec<u8>,
    sent: usize,
    /// Records after which the key is changed.
    rekey_after: u64,
    /// Writes in a row that need far less buffer than there is.
    small_writes: u32,
    closing: bool,
}

impl<W> Writer<W> {
    /// Takes the socket out.
    pub(super) fn detach(self) -> (W, Writer<()>) {
        self.with(())
    }

    fn with<S>(self, socket: S) -> (W, Writer<S>) {
        let writer = Writer {
            socket,
            cipher: self.cipher,
            shared: self.shared,
            buffer: self.buffer,
            sent: self.sent,
            rekey_after: self.rekey_after,
            small_writes: self.small_writes,
            closing: self.closing,
        };
        (self.socket, writer)
    }
}

impl Writer<()> {
    /// Puts a socket in.
    pub(super) fn attach<W>(self, socket: W) -> Writer<W> {
        self.with(socket).1
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.buffer.len() {
            let count = ready!(Pin::new(&mut self.socket).poll_write(context, &self.buffer[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.sent = 0;
        self.buffer.clear();
        if self.small_writes > 256 && self.buffer.capacity() > SMALL {
            self.buffer = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes of memory held for writing.
    #[cfg(test)]
    pub(super) const fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Sends a record that nobody sealed.
    #[cfg(test)]
    pub(super) async fn spoil(&mut self) {
        use tokio::io::AsyncWriteExt;
        self.socket
            .write_all(&[
                23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
            ])
            .await
            .unwrap();
    }

    /// Changes the key after so many records.
    #[cfg(test)]
    pub(super) fn rekey_after(&mut self, records: u64) {
        self.rekey_after = records;
    }

    fn rekey_if_due(&mut self) -> io::Result<()> {
        let asked = self.shared.asked.swap(false, Ordering::AcqRel);
        if !asked && self.cipher.sequence() < self.rekey_after {
            return Ok(());
        }
        self.rekey()
    }

    fn rekey(&mut self) -> io::Result<()> {
        let message: &[u8] = &[KEY_UPDATE, 0, 0, 1, 0];
        self.cipher
            .seal(Content::Handshake, [message].into_iter(), &mut self.buffer);
        let keys = self.shared.next.lock().transmit().map_err(invalid)?;
        self.cipher = Cipher::new(keys).ok_or_else(|| invalid(RecordError::Malformed))?;
        Ok(())
    }

    /// Seals from the front of `parts` until a write's worth is made; says how many bytes went in.
    fn seal(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let most = MAX_PLAIN * (WRITE / (HEADER + MAX_PLAIN + TRAILER));
        let total = parts.iter().map(|part| part.len()).sum::<usize>().min(most);
        let records = total.div_ceil(MAX_PLAIN);
        self.small_writes = if records <= 1 {
            self.small_writes.saturating_add(1)
        } else {
            0
        };
        self.buffer.reserve(total + records * (HEADER + TRAILER));
        let mut parts = Cursor { parts, at: 0 };
        let mut left = total;
        while left > 0 {
            self.rekey_if_due()?;
            let take = left.min(MAX_PLAIN);
            self.cipher
                .seal(Content::Data, parts.take(take), &mut self.buffer);
            left -= take;
        }
        Ok(total)
    }
}

/// Walks over slices as if they were one.
struct Cursor<'a> {
    parts: &'a [IoSlice<'a>],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next `count` bytes, piece by piece.
    fn take(&mut self, mut count: usize) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            while count > 0 {
                let part: &'a [u8] = self.parts.first()?;
                let rest = &part[self.at..];
                if rest.is_empty() {
                    self.parts = &self.parts[1..];
                    self.at = 0;
                    continue;
                }
                let piece = &rest[..rest.len().min(count)];
                self.at += piece.len();
                count -= piece.len();
                return Some(piece);
            }
            None
        })
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Writer<W> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        let count = this.seal(parts)?;
        // Taken is taken: what the socket has no room for stays here until the next call.
        match this.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            let close_notify: &[u8] = &[1, 0];
            this.cipher
                .seal(Content::Alert, [close_notify].into_iter(), &mut this.buffer);
        }
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}
