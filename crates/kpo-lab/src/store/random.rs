//! Identifiers that follow from a seed, so that a scenario is the same each time.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough for names.
#[derive(Debug)]
pub(super) struct Random(u64);

/// `k8s.io/apimachinery/pkg/util/rand`: no vowels and nothing that looks like another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A version 4 UUID.
    pub(super) fn uid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let node = b & 0xffff_ffff_ffff;
        let variant = 0x8000 | ((b >> 48) & 0x3fff);
        format!("{:08x}-{:04x}-4{:03x}-{variant:04x}-{node:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xfff)
    }

    /// Five characters.
    pub(super) fn suffix(&mut self) -> String {
        let length = ALPHABET.len() as u64;
        (0..5).map(|_| char::from(ALPHABET[(self.next() % length) as usize])).collect()
    }
}
