//! TLS 1.3 records (RFC 8446, section 5), sealed and opened in place.
//!
//! rustls makes the handshake and all keys. The records are ours because each direction then works without the
//! other, and because bytes are copied once on the way in and once on the way out.

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

/// Bytes before a record's content.
pub(crate) const HEADER: usize = 5;
/// Most bytes of plaintext in a record.
pub(crate) const MAX_PLAIN: usize = 16 * 1024;
/// Most bytes behind a header: RFC 8446 allows 256 for type, padding and tag.
pub(crate) const MAX_SEALED: usize = MAX_PLAIN + 256;
/// Bytes that sealing adds behind the plaintext: the type and the tag.
pub(crate) const TRAILER: usize = 1 + TAG;
const TAG: usize = 16;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Alert,
    Handshake,
    Data,
}

impl Content {
    const fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }
}

/// Why bytes are not the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("not a TLS record")]
    Malformed,
    #[error("a record above its size bound")]
    Oversized,
    #[error("a record that was changed, repeated or left out")]
    Forged,
}

/// One direction's key, and how many records it has seen.
pub(crate) struct Cipher {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Cipher {
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self {
            key,
            iv: iv.as_ref().try_into().ok()?,
            sequence,
        })
    }

    /// How many records were sealed or opened under this key.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..]
            .iter_mut()
            .zip(self.sequence.to_be_bytes())
            .for_each(|(to, from)| *to ^= from);
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends one record that holds the concatenation of `parts`, at most [`MAX_PLAIN`] bytes.
    pub(crate) fn seal<'a>(
        &mut self,
        content: Content,
        parts: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        parts.for_each(|part| out.extend_from_slice(part));
        out.push(content.code());
        let length = out.len() - start - HEADER + TAG;
        debug_assert!(length <= MAX_PLAIN + TRAILER);
        let header = header(length);
        out[start..start + HEADER].copy_from_slice(&header);
        let nonce = self.nonce();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start + HEADER..])
            .expect("a record is far below the cipher's length bound");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens one record in place: `sealed` is what follows its header. Gives the length of the plaintext, which then
    /// stands at the front of `sealed`.
    pub(crate) fn open(&mut self, sealed: &mut [u8]) -> Result<(Content, usize), RecordError> {
        let header = header(sealed.len());
        let nonce = self.nonce();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(header), sealed)
            .map_err(|_| RecordError::Forged)?;
        let end = plain
            .iter()
            .rposition(|byte| *byte != 0)
            .ok_or(RecordError::Malformed)?;
        if end > MAX_PLAIN {
            return Err(RecordError::Oversized);
        }
        let content = match plain[end] {
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::Data,
            _ => return Err(RecordError::Malformed),
        };
        Ok((content, end))
    }
}

/// The header of a protected record of `length` bytes; it is also what the seal covers besides the content.
fn header(length: usize) -> [u8; HEADER] {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [Content::Data.code(), 3, 3, length[0], length[1]]
}

/// How many bytes follow this header.
pub(crate) fn sealed_length(header: [u8; HEADER]) -> Result<usize, RecordError> {
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if header[..3] != [Content::Data.code(), 3, 3] || length <= TAG {
        return Err(RecordError::Malformed);
    }
    if length > MAX_SEALED {
        Err(RecordError::Oversized)
    } else {
        Ok(length)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn cipher(algorithm: &'static ring::aead::Algorithm) -> Cipher {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; algorithm.key_len()]).unwrap());
        Cipher {
            key,
            iv: [9; NONCE_LEN],
            sequence: 0,
        }
    }

    fn open(cipher: &mut Cipher, record: &mut [u8]) -> Result<(Content, usize), RecordError> {
        let (header, sealed) = record.split_first_chunk_mut().ok_or(RecordError::Malformed)?;
        let length = sealed_length(*header)?;
        cipher.open(sealed.get_mut(..length).ok_or(RecordError::Malformed)?)
    }

    proptest! {
        #[test]
        fn a_record_opens_to_what_was_sealed(parts in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..5_000), 0..4), which in 0..3usize) {
            let algorithm = [&AES_128_GCM, &AES_256_GCM, &CHACHA20_POLY1305][which];
            let (mut sealer, mut opener) = (cipher(algorithm), cipher(algorithm));
            for _ in 0..3 {
                let mut record = Vec::new();
                sealer.seal(Content::Data, parts.iter().map(Vec::as_slice), &mut record);
                let (content, length) = open(&mut opener, &mut record).unwrap();
                prop_assert_eq!(content, Content::Data);
                prop_assert_eq!(&record[HEADER..HEADER + length], &parts.concat()[..]);
            }
        }

        #[test]
        fn a_changed_record_is_forged(at: prop::sample::Index, bit in 0..8u8) {
            let mut record = Vec::new();
            cipher(&AES_128_GCM).seal(Content::Data, [&[1; 100][..]].into_iter(), &mut record);
            let at = at.index(record.len());
            record[at] ^= 1 << bit;
            prop_assert!(open(&mut cipher(&AES_128_GCM), &mut record).is_err());
        }

        #[test]
        fn any_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(open(&mut cipher(&AES_128_GCM), &mut bytes).is_err());
            if let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER>() {
                *header = super::header(rest.len());
                prop_assert!(open(&mut cipher(&AES_128_GCM), &mut bytes).is_err());
            }
        }
    }

    #[test]
    fn a_repeated_record_is_forged() {
        let mut record = Vec::new();
        cipher(&AES_128_GCM).seal(Content::Data, [&b"once"[..]].into_iter(), &mut record);
        let mut opener = cipher(&AES_128_GCM);
        assert!(open(&mut opener, &mut record.clone()).is_ok());
        assert_eq!(open(&mut opener, &mut record), Err(RecordError::Forged));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(sealed_length([23, 3, 3, 0x41, 0x01]), Err(RecordError::Oversized));
        assert_eq!(sealed_length([23, 3, 3, 0x41, 0x00]), Ok(MAX_SEALED));
        assert_eq!(sealed_length([23, 3, 3, 0, 16]), Err(RecordError::Malformed));
        assert_eq!(sealed_length([22, 3, 3, 0, 100]), Err(RecordError::Malformed));
    }
}
