//! The HdrHistogram V2 encoding, plain and compressed, as all HdrHistogram libraries read and write it.
//!
//! Plain: a cookie, the length of what follows the header, a normalizing offset (0), the significant digits, the
//! lowest and highest trackable value, the ratio between integers and user values (our resolution), then the buckets
//! as ZigZag LEB128 numbers: a count, or minus the length of a run of empty buckets. Compressed: another cookie, a
//! length, and the plain form in a zlib stream. All header numbers are big-endian.

use crate::Error;
use crate::distribution::Distribution;
use crate::layout::{HIGHEST, Layout};
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use std::io::Read;

const PLAIN: u32 = 0x1c84_9313;
const COMPRESSED: u32 = 0x1c84_9314;
const HEADER: usize = 40;
/// Longest plain form that is read: more than any histogram of up to four digits takes.
const MAX_PLAIN: usize = 16 * 1024 * 1024;

/// The plain encoding. O(buckets in use).
#[must_use]
pub fn encode(distribution: &Distribution) -> Vec<u8> {
    let layout = distribution.layout();
    let mut payload = Vec::new();
    let mut next = 0;
    let mut top = 0;
    distribution.tally.counts.for_each(|index, n| {
        if index > next {
            write_zigzag(&mut payload, -((index - next) as i64));
        }
        write_zigzag(&mut payload, i64::try_from(n).unwrap_or(i64::MAX));
        next = index + 1;
        top = index;
    });
    let highest = layout.highest_of(top).clamp(2, HIGHEST);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&PLAIN.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&0_u32.to_be_bytes());
    bytes.extend_from_slice(&u32::from(layout.digits()).to_be_bytes());
    bytes.extend_from_slice(&1_u64.to_be_bytes());
    bytes.extend_from_slice(&highest.to_be_bytes());
    bytes.extend_from_slice(&layout.resolution().to_be_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// The compressed encoding.
#[must_use]
pub fn encode_compressed(distribution: &Distribution) -> Vec<u8> {
    let plain = encode(distribution);
    let mut zipped = Vec::new();
    // Reading from a slice into a vector has no way to fail.
    let _ = ZlibEncoder::new(plain.as_slice(), Compression::fast()).read_to_end(&mut zipped);
    let mut bytes = Vec::with_capacity(8 + zipped.len());
    bytes.extend_from_slice(&COMPRESSED.to_be_bytes());
    bytes.extend_from_slice(&(zipped.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&zipped);
    bytes
}

/// Reads either encoding. Sum, least and largest value are those of the buckets, which is what the encoding keeps.
///
/// # Errors
/// [`Error::Encoding`] when the bytes are neither, or claim to be larger than any histogram is.
pub fn decode(bytes: &[u8]) -> Result<Distribution, Error> {
    match word(bytes, 0)? {
        PLAIN => decode_plain(bytes),
        COMPRESSED => {
            let length = word(bytes, 4)? as usize;
            let zipped = bytes.get(8..).filter(|zipped| zipped.len() == length);
            let mut plain = Vec::new();
            ZlibDecoder::new(zipped.ok_or(Error::Encoding)?)
                .take(MAX_PLAIN as u64 + 1)
                .read_to_end(&mut plain)
                .map_err(|_| Error::Encoding)?;
            decode_plain(&plain)
        }
        _ => Err(Error::Encoding),
    }
}

fn decode_plain(bytes: &[u8]) -> Result<Distribution, Error> {
    if bytes.len() > MAX_PLAIN || word(bytes, 0)? != PLAIN || word(bytes, 8)? != 0 {
        return Err(Error::Encoding);
    }
    let digits = u8::try_from(word(bytes, 12)?).map_err(|_| Error::Encoding)?;
    let (lowest, highest) = (long(bytes, 16)?, long(bytes, 24)?);
    let ratio = f64::from_bits(long(bytes, 32)?);
    let payload = bytes.get(HEADER..).ok_or(Error::Encoding)?;
    if payload.len() != word(bytes, 4)? as usize || lowest == 0 || lowest > HIGHEST / 2 || highest > HIGHEST {
        return Err(Error::Encoding);
    }
    // Values below `lowest` share a bucket: they are counted in steps of the power of two below it.
    let magnitude = 63 - lowest.leading_zeros();
    let step = (1_u64 << magnitude) as f64;
    let layout = Layout::of_units(digits, ratio * step, HIGHEST).map_err(|_| Error::Encoding)?;
    let last = layout.buckets();
    let mut buckets = Vec::new();
    let mut rest = payload;
    let mut index = 0_usize;
    while !rest.is_empty() {
        let n = read_zigzag(&mut rest)?;
        if n < 0 {
            let run = usize::try_from(n.unsigned_abs()).map_err(|_| Error::Encoding)?;
            index = index.checked_add(run).ok_or(Error::Encoding)?;
        } else {
            if index >= last {
                return Err(Error::Encoding);
            }
            if n > 0 {
                buckets.push((index, n.unsigned_abs()));
            }
            index += 1;
        }
    }
    Ok(Distribution::of_counts(layout, buckets))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Error> {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or(Error::Encoding)
}

fn long(bytes: &[u8], at: usize) -> Result<u64, Error> {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map(u64::from_be_bytes)
        .ok_or(Error::Encoding)
}

/// ZigZag LEB128 as HdrHistogram has it: at most nine bytes, the ninth with all of its eight bits.
#[inline]
pub(crate) fn write_zigzag(out: &mut Vec<u8>, n: i64) {
    let mut value = ((n << 1) ^ (n >> 63)) as u64;
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    for _ in 0..8 {
        if value < 0x80 {
            out.push(value as u8);
            return;
        }
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn read_zigzag(rest: &mut &[u8]) -> Result<i64, Error> {
    // Most numbers are small.
    if let Some((&byte, tail)) = rest.split_first()
        && byte < 0x80
    {
        *rest = tail;
        return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
    }
    let mut value = 0_u64;
    for i in 0..9 {
        let (&byte, tail) = rest.split_first().ok_or(Error::Encoding)?;
        *rest = tail;
        if i == 8 {
            value |= u64::from(byte) << 56;
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            break;
        }
    }
    Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
}
