//! Which row comes when: a pure function of (seed, epoch, index), so a resume needs one integer and no index array.
//!
//! A keyed permutation of the whole data set, by a Feistel network with cycle walking: the network permutes the
//! next larger power of four, and a value outside the data is sent through again until it falls inside.

/// Rounds of the network. Four make a pseudo-random permutation of a good round function; the rest is margin
/// for small domains, where a round mixes only a few bits.
const ROUNDS: usize = 8;
/// Fewest bits of half a value: below 64 values a balanced network reaches too few of the permutations.
const MIN_HALF_BITS: u32 = 3;

/// A permutation of `0..len` for one epoch.
///
/// `index` is the global position in the epoch. With `world` processes and `batch` rows on each, process `rank`
/// takes the indices `(step * world + rank) * batch ..` and so on: every process can compute every index.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Order {
    /// The permutation of `0..len` for `seed` and `epoch`.
    pub fn new(seed: u64, epoch: u64, len: usize) -> Order {
        let len = len as u64;
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(MIN_HALF_BITS);
        let base = mix(mix(seed) ^ epoch.wrapping_mul(GOLDEN));
        let keys =
            std::array::from_fn(|round| mix(base.wrapping_add((round as u64 + 1).wrapping_mul(GOLDEN))));
        Order { len, half_bits, keys }
    }

    /// How many rows the permutation holds.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True when there is nothing to order.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row that stands at `index`.
    ///
    /// # Panics
    /// If `index` is not below `len`.
    pub fn get(&self, index: usize) -> usize {
        let mut value = index as u64;
        assert!(value < self.len, "index {index} of an order of {} rows", self.len);
        loop {
            value = self.permute(value);
            if value < self.len {
                return value as usize;
            }
        }
    }

    /// One pass of the network over `2 * half_bits` bits: a bijection whatever the round function is.
    fn permute(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) >> (u64::BITS - self.half_bits)));
        }
        (left << self.half_bits) | right
    }
}

/// Which of `n` choices (captions of a picture) row `index` takes in `epoch`; 0 when there is none.
pub fn choose(seed: u64, epoch: u64, index: usize, n: usize) -> usize {
    let bits = mix(mix(mix(seed ^ CHOICE) ^ epoch.wrapping_mul(GOLDEN)) ^ index as u64);
    // The high half of the product is uniform over 0..n, without the bias of a remainder.
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// 2^64 divided by the golden ratio: consecutive multiples are spread evenly over 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Keeps the stream of choices apart from the stream of permutation keys.
const CHOICE: u64 = 0x6361_7074_696f_6e73;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit changes every output bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Which samples each pass of a run visits: an epoch visits each once, in the order of [`Order`]; those that do not fill a
/// last batch sit this epoch out, others will the next. A pure function of the pass, so a resume needs its number alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Visits {
    pub seed: u64,
    pub batch: usize,
    /// Only the first samples; 0 means all.
    pub first: usize,
}

impl Visits {
    fn samples(&self, len: usize) -> usize {
        if self.first == 0 { len } else { self.first.min(len) }
    }

    /// Samples in one pass over a split of `len`: never one twice.
    pub fn batch_of(&self, len: usize) -> usize {
        self.batch.min(self.samples(len))
    }

    /// Passes in one epoch.
    pub fn passes_of(&self, len: usize) -> usize {
        (self.samples(len) / self.batch_of(len).max(1)).max(1)
    }

    /// The epoch of pass number `pass`, counted from 0, and its samples.
    pub fn of_pass(&self, len: usize, pass: u64) -> (u64, Vec<usize>) {
        let (batch, passes) = (self.batch_of(len), self.passes_of(len) as u64);
        let (epoch, within) = (pass / passes, (pass % passes) as usize);
        let order = Order::new(self.seed, epoch, self.samples(len));
        (epoch, (0..batch).map(|i| order.get(within * batch + i)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
        let order = Order::new(seed, epoch, len);
        (0..len).map(|index| order.get(index)).collect()
    }

    #[test]
    fn every_length_is_a_bijection() {
        let primes = [307, 1009, 4099, 65_537];
        let around_powers = (3..17).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for len in (1..300).chain(primes).chain(around_powers) {
            for seed in [0, 7] {
                let mut rows = all(seed, 3, len);
                rows.sort_unstable();
                assert!(rows.iter().copied().eq(0..len), "length {len}, seed {seed}");
            }
        }
    }

    #[test]
    fn an_order_of_nothing_is_empty() {
        assert!(Order::new(1, 1, 0).is_empty());
    }

    #[test]
    fn epochs_and_seeds_differ_and_repeat() {
        for len in [10, 64, 1000] {
            assert_eq!(all(1, 0, len), all(1, 0, len));
            assert_ne!(all(1, 0, len), all(1, 1, len));
            assert_ne!(all(1, 0, len), all(2, 0, len));
            // (seed, epoch) must not collapse into their sum or their exclusive or.
            assert_ne!(all(1, 2, len), all(2, 1, len));
        }
    }

    /// Where row 0 lands, over many epochs, follows the uniform distribution (chi-squared).
    #[test]
    fn every_place_is_as_likely() {
        for len in [5usize, 37, 64] {
            let draws = len * 400;
            for index in [0, len - 1] {
                let mut counts = vec![0f64; len];
                (0..draws).for_each(|epoch| counts[Order::new(5, epoch as u64, len).get(index)] += 1.0);
                let chi: f64 = counts.iter().map(|c| (c - 400.0).powi(2) / 400.0).sum();
                let freedom = (len - 1) as f64;
                assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt(), "length {len}, index {index}: {chi}");
            }
        }
    }

    /// The ancestor shuffled within a buffer of 4, in which a picture's captions were neighbours: a batch held
    /// 2.35 different pictures on average, and the model never learned.
    #[test]
    fn batches_held_few_different_pictures() {
        let (len, batch) = (64 * 50, 64);
        for epoch in 0..4 {
            let order = Order::new(11, epoch, len);
            for start in (0..len).step_by(batch) {
                let rows: std::collections::BTreeSet<_> =
                    (start..start + batch).map(|i| order.get(i)).collect();
                assert_eq!(rows.len(), batch);
                // From all over the data, not from a window that moves along it.
                let spread = rows.last().unwrap() - rows.first().unwrap();
                assert!(spread > len / 2, "epoch {epoch}, batch at {start} spans {spread} of {len} rows");
            }
            let travel: usize = (0..len).map(|i| order.get(i).abs_diff(i)).sum();
            let mean = travel as f64 / len as f64 / len as f64;
            assert!((mean - 1.0 / 3.0).abs() < 0.03, "a uniform shuffle moves a row by a third: {mean}");
        }
    }

    #[test]
    fn choices_are_even_and_change_with_every_argument() {
        let mut counts = [0usize; 5];
        (0..50_000).for_each(|index| counts[choose(1, 2, index, 5)] += 1);
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 500), "{counts:?}");
        let row = |seed, epoch| (0..64).map(|index| choose(seed, epoch, index, 5)).collect::<Vec<_>>();
        assert_ne!(row(1, 1), row(1, 2));
        assert_ne!(row(1, 1), row(2, 1));
        assert_eq!(choose(1, 1, 1, 1), 0);
        assert_eq!(choose(1, 1, 1, 0), 0);
    }
}
