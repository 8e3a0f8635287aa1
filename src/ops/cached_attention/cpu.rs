//! Decoding attention on the CPU: bound by reading the cache once.

use super::CachedAttention;
use crate::device::cpu::{Args, math, parallel};
use rayon::prelude::*;

/// Independent sums of a dot product.
const LANES: usize = 8;

pub(super) fn run(op: &CachedAttention, args: &Args) {
    let CachedAttention { rows, most, width, heads } = *op;
    let (qkv, slots): (&[f32], &[u32]) = (args.input(0), args.input(1));
    let position = args.input::<u32>(2)[0] as usize;
    assert!(position < most, "word {position} of at most {most}");
    let (out, cache): (&mut [f32], &mut [f32]) = (args.output(0), args.output(1));
    for (row, qkv) in qkv.chunks_exact(3 * width).enumerate() {
        let at = (row * most + position) * 2 * width;
        cache[at..at + 2 * width].copy_from_slice(&qkv[width..]);
    }
    let cache: &[f32] = cache;
    let scratch = &mut args.workspace()[..rows * most];
    out.par_chunks_exact_mut(width).zip(scratch.par_chunks_exact_mut(most)).enumerate().for_each(
        |(row, (out, scores))| {
            parallel::vectorized(
                #[inline(always)]
                || {
                    let scores = &mut scores[..=position];
                    let q = &qkv[row * 3 * width..][..width];
                    let slots = &slots[row * most..][..=position];
                    let entry = |t: usize| {
                        // The new word is its own row's; earlier ones are where the hypothesis came from.
                        let slot = if t == position { row } else { slots[t] as usize };
                        &cache[(slot * most + t) * 2 * width..][..2 * width]
                    };
                    for head in 0..heads {
                        one_head(
                            out,
                            scores,
                            q,
                            entry,
                            head * (width / heads)..(head + 1) * (width / heads),
                            width,
                        );
                    }
                },
            );
        },
    );
}

#[inline(always)]
fn one_head<'a>(
    out: &mut [f32],
    scores: &mut [f32],
    q: &[f32],
    entry: impl Fn(usize) -> &'a [f32],
    head: std::ops::Range<usize>,
    width: usize,
) {
    let scale = (head.len() as f32).sqrt().recip();
    let mut max = f32::NEG_INFINITY;
    for (t, score) in scores.iter_mut().enumerate() {
        *score = dot(&q[head.clone()], &entry(t)[head.clone()]) * scale;
        max = max.max(*score);
    }
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = math::exp(*score - max);
        sum += *score;
    }
    let out = &mut out[head.clone()];
    out.fill(0.0);
    for (t, score) in scores.iter().enumerate() {
        let weight = score / sum;
        for (out, v) in out.iter_mut().zip(&entry(t)[width + head.start..width + head.end]) {
            *out += weight * v;
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for ((lane, a), b) in lanes.iter_mut().zip(a_chunks.remainder()).zip(b_chunks.remainder()) {
        *lane += a * b;
    }
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}
