//! Random values for cases: pure functions of a seed.

use crate::nn::init::Init;
use crate::ops::philox;

/// `len` normal values with this deviation.
pub fn normal(seed: u64, len: usize, deviation: f32) -> Vec<f32> {
    let mut out = vec![0.0; len];
    Init::Normal(deviation).fill(seed, 0, &mut out);
    out
}

/// `len` random bytes.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    words(seed, len).into_iter().map(|w| (w >> 24) as u8).collect()
}

/// `len` tokens below `below`.
pub fn tokens(seed: u64, len: usize, below: u32) -> Vec<u32> {
    words(seed, len).into_iter().map(|w| w % below).collect()
}

fn words(seed: u64, len: usize) -> Vec<u32> {
    let key = [seed as u32, (seed >> 32) as u32];
    (0..len).map(|i| philox::philox4x32_10([i as u32, 0, 0xca5e, 0], key)[0]).collect()
}
