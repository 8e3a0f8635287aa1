//! Counter-based dropout: whether element `e` of a place is dropped is a pure function of (seed, pass, place, e), so
//! no mask is stored, backward draws the same one again, and every device draws the same bits.

use super::{Dropout, philox};
use crate::device::StepState;

/// The mask of one place in one pass.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    key: [u32; 2],
    stream: [u32; 2],
    /// An element is dropped if its 16 random bits are below this.
    threshold: u32,
    scale: f32,
}

/// The Philox key and stream of one place in one pass.
pub fn keys(dropout: Dropout, state: &StepState) -> ([u32; 2], [u32; 2]) {
    ([state.seed as u32, (state.seed >> 32) as u32], [dropout.site, state.pass as u32])
}

/// The numbers behind a place's mask, and what kernels take (`dropout_of` in `kernels/philox.cuh`); the threshold is 0
/// where there is none.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    pub site: u32,
    pub threshold: u32,
    pub scale: f32,
}

impl Parameters {
    pub fn of(dropout: Option<Dropout>) -> Parameters {
        let Some(Dropout { rate, site }) = dropout else {
            return Parameters { site: 0, threshold: 0, scale: 1.0 };
        };
        let threshold = philox::threshold(rate);
        Parameters { site, threshold, scale: philox::kept_scale(threshold) }
    }
}

/// Decisions drawn at once: a multiple of what one Philox call gives.
const BLOCK: usize = 256;

impl Mask {
    /// `None` where nothing is dropped.
    pub fn new(dropout: Option<Dropout>, state: &StepState) -> Option<Mask> {
        let Parameters { threshold, scale, .. } = Parameters::of(dropout);
        let (key, stream) = keys(dropout?, state);
        Some(Mask { key, stream, threshold, scale })
    }

    /// `out = x * mask / (1 - rate)`, where `x[0]` is element `first` of the place.
    #[inline(always)]
    pub fn scaled(&self, first: usize, x: &[f32], out: &mut [f32]) {
        out.copy_from_slice(x);
        self.in_place(first, out);
    }

    /// `x *= mask / (1 - rate)`, where `x[0]` is element `first` of the place.
    #[inline(always)]
    pub fn in_place(&self, first: usize, x: &mut [f32]) {
        let mut bits = [0u16; BLOCK];
        let (mut done, mut element) = (0, first);
        while done < x.len() {
            // Counters are drawn from block borders on, so that pieces may start anywhere.
            let skip = element % BLOCK;
            let count = (BLOCK - skip).min(x.len() - done);
            philox::fill(self.key, self.stream, (element - skip) as u64, &mut bits);
            for (x, bits) in x[done..done + count].iter_mut().zip(&bits[skip..]) {
                *x = if u32::from(*bits) < self.threshold { 0.0 } else { *x * self.scale };
            }
            done += count;
            element += count;
        }
    }
}

/// What each of `len` elements is multiplied by, in f64, one by one: what cases compare with.
pub fn reference(dropout: Option<Dropout>, len: usize) -> Vec<f64> {
    let Some(dropout) = dropout else { return vec![1.0; len] };
    let (key, stream) = keys(dropout, &super::cases::check::STATE);
    let threshold = philox::threshold(dropout.rate);
    let scale = f64::from(philox::kept_scale(threshold));
    (0..len as u64).map(|e| if philox::keep(key, stream, threshold, e) { scale } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rate: f32, pass: u64) -> Mask {
        let state = StepState { seed: 7, pass, ..StepState::default() };
        Mask::new(Some(Dropout { rate, site: 3 }), &state).unwrap()
    }

    #[test]
    fn pieces_draw_the_same_mask_as_the_whole() {
        let x = vec![1.0f32; 3000];
        let mut whole = vec![f32::NAN; 3000];
        mask(0.3, 1).scaled(0, &x, &mut whole);
        for first in [0, 1, 255, 256, 257, 1111] {
            let mut piece = vec![f32::NAN; 700];
            mask(0.3, 1).scaled(first, &x[..700], &mut piece);
            assert_eq!(piece, whole[first..first + 700]);
        }
    }

    #[test]
    fn the_rate_is_right_and_the_mean_is_kept() {
        let x = vec![1.0f32; 100_000];
        let mut out = vec![f32::NAN; x.len()];
        mask(0.3, 1).scaled(0, &x, &mut out);
        let dropped = out.iter().filter(|v| **v == 0.0).count() as f64 / x.len() as f64;
        assert!((dropped - 0.3).abs() < 0.01, "{dropped}");
        let mean = out.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let mut other = vec![f32::NAN; x.len()];
        mask(0.3, 2).scaled(0, &x, &mut other);
        assert_ne!(out, other, "another pass must draw another mask");
    }
}
