//! Who sees whom: every attention pattern as index arithmetic over strided views, with no mask tensor.
//!
//! A pattern is a union of at most two disjoint *terms* plus a *prefix* of keys that every query sees. Each term
//! splits the queries into residue *classes*: queries `first_query + t * query_stride` on one side, keys `key(u)`
//! on the other, so arranged that query `t` sees exactly the keys `lo(t) <= u < hi(t)` and that both bounds never
//! fall as `t` grows. That one property is all that the kernels use: a block of queries touches the keys
//! `lo(first) .. hi(last)`, all of it sees `lo(last) .. hi(first)`, and nothing else needs a look.
//!
//! Positions. Query `i` of `queries` stands at key position `p = i + (keys - queries)`: the last query stands on
//! the last key. Equal numbers give `p = i`; memory slots or a cache before the tokens shift the queries behind
//! them. A query at a negative position sees the prefix alone, unless the window is unlimited to the right. Only
//! [`Pattern::in_time`] counts otherwise: queries and keys have clocks of their own, which both begin at 0.
//!
//! Windows are counts on either side and *include* their ends: `left = 2, right = 0` is three keys, `p-2, p-1, p`.
//! Everything here is `const` arithmetic on integers, constant time but for [`Pattern::visible_pairs`] (one step a
//! query); `kernels/attention/pattern.cuh` mirrors it.

use super::cuda::CudaPattern;
use super::pattern_class::{KeyRuns, Rule, min};
use crate::{Error, Result};

pub use super::pattern_class::{Class, KeyRange};

/// A window side without limit.
pub const ALL: u32 = u32::MAX;

/// Which keys a query sees. See the constructors; lengths are counted in keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    kind: Kind,
    /// Keys `0..prefix` are seen by every query: memory slots, global tokens.
    prefix: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `j = p + dilation * k`, `-left <= k <= right`.
    Band { left: u32, right: u32, dilation: u32 },
    /// Sparse Transformer, both strided heads merged: a band of `stride` and the column of `stride`.
    Strided { stride: u32 },
    /// Look-ahead mask inside blocks of `length` keys.
    Block { length: u32 },
    /// `j <= p` whose place in its block of `length` is in `first .. first + count`.
    Summary { length: u32, first: u32, count: u32 },
    /// `Block` and `Summary` merged.
    Fixed { length: u32, first: u32, count: u32 },
    /// `j / tokens` in `frame - left ..= frame + right`, where `frame` is that of query `i`.
    Frames { left: u32, right: u32, tokens: u32, rate: Rate },
}

/// Frames a query, as a reduced fraction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub frames: u32,
    pub queries: u32,
}

impl Rate {
    /// `frames` frames last as long as `queries` queries.
    pub const fn new(frames: u32, queries: u32) -> Self {
        let (mut a, mut b) = (frames, queries);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = if a == 0 { 1 } else { a };
        Self { frames: frames / divisor, queries: queries / divisor }
    }

    /// The frame that is shown while query `i` sounds: `floor(i * frames / queries)`.
    pub const fn frame(self, i: i64) -> i64 {
        i * self.frames as i64 / self.queries as i64
    }
}

impl Pattern {
    /// Every query sees every key.
    pub const fn full() -> Self {
        Self::dilated(ALL, ALL, 1)
    }

    /// Look-ahead mask: query at `p` sees keys `0..=p`.
    pub const fn causal() -> Self {
        Self::dilated(ALL, 0, 1)
    }

    /// Sliding window: query at `p` sees keys `p - left ..= p + right`.
    pub const fn banded(left: u32, right: u32) -> Self {
        Self::dilated(left, right, 1)
    }

    /// Dilated window: keys `p + dilation * k` for `-left <= k <= right`. Longformer's causal window `w` is
    /// `dilated(w, 0, d)`, `w + 1` keys. (Beltagy et al. 2020)
    pub const fn dilated(left: u32, right: u32, dilation: u32) -> Self {
        Self { kind: Kind::Band { left, right, dilation }, prefix: 0 }
    }

    /// First strided head: `{max(0, p - stride) ..= p}`. (Child et al. 2019)
    pub const fn strided_local(stride: u32) -> Self {
        Self::banded(stride, 0)
    }

    /// Second strided head: `{j <= p : (p - j) mod stride = 0}`. (Child et al. 2019)
    pub const fn strided_column(stride: u32) -> Self {
        Self::dilated(ALL, 0, stride)
    }

    /// Both strided heads merged in one softmax. (Child et al. 2019)
    pub const fn strided(stride: u32) -> Self {
        Self { kind: Kind::Strided { stride }, prefix: 0 }
    }

