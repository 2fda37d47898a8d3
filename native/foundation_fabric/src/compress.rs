//! Compression of single frames with zstd.

use crate::error::Error;
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// The level: the fastest but for the negative ones.
const LEVEL: i32 = 1;

thread_local! {
    static PACK: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACK: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// `raw length u32 │ zstd` when that is shorter than the bytes by an eighth.
pub fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; 4 + bytes.len() - bytes.len() / 8];
    out[..4].copy_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
    let packed = PACK.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(LEVEL).ok();
        }
        slot.as_mut()?.compress_to_buffer(bytes, &mut out[4..]).ok()
    })?;
    out.truncate(4 + packed);
    Some(out)
}

/// How long the bytes are that `packed` holds; malformed when that is more than `max`.
pub fn raw_length(packed: &[u8], max: usize) -> Result<usize, Error> {
    let Some((length, _)) = packed.split_first_chunk::<4>() else {
        return Err(Error::Malformed);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > max {
        Err(Error::Malformed)
    } else {
        Ok(length)
    }
}

/// Unpacks into `out`, whose length is [`raw_length`].
pub fn unpack(packed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let written = UNPACK.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Decompressor::new().ok();
        }
        slot.as_mut()?.decompress_to_buffer(packed.get(4..)?, out).ok()
    });
    if written == Some(out.len()) {
        Ok(())
    } else {
        Err(Error::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_shrinks_and_comes_back() {
        let text = b"the quick brown fox jumps over the lazy dog. ".repeat(100);
        let packed = pack(&text).unwrap();
        assert!(packed.len() < text.len() / 4);
        let mut out = vec![0; raw_length(&packed, 10_000).unwrap()];
        unpack(&packed, &mut out).unwrap();
        assert_eq!(out, text);
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_anything_is_unpacked() {
        let packed = pack(&[0; 100_000]).unwrap();
        assert!(raw_length(&packed, 99_999).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_or_stay(bytes: Vec<u8>) {
            if let Some(packed) = pack(&bytes) {
                let mut out = vec![0; raw_length(&packed, bytes.len()).unwrap()];
                unpack(&packed, &mut out).unwrap();
                prop_assert_eq!(out, bytes);
            }
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>) {
            if let Ok(length) = raw_length(&bytes, 1 << 16) {
                let _ = unpack(&bytes, &mut vec![0; length]);
            }
        }
    }
}
