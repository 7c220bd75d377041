//! A stable fingerprint of bytes.
//!
//! It tells whether two inputs are the same over processes and versions, so `std`'s hasher, which promises no
//! stability, will not do. It is FNV-1a with 128 bits (the parameters of the FNV specification): no defence against
//! an attacker who looks for collisions, and none is needed, because it only compares what one user sent twice.

use crate::hex::shown_in_hex;

/// The 128-bit fingerprint of some bytes; shown as 32 hexadecimal digits.
///
/// ```
/// use ergane_core::Digest;
///
/// let looked_at = Digest::of(b"{\"command\":\"make\"}");
/// assert_ne!(looked_at, Digest::of(b"{\"command\":\"make install\"}"));
/// assert_eq!(looked_at.to_string().len(), 32);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// The fingerprint of `bytes`.
    ///
    /// ```
    /// use ergane_core::Digest;
    ///
    /// assert_eq!(Digest::of(b"hello"), Digest::of(b"hello"), "in every process and version");
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
        const PRIME: u128 = 0x0000000001000000000000000000013b;
        Self(bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME)))
    }

    /// The fingerprint itself, the lowest byte first.
    ///
    /// ```
    /// assert_eq!(ergane_core::Digest::of(b"hello").to_bytes().len(), 16);
    /// ```
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// The fingerprint that [`to_bytes`](Self::to_bytes) gave.
    ///
    /// ```
    /// use ergane_core::Digest;
    ///
    /// let digest = Digest::of(b"hello");
    /// assert_eq!(Digest::from_bytes(digest.to_bytes()), digest);
    /// ```
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }
}

shown_in_hex!(Digest);

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn the_fingerprint_is_that_of_the_published_algorithm_and_survives_serde() {
        assert_eq!(Digest::of(b"").to_string(), "6c62272e07bb014262b821756295c58d");
        assert_eq!(Digest::of(b"a").to_string(), "d228cb696f1a8caf78912b704e4a8964");
        let digest = Digest::of(b"hello");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}