    /// First fixed head: `{j <= p : floor(j / length) = floor(p / length)}`. (Child et al. 2019)
    pub const fn fixed_local(length: u32) -> Self {
        Self { kind: Kind::Block { length }, prefix: 0 }
    }

    /// Second fixed head: `{j <= p : first <= j mod length < first + count}`. The paper's "last c of a block" is
    /// `first = length - c, count = c`; other heads may take other sub-blocks. (Child et al. 2019)
    pub const fn fixed_summary(length: u32, first: u32, count: u32) -> Self {
        Self { kind: Kind::Summary { length, first, count }, prefix: 0 }
    }

    /// Both fixed heads merged in one softmax. (Child et al. 2019)
    pub const fn fixed(length: u32, first: u32, count: u32) -> Self {
        Self { kind: Kind::Fixed { length, first, count }, prefix: 0 }
    }

    /// For attention from samples to frames: keys are frames of `tokens` each, query `i` belongs to frame
    /// `f = rate.frame(i)` and sees all tokens of the frames `f - left ..= f + right` that exist. `ALL` is without limit.
    ///
    /// Unlike all others it does not shift its queries by `keys - queries`: query 0 belongs to frame 0, however many of
    /// either there are.
    pub const fn in_time(left: u32, right: u32, tokens: u32, rate: Rate) -> Self {
        Self { kind: Kind::Frames { left, right, tokens, rate }, prefix: 0 }
    }

    /// The same, and every query also sees keys `0..prefix`, whatever its position.
    pub const fn with_prefix(self, prefix: u32) -> Self {
        Self { kind: self.kind, prefix }
    }

    pub(super) const fn parts(self) -> (Kind, u32) {
        (self.kind, self.prefix)
    }

