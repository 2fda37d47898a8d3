//! A hasher without a seed of its own, so that maps behave alike in each run.

use std::hash::{BuildHasher, Hasher};

/// Builds [`FixedHasher`]s.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fixed;

impl BuildHasher for Fixed {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0x51_7c_c1_b7_27_22_0a_95)
    }
}

/// Multiplies and folds each word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedHasher(u64);

impl FixedHasher {
    fn word(&mut self, word: u64) {
        self.0 = spread(self.0 ^ word);
    }
}

/// Spreads the bits of a word over the whole word.
pub(crate) fn spread(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ (word >> 29)
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        spread(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.word(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }
}
