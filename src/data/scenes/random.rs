//! The scene world's random numbers: SplitMix64 (Steele, Lea, Flood 2014), keyed by what the scene is.
//!
//! A crate's generator may change between versions; scenes must not, so these few lines are kept here.

/// A stream of random numbers that is a pure function of its key.
#[derive(Debug, Clone)]
pub struct Draws(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Draws {
    pub fn new(key: &[u64]) -> Self {
        // Each word is mixed before the next is added, so (1, 2) and (2, 1) are unrelated streams.
        Draws(key.iter().fold(GOLDEN, |state, &word| mix(state ^ mix(word.wrapping_add(GOLDEN)))))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// An integer in `0..count`; the bias of the product is below 2^-32 for the small counts used here.
    pub fn below(&mut self, count: usize) -> usize {
        (((self.bits() >> 32) * count as u64) >> 32) as usize
    }

    /// Uniform in `low..high`, from 24 bits, so that every value is an exact f32 before scaling.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1u64 << 24) as f32)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
