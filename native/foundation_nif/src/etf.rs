//! The external term format, where more than one file writes it.

/// An integer in the shortest of its forms.
#[inline]
pub(crate) fn integer(n: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(n) {
        out.extend_from_slice(&[97, byte]);
    } else if let Ok(n) = i32::try_from(n) {
        out.push(98);
        out.extend_from_slice(&n.to_be_bytes());
    } else {
        let digits = n.unsigned_abs().to_le_bytes();
        let len = 8 - n.unsigned_abs().leading_zeros() as usize / 8;
        out.extend_from_slice(&[110, len as u8, u8::from(n < 0)]);
        out.extend_from_slice(&digits[..len]);
    }
}
