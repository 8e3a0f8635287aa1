//! Counter-based random bits: Philox4x32-10 (Salmon et al. 2011, *Parallel Random Numbers: As Easy as 1, 2, 3*).
//!
//! A random value is a pure function of (key, stream, element), so a mask needs no storage: backward draws it again,
//! any order and any number of threads draw the same, and so does every device. One evaluation gives 128 bits,
//! eight 16-bit lanes, one for each of eight consecutive elements.
//!
//! Element `e` takes counter `[low(e / 8), high(e / 8), stream[0], stream[1]]` and lane `e mod 8`; lane `n` is the
//! low (n even) or high (n odd) half of word `n / 2`. It is dropped if that value is below `round(rate * 65536)`.
//!
//! About 40 integer instructions an element when scalar, 2 to 3 when 16 counters share a vector: bound by the
//! integer multiplier. Exact integer arithmetic, hence deterministic.

/// Elements that share one evaluation: eight 16-bit lanes.
pub const GROUP: usize = 8;

/// Counters worked on side by side: one 512-bit vector of words.
const LANES: usize = 16;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What is added to the key after each round: the golden ratio and the square root of three.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox on one counter.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox_lanes(counter.map(|word| [word]), key).map(|[word]| word)
}

/// The same on `N` counters: `counters[w][n]` is word `w` of counter `n`. Inlined, so that a caller that runs under
/// wide vector instructions gets them here too.
#[inline(always)]
pub fn philox_lanes<const N: usize>(counters: [[u32; N]; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    let [mut a, mut b, mut c, mut d] = counters;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        for n in 0..N {
            let left = a[n] as u64 * MULTIPLIERS[0] as u64;
            let right = c[n] as u64 * MULTIPLIERS[1] as u64;
            a[n] = (right >> 32) as u32 ^ b[n] ^ k0;
            c[n] = (left >> 32) as u32 ^ d[n] ^ k1;
            b[n] = right as u32;
            d[n] = left as u32;
        }
        k0 = k0.wrapping_add(KEY_STEPS[0]);
        k1 = k1.wrapping_add(KEY_STEPS[1]);
    }
    [a, b, c, d]
}

/// The value below which an element is dropped; `rate` in 0 ..= 1.
pub fn threshold(rate: f32) -> u32 {
    (rate * 65536.0).round() as u32
}

/// What a kept element is multiplied by, so that the mean stays exactly: the share that [`threshold`] really keeps,
/// not `1 - rate`. 0 if nothing is kept.
pub fn kept_scale(threshold: u32) -> f32 {
    if threshold >= 65536 { 0.0 } else { 65536.0 / (65536 - threshold) as f32 }
}

/// The 16-bit value of one element.
pub fn value(key: [u32; 2], stream: [u32; 2], element: u64) -> u16 {
    let group = element / GROUP as u64;
    let words = philox4x32_10([group as u32, (group >> 32) as u32, stream[0], stream[1]], key);
    let lane = (element % GROUP as u64) as usize;
    (words[lane / 2] >> (16 * (lane % 2))) as u16
}

/// Is one element kept?
pub fn keep(key: [u32; 2], stream: [u32; 2], threshold: u32, element: u64) -> bool {
    value(key, stream, element) as u32 >= threshold
}

/// The 16-bit values of the elements `first_element ..`, one for each place of `out`. Inlined, so that it takes the
/// vector width of the caller.
///
/// # Panics
/// If `first_element` is not a multiple of [`GROUP`].
#[inline(always)]
pub fn fill(key: [u32; 2], stream: [u32; 2], first_element: u64, out: &mut [u16]) {
    assert!(first_element.is_multiple_of(GROUP as u64), "a group of elements shares one counter");
    let mut group = first_element / GROUP as u64;
    for out in out.chunks_mut(LANES * GROUP) {
        let counters: [u64; LANES] = std::array::from_fn(|n| group + n as u64);
        let words = philox_lanes(group_counters(counters, stream), key);
        let values: [u16; LANES * GROUP] = std::array::from_fn(|e| {
            let lane = e % GROUP;
            (words[lane / 2][e / GROUP] >> (16 * (lane % 2))) as u16
        });
        out.copy_from_slice(&values[..out.len()]);
        group += LANES as u64;
    }
}

/// Counters of `N` groups, in the layout of [`philox_lanes`].
#[inline(always)]
pub fn group_counters<const N: usize>(groups: [u64; N], stream: [u32; 2]) -> [[u32; N]; 4] {
    [groups.map(|g| g as u32), groups.map(|g| (g >> 32) as u32), [stream[0]; N], [stream[1]; N]]
}

/// Which of the elements `first_element ..` are kept, by the widest vectors of this machine.
///
/// # Panics
/// If `first_element` is not a multiple of [`GROUP`].
pub fn keep_block(key: [u32; 2], stream: [u32; 2], threshold: u32, first_element: u64, out: &mut [bool]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut values = [0; LANES * GROUP];
            for (block, out) in out.chunks_mut(LANES * GROUP).enumerate() {
                let values = &mut values[..out.len()];
                fill(key, stream, first_element + (block * LANES * GROUP) as u64, values);
                for (keep, &value) in out.iter_mut().zip(&*values) {
                    *keep = value as u32 >= threshold;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors that Random123 publishes for philox4x32-10.
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, words) in cases {
            assert_eq!(philox4x32_10(counter, key), words);
        }
    }

    #[test]
    fn a_block_is_its_elements() {
        let (key, stream) = ([7, 1 << 31], [3, 99]);
        for first in [0, 8, 8 * 0xFFFF_FFF8, 1 << 50] {
            for len in [0, 1, 7, 8, 9, 127, 128, 129, 1000] {
                let mut values = vec![0; len];
                fill(key, stream, first, &mut values);
                let mut keeps = vec![false; len];
                keep_block(key, stream, threshold(0.3), first, &mut keeps);
                for e in 0..len {
                    assert_eq!(values[e], value(key, stream, first + e as u64));
                    assert_eq!(keeps[e], keep(key, stream, threshold(0.3), first + e as u64));
                }
            }
        }
    }

    #[test]
    fn the_share_that_is_kept_is_the_one_asked_for() {
        for rate in [0.0, 0.1, 0.5, 1.0] {
            let mut keeps = vec![false; 1 << 20];
            keep_block([1, 2], [3, 4], threshold(rate), 0, &mut keeps);
            let kept = keeps.iter().filter(|&&keep| keep).count() as f64 / keeps.len() as f64;
            assert!((kept - (1.0 - rate as f64)).abs() <= 0.002, "rate {rate}: kept {kept}");
            let mean = kept * kept_scale(threshold(rate)) as f64;
            assert!(rate == 1.0 || (mean - 1.0).abs() <= 0.004, "rate {rate}: mean {mean}");
        }
    }
}
