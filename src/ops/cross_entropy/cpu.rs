//! Cross-entropy on the CPU: three passes over a row that stays in the second cache. Bound by the exponentials.
//!
//! A row is one core's alone and the rows are summed in order, in f64, so the loss repeats bit for bit.

use super::CrossEntropy;
use crate::device::cpu::{Args, math, parallel};

/// Independent sums in one row, so that additions overlap in a fixed order.
const LANES: usize = 16;

pub(super) fn run(op: &CrossEntropy, args: &Args) {
    let (targets, scale): (&[u32], f32) = (args.input(0), args.input::<f32>(1)[0]);
    let smoothed = &mut args.workspace()[..op.rows];
    let (sums, nats): (&mut [f32], &mut [f32]) = (args.output(1), args.output(2));
    parallel::rows3(
        (args.output(0), op.words),
        (smoothed, 1),
        (nats, 1),
        #[inline(always)]
        |first, logits, smoothed, nats| {
            let rows = logits.chunks_exact_mut(op.words).zip(smoothed).zip(nats).zip(&targets[first..]);
            for (((logits, smoothed), nats), &target) in rows {
                (*smoothed, *nats) = row(op, logits, target, scale);
            }
        },
    );
    let total = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
    sums[0] = (total(smoothed) * f64::from(scale)) as f32;
    sums[1] = total(nats) as f32;
}

/// One row's smoothed loss and negative log-likelihood; overwrites the logits with their gradient when training.
#[inline(always)]
fn row(op: &CrossEntropy, logits: &mut [f32], target: u32, scale: f32) -> (f32, f32) {
    if target == op.ignored {
        if op.train {
            logits.fill(0.0);
        }
        return (0.0, 0.0);
    }
    let target = target as usize;
    assert!(target < op.words, "target {target} of {}", op.words);
    let mut maxima = [f32::NEG_INFINITY; LANES];
    each(
        logits,
        #[inline(always)]
        |lane, v| maxima[lane] = if v > maxima[lane] { v } else { maxima[lane] },
    );
    let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut exps, mut plain) = ([0.0f32; LANES], [0.0f32; LANES]);
    each(
        logits,
        #[inline(always)]
        |lane, v| {
            exps[lane] += math::exp(v - max);
            plain[lane] += v - max;
        },
    );
    let sum: f32 = exps.iter().sum();
    let log_sum = sum.ln();
    let nats = log_sum - (logits[target] - max);
    // The mean over the words of -log p.
    let uniform = log_sum - plain.iter().sum::<f32>() / op.words as f32;
    let smoothed = (1.0 - op.smoothing) * nats + op.smoothing * uniform;
    if op.train {
        let (probability, even) = (scale / sum, scale * op.smoothing / op.words as f32);
        for v in logits.iter_mut() {
            *v = math::exp(*v - max) * probability - even;
        }
        logits[target] -= scale * (1.0 - op.smoothing);
    }
    (smoothed, nats)
}

/// Visits a row in `LANES` interleaved streams.
#[inline(always)]
fn each(row: &[f32], mut visit: impl FnMut(usize, f32)) {
    let chunks = row.chunks_exact(LANES);
    for (lane, v) in chunks.remainder().iter().enumerate() {
        visit(lane, *v);
    }
    for chunk in chunks {
        for (lane, v) in chunk.iter().enumerate() {
            visit(lane, *v);
        }
    }
}