    /// Refuses a dilation, stride or block length of 0, a summary that does not fit its block, and frames without tokens
    /// or without a rate.
    pub fn check(self) -> Result<()> {
        match self.kind {
            Kind::Band { dilation: 0, .. } => Err(Error::usage("attention: the dilation must be at least 1")),
            Kind::Strided { stride: 0 } => Err(Error::usage("attention: the stride must be at least 1")),
            Kind::Block { length: 0 } => Err(Error::usage("attention: a block must hold at least 1 key")),
            Kind::Summary { length, first, count } | Kind::Fixed { length, first, count }
                if count == 0 || first as u64 + count as u64 > length as u64 =>
            {
                Err(Error::usage(format!(
                    "attention: the summary keys {first}..{} do not lie in a block of {length}",
                    first as u64 + count as u64
                )))
            }
            Kind::Frames { tokens: 0, .. } => {
                Err(Error::usage("attention: a frame must hold at least 1 token"))
            }
            // Below it a frame's number is 32-bit arithmetic on the device.
            Kind::Frames { rate: Rate { frames, queries }, .. }
                if frames == 0 || queries == 0 || frames as u64 * queries as u64 >= 1 << 31 =>
            {
                Err(Error::usage(format!(
                    "attention: {frames} frames in {queries} samples is no rate that it can follow; both must be at \
                     least 1, and the product of the reduced fraction's numbers below 2^31"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The definition itself: does query `i` of `queries` see key `j` of `keys`? The oracle of everything below.
    pub const fn visible(self, queries: usize, keys: usize, i: usize, j: usize) -> bool {
        let position = i as i64 + keys as i64 - queries as i64;
        let back = position - j as i64;
        if j < self.prefix as usize {
            return true;
        }
        match self.kind {
            Kind::Band { left, right, dilation } => {
                let steps_back = back.div_euclid(dilation as i64);
                back.rem_euclid(dilation as i64) == 0
                    && (left == ALL || steps_back <= left as i64)
                    && (right == ALL || -steps_back <= right as i64)
            }
            Kind::Strided { stride } => back >= 0 && (back <= stride as i64 || back % stride as i64 == 0),
            Kind::Block { length } => back >= 0 && same_block(position, j, length),
            Kind::Summary { length, first, count } => back >= 0 && in_summary(j, length, first, count),
            Kind::Frames { left, right, tokens, rate } => {
                let frames_back = rate.frame(i as i64) - (j / tokens as usize) as i64;
                (left == ALL || frames_back <= left as i64) && (right == ALL || -frames_back <= right as i64)
            }
            Kind::Fixed { length, first, count } => {
                back >= 0 && (same_block(position, j, length) || in_summary(j, length, first, count))
            }
        }
    }

    /// Number of disjoint terms: 2 for the merged Sparse Transformer patterns, else 1.
    pub const fn terms(self) -> usize {
        match self.kind {
            Kind::Strided { .. } | Kind::Fixed { .. } => 2,
            _ => 1,
        }
    }

    /// Whether a query of this term sees so few keys near it that the blocks of queries and the tiles of keys should be small:
    /// of what a wide block computes for a narrow window, half is never seen.
    pub const fn is_narrow(self, term: usize, queries: usize) -> bool {
        /// Keys of a window; keys of which a query sees those up to itself.
        const WINDOW: u64 = 96;
        const TRIANGLE: usize = 128;
        match self.kind {
            Kind::Band { left, right, .. } => (left as u64) + (right as u64) < WINDOW,
            Kind::Strided { stride } if term == 0 => (stride as u64) < WINDOW,
            Kind::Strided { stride } => queries / (stride as usize) <= TRIANGLE,
            Kind::Block { length } => length as usize <= TRIANGLE,
            Kind::Fixed { length, .. } => term == 0 && length as usize <= TRIANGLE,
            _ => false,
        }
    }

    /// Keys of the prefix that exist: they belong to every class of term 0.
    pub const fn prefix_keys(self, key_length: usize) -> usize {
        min(self.prefix as usize, key_length)
    }

    /// Number of residue classes that a term splits `queries` into.
    pub const fn classes(self, term: usize, queries: usize) -> usize {
        min(self.query_stride(term), queries)
    }

    /// As the kernels take it (`kernels/attention/pattern.cuh`).
    ///
    /// # Errors
    /// If a number is too large for them.
    pub(super) fn cuda(self) -> Result<CudaPattern> {
        let number = |x: u32| -> Result<i32> {
            match x {
                ALL => Ok(CUDA_UNLIMITED),
                x if x < CUDA_UNLIMITED as u32 => Ok(x as i32),
                x => {
                    Err(Error::usage(format!("attention: {x} is too large; the kernels take less than 2^30")))
                }
            }
        };
        let (kind, numbers) = match self.kind {
            Kind::Band { left, right, dilation } => (0, [left, right, dilation, 0, 0]),
            Kind::Strided { stride } => (1, [stride, 0, 0, 0, 0]),
            Kind::Block { length } => (2, [length, 0, 0, 0, 0]),
            Kind::Summary { length, first, count } => (3, [length, first, count, 0, 0]),
            Kind::Fixed { length, first, count } => (4, [length, first, count, 0, 0]),
            Kind::Frames { left, right, tokens, rate } => {
                (5, [left, right, tokens, rate.frames, rate.queries])
            }
        };
        let [a, b, c, d, e] = numbers;
        Ok(CudaPattern {
            kind,
            a: number(a)?,
            b: number(b)?,
            c: number(c)?,
            d: number(d)?,
            e: number(e)?,
            prefix: number(self.prefix)?,
        })
    }

    /// Whether its terms split the queries into different classes, so that one kernel cannot go through both.
    pub(super) const fn groups_apart(self) -> bool {
        matches!(self.kind, Kind::Strided { .. })
    }

    /// Whether every key belongs to a class of the first term or to the prefix.
    pub(super) const fn covers_all_keys(self) -> bool {
        !matches!(self.kind, Kind::Summary { .. })
    }

    /// The most keys that a class of a term has.
    pub(super) const fn most_keys(self, term: usize, keys: usize) -> usize {
        match self.kind {
            Kind::Summary { length, count, .. } => keys.div_ceil(length as usize) * count as usize,
            Kind::Fixed { length, count, .. } if term == 1 => keys.div_ceil(length as usize) * count as usize,
            _ => keys.div_ceil(self.query_stride(term)),
        }
    }

    /// Number of classes of a term, those without a query included.
    pub(super) const fn query_stride(self, term: usize) -> usize {
        match self.kind {
            Kind::Band { dilation, .. } => dilation as usize,
            Kind::Strided { stride } if term == 1 => stride as usize,
            _ => 1,
        }
    }

    /// Class `class` of `term`, for a sequence of which only the first `key_length` of `keys` keys are real.
    pub const fn class(
        self,
        term: usize,
        class: usize,
        queries: usize,
        keys: usize,
        key_length: usize,
    ) -> Class {
        let stride = self.query_stride(term);
        let shift = if self.shifts() { keys as i64 - queries as i64 } else { 0 };
        let position = class as i64 + shift;
        let residue = position.rem_euclid(stride as i64);
        let dense = KeyRuns { first: residue as usize, period: stride, run: 1 };
        let (key_runs, rule) = match self.kind {
            Kind::Band { left, right, .. } => (dense, Rule::Window { left: side(left), right: side(right) }),
            Kind::Strided { stride } if term == 0 => (dense, Rule::Window { left: stride as i64, right: 0 }),
            // Steps 0 and 1 back along the column lie in the band of term 0.
            Kind::Strided { .. } => (dense, Rule::Window { left: side(ALL), right: -2 }),
            Kind::Block { length } => (dense, Rule::Block { length: length as i64 }),
            Kind::Fixed { length, .. } if term == 0 => (dense, Rule::Block { length: length as i64 }),
            Kind::Summary { length, first, count } => (summary_runs(length, first, count), Rule::UpTo),
            // The query's own block is term 0.
            Kind::Fixed { length, first, count } => {
                (summary_runs(length, first, count), Rule::BlocksBefore { length: length as i64 })
            }
            Kind::Frames { left, right, tokens, rate } => {
                (dense, Rule::Frames { left: side(left), right: side(right), tokens: tokens as i64, rate })
            }
        };
        let end = key_runs.below(min(key_length, keys));
        Class {
            first_query: class,
            query_stride: stride,
            queries: if class < queries { (queries - class).div_ceil(stride) } else { 0 },
            first_step: (position - residue) / stride as i64,
            key_runs,
            begin: min(key_runs.below(self.prefix as usize), end),
            end,
            rule,
        }
    }

    /// Whether the last query stands on the last key; else queries and keys are counted apart.
    pub const fn shifts(self) -> bool {
        !matches!(self.kind, Kind::Frames { .. })
    }

    /// How many of the newest key positions, its own included, a query can look back on beyond the prefix:
    /// the length of a decoder's ring buffer. `None` is all of them.
    pub const fn reach(self) -> Option<usize> {
        match self.kind {
            Kind::Band { left, dilation, .. } if left != ALL => Some(left as usize * dilation as usize + 1),
            Kind::Block { length } => Some(length as usize),
            _ => None,
        }
    }

    /// True if no query sees a key beyond its own position (the prefix apart). Frames are no positions of queries.
    pub const fn is_causal(self) -> bool {
        match self.kind {
            Kind::Band { right, .. } => right == 0,
            Kind::Frames { .. } => false,
            _ => true,
        }
    }

    /// The keys query `i` sees, as strided ranges; no key comes twice.
    pub fn ranges(
        self,
        queries: usize,
        keys: usize,
        length: usize,
        i: usize,
    ) -> impl Iterator<Item = KeyRange> {
        let prefix = KeyRange { start: 0, count: self.prefix_keys(min(length, keys)), stride: 1 };
        let terms = (0..self.terms()).flat_map(move |term| {
            let stride = self.query_stride(term);
            let class = self.class(term, i % stride, queries, keys, length);
            class.ranges(class.seen(i / stride))
        });
        std::iter::once(prefix).chain(terms).filter(|range| range.count > 0)
    }

    /// Number of (query, key) pairs that are visible: what the FLOPs count. One step a query.
    pub fn visible_pairs(self, queries: usize, keys: usize, key_length: usize) -> u64 {
        let mut pairs = (self.prefix_keys(min(key_length, keys)) * queries) as u64;
        for term in 0..self.terms() {
            for c in 0..self.classes(term, queries) {
                let class = self.class(term, c, queries, keys, key_length);
                pairs += (0..class.queries).map(|t| class.seen(t).len() as u64).sum::<u64>();
            }
        }
        pairs
    }

    /// The mask as text, a line a query: `#` sees, `.` does not.
    pub fn printed(self, queries: usize, keys: usize) -> String {
        let mut text = String::with_capacity(queries * (keys + 1));
        for i in 0..queries {
            text.extend((0..keys).map(|j| if self.visible(queries, keys, i, j) { '#' } else { '.' }));
            text.push('\n');
        }
        text
    }
}

/// The same for the kernels, `UNLIMITED` there.
const CUDA_UNLIMITED: i32 = 1 << 30;

/// Far beyond any sequence, and far from overflow.
const UNLIMITED: i64 = 1 << 60;

const fn side(count: u32) -> i64 {
    if count == ALL { UNLIMITED } else { count as i64 }
}

const fn summary_runs(length: u32, first: u32, count: u32) -> KeyRuns {
    KeyRuns { first: first as usize, period: length as usize, run: count as usize }
}

const fn same_block(position: i64, j: usize, length: u32) -> bool {
    position / length as i64 == j as i64 / length as i64
}

const fn in_summary(j: usize, length: u32, first: u32, count: u32) -> bool {
    let place = j % length as usize;
    place >= first as usize && place < first as usize + count as usize
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
