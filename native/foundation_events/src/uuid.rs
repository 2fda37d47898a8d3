//! UUIDs between their canonical text and their bytes.

/// The sixteen bytes of a UUID in its canonical lower-case text form; None for every other text.
pub(crate) fn parse(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let words = [[0, 4], [9, 14], [19, 24], [28, 32]];
    let mut bytes = [0u8; 16];
    for (bytes, [a, b]) in bytes.chunks_exact_mut(4).zip(words) {
        let mut digits = [0; 8];
        digits[..4].copy_from_slice(&text[a..a + 4]);
        digits[4..].copy_from_slice(&text[b..b + 4]);
        bytes.copy_from_slice(&parse_hex(digits)?);
    }
    Some(bytes)
}

/// Eight lower-case digits at once, a byte of the word each; None when one of them is something else.
fn parse_hex(digits: [u8; 8]) -> Option<[u8; 4]> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_le_bytes(digits);
    // A letter has its seventh bit set and counts from ten.
    let values = (text & (0x0f * EACH)) + 9 * (text >> 6 & EACH);
    let letters = (values + 6 * EACH) >> 4 & EACH;
    let again = values + 0x30 * EACH + 39 * letters;
    if values & (0xf0 * EACH) != 0 || again != text {
        return None;
    }
    // The first digit of two is the upper half of its byte, and the lower byte of its pair.
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let joined = pairs | pairs >> 8;
    let [a, b, _, _, c, d, _, _] = joined.to_le_bytes();
    Some([a, b, c, d])
}

/// The text of a UUID, in lower case.
pub(crate) fn format(bytes: &[u8; 16], text: &mut [u8; 36]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text[at] = b'-';
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digit_by_digit(text: &str) -> Option<[u8; 16]> {
        let dashes = |i: usize| matches!(i, 8 | 13 | 18 | 23);
        let shaped = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| match dashes(i) {
                true => b == b'-',
                false => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            });
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let number = shaped.then(|| u128::from_str_radix(&digits, 16).ok());
        number.flatten().map(u128::to_be_bytes)
    }

    proptest! {
        #[test]
        fn uuids_are_read_and_nothing_else(
            bytes in any::<[u8; 16]>(),
            (at, other) in (0..36_usize, 0..128_u8),
        ) {
            let mut text = [0; 36];
            format(&bytes, &mut text);
            prop_assert_eq!(parse(&text), Some(bytes));
            text[at] = other;
            let spoilt = std::str::from_utf8(&text).unwrap();
            prop_assert_eq!(parse(&text), digit_by_digit(spoilt));
        }
    }
}
