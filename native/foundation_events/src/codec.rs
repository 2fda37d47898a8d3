//! Varints and bounded reading.

use crate::Error;

#[inline]
pub(crate) fn put_u64(buf: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0; 10];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    buf.extend_from_slice(&bytes[..=len]);
}

#[inline]
pub(crate) fn put_i64(buf: &mut Vec<u8>, value: i64) {
    put_u64(buf, ((value << 1) ^ (value >> 63)) as u64);
}

#[inline]
pub(crate) fn put_bytes(buf: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(buf, bytes.len() as u64);
    buf.extend_from_slice(bytes);
}

/// Reads from a slice and never past it.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        if len > self.rest.len() {
            return Err(Error::Corrupt);
        }
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        Ok(head)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long(),
        }
    }

    // Up to eight bytes are read as one word: its first byte without the upper bit is the last.
    fn long(&mut self) -> Result<u64, Error> {
        let word = self
            .rest
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk));
        let ends = !word & 0x8080_8080_8080_8080;
        if self.rest.len() < 8 || ends == 0 {
            return self.byte_by_byte();
        }
        let len = ends.trailing_zeros() / 8 + 1;
        let sevens = word & (u64::MAX >> (64 - 8 * len)) & 0x7f7f_7f7f_7f7f_7f7f;
        let pairs = sevens & 0x007f_007f_007f_007f | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
        let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
        self.rest = &self.rest[len as usize..];
        Ok(fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4)
    }

    #[cold]
    fn byte_by_byte(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(Error::Corrupt);
            }
        }
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Result<i64, Error> {
        let value = self.u64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.u64()?).map_err(|_| Error::Corrupt)?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_put(
            value in prop_oneof![any::<u64>(), (0..64_u32).prop_map(|bits| u64::MAX >> bits)],
            behind in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut bytes = Vec::new();
            put_u64(&mut bytes, value);
            let len = bytes.len();
            for cut in 0..len {
                prop_assert!(Reader::new(&bytes[..cut]).u64().is_err());
            }
            bytes.extend_from_slice(&behind);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.u64().unwrap(), value);
            prop_assert_eq!(reader.rest(), &behind[..]);
        }
    }
}
