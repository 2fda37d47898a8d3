//! All that a distribution holds, in bytes, so that another node merges it without loss.
//!
//! The HdrHistogram encoding keeps the buckets only; here sum, least and largest value and the number of clamped values
//! go along. Fixed-width numbers are big-endian: digits (1 byte), resolution, highest, clamped, count, least, largest
//! (8 each), sum (16). Then, for each 64 buckets of which one is in use: the step from those before as ZigZag LEB128, a
//! bit for each bucket in use (8), their counts as ZigZag LEB128.

use crate::Error;
use crate::counts::{BLOCK, Counts};
use crate::distribution::{Distribution, Tally};
use crate::encoding::{read_zigzag, write_zigzag};
use crate::layout::{HIGHEST, Layout};

/// Room for what most distributions take.
const USUAL: usize = 1_024;

/// The bytes. O(buckets in use).
#[must_use]
pub fn pack(distribution: &Distribution) -> Vec<u8> {
    pack_both(
        &distribution.layout,
        distribution.clamped,
        &distribution.tally,
        &Tally::default(),
    )
}

/// The bytes of two tallies together.
pub(crate) fn pack_both(layout: &Layout, clamped: u64, a: &Tally, b: &Tally) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    bytes.push(layout.digits());
    for word in [
        layout.resolution().to_bits(),
        layout.highest(),
        clamped,
        a.count.saturating_add(b.count),
        a.min.min(b.min),
        a.max.max(b.max),
    ] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.extend_from_slice(&a.sum.saturating_add(b.sum).to_be_bytes());
    let mut last = 0;
    a.counts
        .for_each_block_with(&b.counts, |block, mut mask, counters| {
            write_zigzag(&mut bytes, (block - last) as i64);
            bytes.extend_from_slice(&mask.to_be_bytes());
            while mask != 0 {
                let n = counters[mask.trailing_zeros() as usize];
                write_zigzag(&mut bytes, i64::try_from(n).unwrap_or(i64::MAX));
                mask &= mask - 1;
            }
            last = block;
        });
    bytes
}

/// Adds what `pack` wrote to a distribution, without putting it together first where the buckets are the same.
///
/// # Errors
/// [`Error::Encoding`] for anything else; a part of it may have been added then.
pub fn merge_packed(all: &mut Distribution, bytes: &[u8]) -> Result<(), Error> {
    let (one, rest) = head(bytes)?;
    if one.count() == 0 || all.count() == 0 || !all.layout.same_buckets(&one.layout) {
        all.merge(&unpack(bytes)?);
        return Ok(());
    }
    all.merge_totals(&one);
    let counted = read_buckets(&one.layout, rest, &mut all.tally)?;
    if counted == one.count() {
        Ok(())
    } else {
        Err(Error::Encoding)
    }
}

/// What `pack` wrote.
///
/// # Errors
/// [`Error::Encoding`] for anything else.
pub fn unpack(bytes: &[u8]) -> Result<Distribution, Error> {
    unpack_into(Counts::default(), bytes)
}

/// What `pack` wrote, in the room of counts that are not needed any more.
///
/// # Errors
/// [`Error::Encoding`] for anything else.
pub(crate) fn unpack_into(mut room: Counts, bytes: &[u8]) -> Result<Distribution, Error> {
    let (mut one, rest) = head(bytes)?;
    room.clear();
    one.tally.counts = room;
    let layout = one.layout;
    if read_buckets(&layout, rest, &mut one.tally)? == one.count() {
        Ok(one)
    } else {
        Err(Error::Encoding)
    }
}

/// All but the buckets, and the bytes of these.
fn head(bytes: &[u8]) -> Result<(Distribution, &[u8]), Error> {
    let (&digits, mut rest) = bytes.split_first().ok_or(Error::Encoding)?;
    let resolution = f64::from_bits(u64::from_be_bytes(take(&mut rest)?));
    let [highest, clamped, count, min, max] = [(); 5].map(|()| take(&mut rest).map(u64::from_be_bytes));
    let sum = u128::from_be_bytes(take(&mut rest)?);
    let layout = Layout::of_units(digits, resolution, highest?).map_err(|_| Error::Encoding)?;
    let tally = Tally {
        count: count?,
        sum,
        min: min?,
        max: max?,
        ..Tally::default()
    };
    if tally.count > 0 && (tally.min > tally.max || tally.max > HIGHEST) {
        return Err(Error::Encoding);
    }
    let one = Distribution {
        layout,
        tally,
        clamped: clamped?,
    };
    Ok((one, rest))
}

fn read_buckets(layout: &Layout, mut rest: &[u8], tally: &mut Tally) -> Result<u64, Error> {
    let buckets = layout.buckets();
    let blocks = buckets.div_ceil(BLOCK);
    let mut block = 0_usize;
    let mut counted = 0_u64;
    while !rest.is_empty() {
        let step = usize::try_from(read_zigzag(&mut rest)?).map_err(|_| Error::Encoding)?;
        let mask = u64::from_be_bytes(take(&mut rest)?);
        block = block.checked_add(step).ok_or(Error::Encoding)?;
        let last = block.saturating_mul(BLOCK) + (63 - (mask | 1).leading_zeros()) as usize;
        if block >= blocks || last >= buckets {
            return Err(Error::Encoding);
        }
        tally.counts.add_block(block, mask, || {
            let n = u64::try_from(read_zigzag(&mut rest)?).map_err(|_| Error::Encoding)?;
            counted = counted.saturating_add(n);
            Ok(n)
        })?;
    }
    Ok(counted)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk().ok_or(Error::Encoding)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Number;
    use proptest::prelude::*;

    fn of(values: &[i64], resolution: f64) -> Distribution {
        let mut all = Distribution::new(Layout::new(3, resolution, Some(1e12)).unwrap());
        values.iter().for_each(|v| all.record(Number::Int(*v)));
        all
    }

    fn same(a: &Distribution, b: &Distribution) -> bool {
        a.buckets() == b.buckets()
            && (a.count(), a.sum_units(), a.clamped()) == (b.count(), b.sum_units(), b.clamped())
            && (a.min(), a.max()) == (b.min(), b.max())
    }

    proptest! {
        #[test]
        fn merging_what_was_packed_is_recording_all_into_one(
            a in prop::collection::vec(-5_i64..1_000_000_000, 0..200),
            b in prop::collection::vec(-5_i64..1_000_000_000, 0..200),
        ) {
            let mut merged = unpack(&pack(&of(&a, 1.0))).unwrap();
            let mut packed = merged.clone();
            merged.merge(&unpack(&pack(&of(&b, 1.0))).unwrap());
            merge_packed(&mut packed, &pack(&of(&b, 1.0))).unwrap();
            let all = of(&[a, b].concat(), 1.0);
            prop_assert!(same(&merged, &all));
            prop_assert!(same(&packed, &all));
        }

        #[test]
        fn other_bytes_are_refused_or_read_as_some_distribution(mut bytes in prop::collection::vec(any::<u8>(), 0..120), at in 0_usize..200, to: u8) {
            let _ = unpack(&bytes);
            bytes = pack(&of(&[1, 5, 7_000], 0.5));
            let length = bytes.len();
            bytes[at % length] = to;
            if let Ok(read) = unpack(&bytes) {
                let _ = (read.quantiles(&[0.5, 1.0]), read.stddev());
            }
            prop_assert!(unpack(&bytes[..length - 1]).is_err());
            prop_assert!(merge_packed(&mut of(&[2], 0.5), &bytes[..length - 1]).is_err());
        }
    }
}
