//! The update on the CPU: one pass over 32 bytes a parameter, bound by memory.
//!
//! The norm is summed in pieces of fixed size, each in f64 lanes, then in the order of the pieces.

use rayon::prelude::*;

use super::{AdamW, GradientNorm, Segment, Update};
use crate::device::cpu::{Args, parallel};

/// Parameters in one piece: 128 KiB of each of four buffers, half of a second-level cache.
const PIECE: usize = 32 * 1024;

/// Independent sums, so that additions overlap in a fixed order.
const LANES: usize = 16;

pub(super) fn norm_pieces(len: usize) -> usize {
    len.div_ceil(PIECE).max(1)
}

pub(super) fn gradient_norm(op: &GradientNorm, args: &Args) {
    let gradients: &[f32] = args.input(0);
    let partial = &mut args.workspace()[..norm_pieces(op.len)];
    partial.fill(0.0);
    partial.par_iter_mut().zip(gradients.par_chunks(PIECE)).for_each(|(sum, piece)| {
        *sum = parallel::vectorized(
            #[inline(always)]
            || square_sum(piece),
        );
    });
    let total: f64 = partial.iter().map(|v| f64::from(*v)).sum();
    let norm = total.sqrt() as f32;
    let out: &mut [f32] = args.output(0);
    out[0] = norm;
    out[1] = match norm.is_finite() {
        false => 0.0,
        true if op.clip > 0.0 && norm > op.clip => op.clip / norm,
        true => 1.0,
    };
}

#[inline(always)]
fn square_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    for (lane, v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += v * v;
    }
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v * v;
        }
    }
    lanes.iter().sum()
}

/// What is the same for all parameters of a segment in one step.
struct Step {
    settings: AdamW,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// 1 / sqrt of the second moment's bias correction.
    second: f32,
    /// What decay leaves of a weight.
    shrink: f32,
    clip: f32,
}

pub(super) fn update(op: &Update, args: &Args) {
    let factor = args.input::<f32>(0)[1];
    let (weights, gradients): (&mut [f32], &mut [f32]) = (args.output(0), args.output(1));
    if factor == 0.0 {
        gradients.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0.0));
        return;
    }
    let (first, second): (&mut [f32], &mut [f32]) = (args.output(2), args.output(3));
    let average: Option<&mut [f32]> = (op.settings.average > 0.0).then(|| args.output(4));
    let mut average = average.unwrap_or_default();
    let (mut weights, mut gradients, mut first, mut second) = (weights, gradients, first, second);
    let mut position = 0;
    for segment in &op.segments {
        assert_eq!(segment.start, position, "segments must cover the parameters in order");
        position += segment.len;
        let step = step(op.settings, segment, factor, args.state.learning_rate, args.state.step);
        let (w, g) = (cut(&mut weights, segment.len), cut(&mut gradients, segment.len));
        let (m, v) = (cut(&mut first, segment.len), cut(&mut second, segment.len));
        w.par_chunks_mut(PIECE)
            .zip(g.par_chunks_mut(PIECE))
            .zip(m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)))
            .for_each(|((w, g), (m, v))| {
                parallel::vectorized(
                    #[inline(always)]
                    || adamw(&step, w, g, m, v),
                )
            });
        if op.settings.average > 0.0 {
            let keep = op.settings.average;
            let a = cut(&mut average, segment.len);
            a.par_chunks_mut(PIECE).zip(w.par_chunks(PIECE)).for_each(|(a, w)| {
                parallel::vectorized(
                    #[inline(always)]
                    || {
                        for (a, w) in a.iter_mut().zip(w) {
                            *a = keep * *a + (1.0 - keep) * w;
                        }
                    },
                );
            });
        }
    }
    assert_eq!(position, op.len, "segments must cover all parameters");
}

/// Takes the first `len` elements off a slice.
fn cut<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (head, tail) = std::mem::take(rest).split_at_mut(len);
    *rest = tail;
    head
}

fn step(settings: AdamW, segment: &Segment, clip: f32, learning_rate: f32, count: u64) -> Step {
    let power = |beta: f32| 1.0 - f64::from(beta).powf(count as f64);
    let rate = f64::from(learning_rate) * f64::from(segment.learning_rate);
    Step {
        settings,
        rate: (rate / power(settings.beta1)) as f32,
        second: (1.0 / power(settings.beta2).sqrt()) as f32,
        shrink: (1.0 - rate * f64::from(segment.weight_decay)) as f32,
        clip,
    }
}

#[inline(always)]
fn adamw(step: &Step, w: &mut [f32], g: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    let AdamW { beta1, beta2, epsilon, .. } = step.settings;
    for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
        let gradient = *g * step.clip;
        *m = beta1 * *m + (1.0 - beta1) * gradient;
        *v = beta2 * *v + (1.0 - beta2) * gradient * gradient;
        *w = *w * step.shrink - step.rate * *m / (v.sqrt() * step.second + epsilon);
        *g = 0.0;
    }
}
