//! Bytes on disk.
//!
//! A segment is two copies of its header, then frames. A frame is
//! `checksum u32 | length u32 | sequence u64 | payload`, little endian. The highest bit of the length marks the first
//! frame of a group that was written and synced as one (since version 2). The checksum (crc32c) covers the
//! payload, then length, sequence and the salt of the log, so that the bytes of a frame inside a payload are
//! never taken for a record when the reader looks for the next good one behind a damaged place.

use crc32c::{crc32c, crc32c_append};

/// Bytes before the payload of a record.
pub(crate) const FRAME: usize = 16;
/// One copy of the header.
const COPY: usize = 64;
/// Bytes before the first frame.
pub(crate) const HEADER: usize = 2 * COPY;
/// The version this library writes, and the newest it reads.
pub(crate) const VERSION: u16 = 2;
/// The first version whose frames say where a group begins.
pub(crate) const GROUPS: u16 = 2;
/// In a length: a group begins here. Records are far smaller.
const START: u32 = 1 << 31;

const MAGIC: &[u8; 8] = b"FNDTNLOG";
const COMPACTED: u16 = 1;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u16,
    /// Mixed into every checksum of this log.
    pub(crate) salt: u32,
    /// Sequence of the first record it may hold.
    pub(crate) base: u64,
    pub(crate) created_ms: u64,
    /// Set on a compacted segment, which may have holes: the end of its range and the number of its records and bytes.
    pub(crate) compacted: Option<Compacted>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) end: u64,
    pub(crate) records: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0u8; HEADER];
        out[0..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&self.version.to_le_bytes());
        let flags = if self.compacted.is_some() { COMPACTED } else { 0 };
        out[10..12].copy_from_slice(&flags.to_le_bytes());
        out[12..16].copy_from_slice(&self.salt.to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..32].copy_from_slice(&self.created_ms.to_le_bytes());
        let compacted = self.compacted.unwrap_or_default();
        out[32..40].copy_from_slice(&compacted.end.to_le_bytes());
        out[40..48].copy_from_slice(&compacted.records.to_le_bytes());
        out[48..56].copy_from_slice(&compacted.bytes.to_le_bytes());
        let sum = crc32c(&out[..COPY - 4]);
        out[COPY - 4..COPY].copy_from_slice(&sum.to_le_bytes());
        let (first, second) = out.split_at_mut(COPY);
        second.copy_from_slice(first);
        out
    }

    /// The first copy that is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        bytes
            .get(..HEADER)?
            .chunks_exact(COPY)
            .find_map(Self::decode_copy)
    }

    fn decode_copy(copy: &[u8]) -> Option<Header> {
        if &copy[..8] != MAGIC || crc32c(&copy[..COPY - 4]) != u32_at(copy, COPY - 4) {
            return None;
        }
        let flags = u16::from_le_bytes([copy[10], copy[11]]);
        let compacted = (flags & COMPACTED != 0).then(|| Compacted {
            end: u64_at(copy, 32),
            records: u64_at(copy, 40),
            bytes: u64_at(copy, 48),
        });
        Some(Header {
            version: u16::from_le_bytes([copy[8], copy[9]]),
            salt: u32_at(copy, 12),
            base: u64_at(copy, 16),
            created_ms: u64_at(copy, 24),
            compacted,
        })
    }
}

