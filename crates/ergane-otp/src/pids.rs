//! Maps by actor id. Ids are counted up within the process and chosen by nobody, so a hash that no stranger can aim at is
//! not needed, and one of a few instructions does: every start and every call looks into such a map.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use ractor::ActorId;

pub(crate) type PidMap<V> = HashMap<ActorId, V, BuildHasherDefault<PidHasher>>;

/// By other numbers that are counted up here.
pub(crate) type NumberMap<V> = HashMap<u64, V, BuildHasherDefault<PidHasher>>;

/// Mixes whole words; good for ids and nothing else.
#[derive(Default)]
pub(crate) struct PidHasher(u64);

impl PidHasher {
    fn mix(&mut self, word: u64) {
        // The golden ratio in 64 bits: an odd number without a pattern.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for PidHasher {
    fn finish(&self) -> u64 {
        // The map takes its place from the low bits, the product has its best ones above.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.mix(byte.into()));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn neighbours_fall_into_different_places() {
        let hasher = BuildHasherDefault::<PidHasher>::default();
        let places: HashSet<u64> = (0..1024).map(|pid| hasher.hash_one(ActorId::Local(pid)) % 4096).collect();
        // A random hash leaves about 880 of them.
        assert!(places.len() > 800, "{}", places.len());
    }
}
