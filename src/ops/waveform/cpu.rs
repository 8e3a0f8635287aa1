//! The expected waveform on the CPU: a row of 256 logits stays in the first cache. Bound by the exponentials.
//!
//! A row is one core's alone, summed in `LANES` interleaved streams: the bits do not depend on the number of cores.

use super::{CODES, ExpectedWaveform};
use crate::device::cpu::{Args, math, parallel};

/// Independent sums, so that additions overlap in a fixed order.
const LANES: usize = 16;

pub(super) fn forward(op: &ExpectedWaveform, args: &Args) {
    let logits: &[f32] = args.input(0);
    let values = op.codes.values().map(|v| v as f32);
    let wave = args.output(0);
    if op.train {
        parallel::rows2(
            (args.output(1), CODES),
            (wave, 1),
            #[inline(always)]
            |first, slopes, wave| {
                let rows = logits[first * CODES..].chunks_exact(CODES);
                for ((slopes, wave), logits) in slopes.chunks_exact_mut(CODES).zip(wave).zip(rows) {
                    let (mean, sum) = row(slopes, logits, &values);
                    *wave = mean;
                    let share = 1.0 / sum;
                    for (slope, value) in slopes.iter_mut().zip(&values) {
                        *slope *= share * (value - mean);
                    }
                }
            },
        );
    } else {
        parallel::rows(
            wave,
            1,
            #[inline(always)]
            |first, wave| {
                let mut weights = [0.0; CODES];
                for (wave, logits) in wave.iter_mut().zip(logits[first * CODES..].chunks_exact(CODES)) {
                    *wave = row(&mut weights, logits, &values).0;
                }
            },
        );
    }
}

/// Leaves exp(logit - largest) in `weights`; returns their mean of the values, and their sum.
#[inline(always)]
fn row(weights: &mut [f32], logits: &[f32], values: &[f32; CODES]) -> (f32, f32) {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in logits.chunks_exact(LANES) {
        for (most, v) in maxima.iter_mut().zip(chunk) {
            *most = if *v > *most { *v } else { *most };
        }
    }
    let most = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sums, mut products) = ([0.0f32; LANES], [0.0f32; LANES]);
    let chunks =
        weights.chunks_exact_mut(LANES).zip(logits.chunks_exact(LANES)).zip(values.chunks_exact(LANES));
    for ((weights, logits), values) in chunks {
        for lane in 0..LANES {
            weights[lane] = math::exp(logits[lane] - most);
            sums[lane] += weights[lane];
            products[lane] += weights[lane] * values[lane];
        }
    }
    let sum: f32 = sums.iter().sum();
    (products.iter().sum::<f32>() / sum, sum)
}

pub(super) fn backward(args: &Args) {
    let of_wave: &[f32] = args.input(0);
    parallel::rows(
        args.output(0),
        CODES,
        #[inline(always)]
        |first, gradient| {
            for (row, factor) in gradient.chunks_exact_mut(CODES).zip(&of_wave[first..]) {
                for v in row {
                    *v *= factor;
                }
            }
        },
    );
}
