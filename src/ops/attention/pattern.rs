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
//! them. A query at a negative position sees the prefix alone, unless the window is unlimited to the right.
//!
//! Windows are counts on either side and *include* their ends: `left = 2, right = 0` is three keys, `p-2, p-1, p`.
//! Everything here is `const` arithmetic on integers, constant time but for [`Pattern::visible_pairs`] (one step a
//! query) and [`Class::queries_seeing`] (a binary search); `kernels/attention/pattern.cuh` mirrors it.

use super::cuda::CudaPattern;
use crate::{Error, Result};

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
enum Kind {
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

    /// The same, and every query also sees keys `0..prefix`, whatever its position.
    pub const fn with_prefix(self, prefix: u32) -> Self {
        Self { kind: self.kind, prefix }
    }

    /// Refuses a dilation, stride or block length of 0, and a summary that does not fit its block.
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
        let (kind, [a, b, c]) = match self.kind {
            Kind::Band { left, right, dilation } => (0, [left, right, dilation]),
            Kind::Strided { stride } => (1, [stride, 0, 0]),
            Kind::Block { length } => (2, [length, 0, 0]),
            Kind::Summary { length, first, count } => (3, [length, first, count]),
            Kind::Fixed { length, first, count } => (4, [length, first, count]),
        };
        Ok(CudaPattern { kind, a: number(a)?, b: number(b)?, c: number(c)?, prefix: number(self.prefix)? })
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
        let position = class as i64 + keys as i64 - queries as i64;
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

    /// How many of the newest key positions, its own included, a query can look back on beyond the prefix:
    /// the length of a decoder's ring buffer. `None` is all of them.
    pub const fn reach(self) -> Option<usize> {
        match self.kind {
            Kind::Band { left, dilation, .. } if left != ALL => Some(left as usize * dilation as usize + 1),
            Kind::Block { length } => Some(length as usize),
            _ => None,
        }
    }

    /// True if no query sees a key beyond its own position (the prefix apart).
    pub const fn is_causal(self) -> bool {
        !matches!(self.kind, Kind::Band { right, .. } if right != 0)
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

/// Keys `start, start + stride, ...`, `count` of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRange {
    pub start: usize,
    pub count: usize,
    pub stride: usize,
}

/// One residue class of one term: queries `t`, keys `u`, and who sees whom as intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Query `t` of the class is query `first_query + t * query_stride` of the sequence.
    pub first_query: usize,
    pub query_stride: usize,
    /// Number of queries in the class.
    pub queries: usize,
    /// Position of query 0 in steps of the class: `t` stands at step `first_step + t`.
    first_step: i64,
    key_runs: KeyRuns,
    /// The class's keys `begin..end` lie behind the prefix and before the key length.
    begin: usize,
    end: usize,
    rule: Rule,
}

impl Class {
    /// Query `t` of the class, as an index into the sequence's queries.
    pub const fn query(&self, t: usize) -> usize {
        self.first_query + t * self.query_stride
    }

    /// Key `u` of the class, as an index into the sequence's keys.
    pub const fn key(&self, u: usize) -> usize {
        self.key_runs.key(u)
    }

    /// The keys `u` that query `t` sees. Neither end falls as `t` grows; an empty range has equal ends.
    pub const fn seen(&self, t: usize) -> std::ops::Range<usize> {
        let step = self.first_step + t as i64;
        let (lo, hi) = match self.rule {
            Rule::Window { left, right } => (step - left, step + right + 1),
            _ if step < 0 => (0, 0),
            Rule::Block { length } => (step - step % length, step + 1),
            Rule::UpTo => (0, self.key_runs.below(step as usize + 1) as i64),
            Rule::BlocksBefore { length } => (0, self.key_runs.below((step - step % length) as usize) as i64),
        };
        let start = clamp(lo, self.begin, self.end);
        start..clamp(hi, start, self.end)
    }

    /// The keys that some query of `t0..t1` may see (not empty: `t0 < t1`).
    pub const fn touched(&self, t0: usize, t1: usize) -> std::ops::Range<usize> {
        self.seen(t0).start..self.seen(t1 - 1).end
    }

    /// The keys that every query of `t0..t1` sees; the end may lie before the start, which means none.
    pub const fn seen_by_all(&self, t0: usize, t1: usize) -> std::ops::Range<usize> {
        self.seen(t1 - 1).start..self.seen(t0).end
    }

    /// The queries `t` of which some may see a key of `u0..u1`.
    pub fn queries_seeing(&self, u0: usize, u1: usize) -> std::ops::Range<usize> {
        let start = partition_point(self.queries, |t| self.seen(t).end <= u0);
        let end = partition_point(self.queries, |t| self.seen(t).start < u1);
        start..end.max(start)
    }

    /// All keys of the class that are behind the prefix and before the key length.
    pub const fn keys(&self) -> std::ops::Range<usize> {
        self.begin..self.end
    }

    /// The keys `seen` as strided ranges of the sequence.
    fn ranges(self, seen: std::ops::Range<usize>) -> impl Iterator<Item = KeyRange> {
        let runs = self.key_runs;
        let mut u = seen.start;
        std::iter::from_fn(move || {
            if u >= seen.end {
                return None;
            }
            let start = runs.key(u);
            let (count, stride) = match runs.run {
                1 => (seen.end - u, runs.period),
                run => (min(seen.end - u, run - u % run), 1),
            };
            u += count;
            Some(KeyRange { start, count, stride })
        })
    }
}

/// Keys in runs: `first + (u / run) * period + u mod run`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct KeyRuns {
    first: usize,
    period: usize,
    run: usize,
}

impl KeyRuns {
    const fn key(self, u: usize) -> usize {
        self.first + u / self.run * self.period + u % self.run
    }

    /// How many of the keys lie below `limit`.
    const fn below(self, limit: usize) -> usize {
        let span = limit.saturating_sub(self.first);
        span / self.period * self.run + min(span % self.period, self.run)
    }
}

/// How the interval of keys follows from a query's step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// `step - left ..= step + right`.
    Window { left: i64, right: i64 },
    /// From the start of the step's block to the step.
    Block { length: i64 },
    /// Every key of the class up to the step.
    UpTo,
    /// Every key of the class in the blocks before the step's.
    BlocksBefore { length: i64 },
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

const fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

const fn clamp(x: i64, lo: usize, hi: usize) -> usize {
    if x < lo as i64 {
        lo
    } else if x > hi as i64 {
        hi
    } else {
        x as usize
    }
}

/// The first of `0..n` for which `below` is false; `below` is true, then false.
fn partition_point(n: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut lo, mut hi) = (0, n);
    while lo < hi {
        let middle = lo + (hi - lo) / 2;
        if below(middle) { lo = middle + 1 } else { hi = middle }
    }
    lo
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
