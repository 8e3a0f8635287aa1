//! Attention on the CPU: softmax(scale * Q K^T, over the keys a pattern shows) V, and its gradient.
//!
//! Blocked, with an online softmax: no buffer of queries x keys exists, memory is a few tiles a thread, and time
//! follows the visible pairs, so a band of w keys costs O(queries * w). (Milakov and Gimelshein 2018; Dao et al.
//! 2022.) FLOPs: forward 4 a visible pair and channel, backward 10. Bound by arithmetic from some 30 keys on.
//!
//! Shapes. q, out: `[batch * queries, heads * head_dim]`; k, v: `[batch * keys, heads * head_dim]`, each with its
//! own row stride; head h is columns `h * head_dim ..`. log_sum_exp: `[batch, heads, queries]`, natural logarithm,
//! of the scaled scores. A query that sees no key has out 0, log-sum-exp minus infinity, and zero gradients.
//!
//! Deterministic: a task owns what it writes, and each sum runs in ascending order of its index, so the bits depend
//! neither on the number of threads nor on the way the work was split.

use super::pattern::Pattern;
use crate::{Error, Result};

pub use super::cpu_backward::backward;
pub use super::cpu_decode::{Decode, decode, weights};
pub use super::cpu_forward::forward;
pub use crate::device::cpu::{View, ViewMut};

/// Sizes and choices of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    pub batch: usize,
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Queries of a sequence.
    pub queries: usize,
    /// Keys of a sequence, padding included.
    pub keys: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// One pattern, or one for each head.
    pub patterns: &'a [Pattern],
    /// `[batch]`: keys of each sequence that are real; the rest is never read. Longer than `keys` means `keys`.
    pub key_lengths: Option<&'a [u32]>,
    /// Drops weights after the softmax.
    pub dropout: Option<Dropout>,
}

/// Which weights are dropped: a pure function of these and of (batch, head, query, key), see
/// [`crate::ops::philox`]. The element number is `((batch * heads + head) * queries + query) * K + key`, with K
/// the number of keys rounded up to a multiple of 8.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dropout {
    /// Share of the weights that is dropped, 0 ..= 1, in steps of 1/65536.
    pub rate: f32,
    pub key: [u32; 2],
    /// What tells one use from another: the op's number and the step.
    pub stream: [u32; 2],
}

impl Problem<'_> {
    /// Refuses what the kernels cannot do, in words.
    pub fn check(&self) -> Result<()> {
        if self.patterns.len() != 1 && self.patterns.len() != self.heads {
            let given = self.patterns.len();
            return Err(Error::usage(format!("attention: {given} patterns for {} heads", self.heads)));
        }
        if self.key_lengths.is_some_and(|lengths| lengths.len() != self.batch) {
            return Err(Error::usage(
                "attention: the key lengths must be one for each sequence of the batch",
            ));
        }
        if self.queries.max(self.keys) > i32::MAX as usize {
            return Err(Error::usage("attention: at most 2^31 - 1 queries and keys"));
        }
        if let Some(dropout) = self.dropout
            && !(dropout.rate >= 0.0 && dropout.rate <= 1.0)
        {
            return Err(Error::usage(format!("attention: dropout rate {} is not in 0..1", dropout.rate)));
        }
        self.patterns.iter().try_for_each(|pattern| pattern.check())
    }

    /// The pattern of a head.
    pub fn pattern(&self, head: usize) -> Pattern {
        self.patterns[if self.patterns.len() == 1 { 0 } else { head }]
    }

    /// Keys of a sequence that are real.
    pub fn key_length(&self, batch: usize) -> usize {
        self.key_lengths.map_or(self.keys, |lengths| (lengths[batch] as usize).min(self.keys))
    }

    /// Pairs that are visible, over all sequences and heads: what the FLOPs count.
    pub fn visible_pairs(&self) -> u64 {
        (0..self.batch * self.heads)
            .map(|n| {
                let (batch, head) = (n / self.heads, n % self.heads);
                self.pattern(head).visible_pairs(self.queries, self.keys, self.key_length(batch))
            })
            .sum()
    }

    /// Terms of the pattern that has most.
    pub(super) fn terms(&self) -> usize {
        self.patterns.iter().map(|pattern| pattern.terms()).max().unwrap_or(0)
    }
}

#[cfg(test)]
#[path = "cpu_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cpu_bench.rs"]
mod bench;