/// Appends a frame whose sequence is not known yet; `seal` completes it.
pub(crate) fn push_unsealed(out: &mut Vec<u8>, payload_sum: u32, payload: &[u8]) {
    // The length fits: the caller has checked it against `max_record_bytes`, a u32.
    let len = payload.len() as u32;
    out.extend_from_slice(&payload_sum.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(payload);
}

/// Seals frames that are written as one group.
pub(crate) fn seal_group(frames: &mut [u8], first: u64, salt: u32) {
    if let Some(length) = frames.get_mut(4..8) {
        let marked = u32_at(length, 0) | START;
        length.copy_from_slice(&marked.to_le_bytes());
    }
    seal(frames, first, salt);
}

/// Gives unsealed frames consecutive sequences and their final checksums. Sealing again with another
/// sequence is not possible: the checksum of the payload is gone.
fn seal(frames: &mut [u8], first: u64, salt: u32) {
    let (mut at, mut seq) = (0, first);
    while at < frames.len() {
        let len = length_at(frames, at);
        frames[at + 8..at + FRAME].copy_from_slice(&seq.to_le_bytes());
        let sum = final_sum(u32_at(frames, at), &frames[at + 4..at + FRAME], salt);
        frames[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        at += FRAME + len;
        seq += 1;
    }
}

/// Appends a complete frame.
pub(crate) fn push_sealed(out: &mut Vec<u8>, seq: u64, salt: u32, payload: &[u8]) {
    let start = out.len();
    push_unsealed(out, crc32c(payload), payload);
    seal(&mut out[start..], seq, salt);
}

fn final_sum(payload_sum: u32, len_and_seq: &[u8], salt: u32) -> u32 {
    let mut tail = [0u8; 16];
    tail[..12].copy_from_slice(len_and_seq);
    tail[12..].copy_from_slice(&salt.to_le_bytes());
    crc32c_append(payload_sum, &tail)
}

/// Length of the payload of the frame at the offset.
fn length_at(bytes: &[u8], at: usize) -> usize {
    (u32_at(bytes, at + 4) & !START) as usize
}

fn starts_group(bytes: &[u8], at: usize) -> bool {
    u32_at(bytes, at + 4) & START != 0
}

/// A whole frame at the offset: its sequence and payload.
fn frame_at(bytes: &[u8], at: usize, salt: u32) -> Option<(u64, &[u8])> {
    let head = bytes.get(at..at + FRAME)?;
    let payload = bytes.get(at + FRAME..(at + FRAME).checked_add(length_at(head, 0))?)?;
    let sum = final_sum(crc32c(payload), &head[4..], salt);
    (sum == u32_at(head, 0)).then(|| (u64_at(head, 8), payload))
}

/// A stretch of a segment that holds no readable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The sequence after the last good record before it, and that of the first good one behind it.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What reading a segment found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) records: u64,
    /// The sequence after the last good record; the base when there is none.
    pub(crate) next: u64,
    /// The offset after the last good record.
    pub(crate) end: u64,
    /// Length of the file.
    pub(crate) len: u64,
    /// Bytes after `end` that are not zeroes written ahead.
    pub(crate) tail: u64,
    /// The tail begins with a frame that is whole but for its checksum.
    pub(crate) tail_is_whole: bool,
    /// Where the last group begins whose first record is readable.
    pub(crate) last_group: u64,
    pub(crate) gaps: Vec<Gap>,
}

/// Reads the records of a segment. `before` is the base of the segment that follows, whose records win over
/// any left here with the same or later sequences (an append that failed and was not acknowledged). `holes`
/// says that sequences may be missing on purpose.
pub(crate) fn scan(
    bytes: &[u8],
    base: u64,
    salt: u32,
    before: u64,
    holes: bool,
    visit: &mut dyn FnMut(u64, &[u8]),
) -> Scan {
    let len = bytes.len() as u64;
    let mut scan = Scan {
        next: base,
        end: len.min(HEADER as u64),
        len,
        ..Scan::default()
    };
    let mut at = HEADER;
    while at < bytes.len() {
        match frame_at(bytes, at, salt) {
            Some((seq, payload)) if (scan.next..before).contains(&seq) => {
                visit(seq, payload);
                if starts_group(bytes, at) {
                    scan.last_group = at as u64;
                }
                at += FRAME + payload.len();
                scan.records += 1;
                scan.next = seq + 1;
                scan.end = at as u64;
            }
            Some((seq, _)) if seq >= before => break,
            _ => match resync(bytes, at, salt, scan.next, before, holes) {
                Some((good, to)) => {
                    let (offset, length) = (at as u64, (good - at) as u64);
                    scan.gaps.push(Gap {
                        offset,
                        bytes: length,
                        from: scan.next,
                        to,
                    });
                    at = good;
                }
                None => {
                    scan.tail = significant(&bytes[at..]);
                    scan.tail_is_whole = scan.tail > 0 && is_whole(bytes, at);
                    break;
                }
            },
        }
    }
    scan
}

/// Where the last group of a log was torn, when records of it lie behind the tear: a power cut may take any part of what
/// was not synced, and no group follows one that was not.
pub(crate) fn torn_group(bytes: &[u8], header: &Header) -> Option<u64> {
    if header.version < GROUPS || header.compacted.is_some() {
        return None;
    }
    let scan = scan(bytes, header.base, header.salt, u64::MAX, false, &mut |_, _| {});
    let torn = scan.gaps.iter().find(|gap| gap.offset > scan.last_group);
    torn.map(|gap| gap.offset)
}

/// The offset and sequence of the next good frame behind a bad one.
fn resync(bytes: &[u8], bad: usize, salt: u32, next: u64, before: u64, holes: bool) -> Option<(usize, u64)> {
    if bytes[bad..].iter().all(|&byte| byte == 0) {
        return None;
    }
    let room = if holes {
        u64::MAX
    } else {
        ((bytes.len() - bad) / FRAME) as u64
    };
    let most = next.saturating_add(room).min(before);
    let last = bytes.len().checked_sub(FRAME)?;
    (bad + 1..=last).find_map(|at| {
        let seq = u64_at(bytes, at + 8);
        let plausible = (next..most).contains(&seq);
        (plausible && frame_at(bytes, at, salt).is_some()).then_some((at, seq))
    })
}

/// Length without the zeroes at the end.
fn significant(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

fn is_whole(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at + 4..at + 8)
        .is_some_and(|_| at.saturating_add(FRAME).saturating_add(length_at(bytes, at)) <= bytes.len())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
