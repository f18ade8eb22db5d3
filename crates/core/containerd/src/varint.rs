//! Numbers in containerd's databases.

/// Reads an unsigned varint of Go's `encoding/binary`.
pub(crate) fn varint(bytes: &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_mul(1u64.checked_shl(7 * u32::try_from(i).ok()?)?)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
