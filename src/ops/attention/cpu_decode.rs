//! One new query against cached keys and values, and the attention weights on demand.
//!
//! Decoding reads every visible key and value once and does 4 FLOPs a value: bound by memory bandwidth (8 bytes a
//! channel and key), so it is a plain loop over the pattern's ranges, one task a sequence and head, two passes over
//! the scores of a small buffer at a time. The weights, for pictures of what the model looks at, are `[heads,
//! queries, keys]` of one sequence and exist only when asked for. Deterministic: one task an output row.

use super::cpu::Problem;
use super::pattern::Pattern;
use crate::device::cpu::{View, ViewMut};
use rayon::prelude::*;

/// Sizes of one step of decoding.
#[derive(Clone, Copy, Debug)]
pub struct Decode<'a> {
    pub batch: usize,
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Queries of the sequence and which of them this is: 1 and 0 where it stands on the last key so far.
    pub queries: usize,
    pub query: usize,
    /// Keys so far.
    pub keys: usize,
    /// Rows of a sequence in the cache; where key `j` lies, see [`Decode::slot`].
    pub capacity: usize,
    /// Keys `0..pinned` stay in the cache for good: the longest prefix of the patterns.
    pub pinned: usize,
    pub scale: f32,
    /// One pattern, or one for each head.
    pub patterns: &'a [Pattern],
    /// `[batch]`: keys of each sequence that are real.
    pub key_lengths: Option<&'a [u32]>,
}

impl Decode<'_> {
    /// The row, within its sequence's part of the cache, that holds key `j`: pinned keys first, then a ring. A band
    /// needs a ring of [`Pattern::reach`] rows and no more.
    pub const fn slot(&self, j: usize) -> usize {
        if j < self.pinned { j } else { self.pinned + (j - self.pinned) % (self.capacity - self.pinned) }
    }
}

/// Keys whose scores are held at once.
const SCORES: usize = 128;

/// out `[batch, heads * head_dim]` = attention of one query a sequence, q `[batch, heads * head_dim]`, to the cache,
/// k and v `[batch * capacity, heads * head_dim]`. A query that sees no key gives 0.
///
/// # Panics
/// If a buffer is too small, or a pattern reaches back further than the ring.
pub fn decode(out: ViewMut, q: View, k: View, v: View, sizes: &Decode) {
    let head_dim = sizes.head_dim;
    (0..sizes.batch * sizes.heads).into_par_iter().for_each(|n| {
        let (batch, head) = (n / sizes.heads, n % sizes.heads);
        let pattern = sizes.patterns[if sizes.patterns.len() == 1 { 0 } else { head }];
        let length = sizes.key_lengths.map_or(sizes.keys, |lengths| lengths[batch] as usize);
        // SAFETY: each task owns its (sequence, head).
        let out = unsafe { out.row(batch, head * head_dim, head_dim) };
        let query = q.row(batch, head * head_dim, head_dim);
        let row = |j: usize| batch * sizes.capacity + sizes.slot(j);
        out.fill(0.0);
        let (mut highest, mut sum) = (f32::NEG_INFINITY, 0.0);
        for range in pattern.ranges(sizes.queries, sizes.keys, length, sizes.query) {
            for first in (0..range.count).step_by(SCORES) {
                let mut scores = [0.0; SCORES];
                let scores = &mut scores[..SCORES.min(range.count - first)];
                let key = |n: usize| range.start + (first + n) * range.stride;
                assert!(
                    key(0) < sizes.pinned || key(0) + sizes.capacity - sizes.pinned >= sizes.keys,
                    "key {} has left the ring of {} rows",
                    key(0),
                    sizes.capacity
                );
                for (n, score) in scores.iter_mut().enumerate() {
                    *score = sizes.scale * dot(query, k.row(row(key(n)), head * head_dim, head_dim));
                }
                let top = scores.iter().copied().fold(highest, f32::max);
                let shrink = if highest == f32::NEG_INFINITY { 0.0 } else { (highest - top).exp() };
                sum *= shrink;
                out.iter_mut().for_each(|out| *out *= shrink);
                for (n, score) in scores.iter().enumerate() {
                    let weight = (score - top).exp();
                    sum += weight;
                    for (out, value) in out.iter_mut().zip(v.row(row(key(n)), head * head_dim, head_dim)) {
                        *out += weight * value;
                    }
                }
                highest = top;
            }
        }
        if sum != 0.0 {
            out.iter_mut().for_each(|out| *out /= sum);
        }
    });
}

/// out `[heads, queries, keys]` = the attention weights of sequence `batch`, without dropout: 0 where nothing is
/// seen, rows that see something sum to 1. q and k as in [`super::cpu`].
///
/// # Panics
/// If a buffer is too small.
pub fn weights(out: &mut [f32], q: View, k: View, batch: usize, problem: &Problem) {
    let (queries, keys, head_dim) = (problem.queries, problem.keys, problem.head_dim);
    assert_eq!(out.len(), problem.heads * queries * keys, "out: [heads, queries, keys]");
    if out.is_empty() {
        return;
    }
    out.par_chunks_exact_mut(keys).enumerate().for_each(|(n, out)| {
        let (head, i) = (n / queries, n % queries);
        let query = q.row(batch * queries + i, head * head_dim, head_dim);
        let ranges = || problem.pattern(head).ranges(queries, keys, problem.key_length(batch), i);
        let seen = || ranges().flat_map(|r| (0..r.count).map(move |n| r.start + n * r.stride));
        out.fill(0.0);
        let mut top = f32::NEG_INFINITY;
        for j in seen() {
            let key = k.row(batch * keys + j, head * head_dim, head_dim);
            out[j] = problem.scale * dot(query, key);
            top = top.max(out[j]);
        }
        let mut sum = 0.0;
        for j in seen() {
            out[j] = (out[j] - top).exp();
            sum += out[j];
        }
        seen().for_each(|j| out[j] /= sum);
    });
}

/// Sums in eight chains, which the compiler turns into vector code.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const CHAINS: usize = 8;
    let mut sums = [0.0; CHAINS];
    let (a, a_rest) = a.as_chunks::<CHAINS>();
    let (b, b_rest) = b.as_chunks::<CHAINS>();
    for (a, b) in a.iter().zip(b) {
        for n in 0..CHAINS {
            sums[n] += a[n] * b[n];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
