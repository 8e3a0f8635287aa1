//! One residue class of a pattern's term: which keys its queries see, as intervals that never fall.
//!
//! `const` arithmetic on integers, constant time but for [`Class::queries_seeing`] (a binary search);
//! `AttentionClass` in `kernels/attention/pattern.cuh` mirrors it.

use super::pattern::Rate;

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
    pub(super) first_step: i64,
    pub(super) key_runs: KeyRuns,
    /// The class's keys `begin..end` lie behind the prefix and before the key length.
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) rule: Rule,
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
            Rule::Frames { left, right, tokens, rate } => {
                let frame = rate.frame(step);
                ((frame - left).saturating_mul(tokens), (frame + right + 1).saturating_mul(tokens))
            }
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
    pub(super) fn ranges(self, seen: std::ops::Range<usize>) -> impl Iterator<Item = KeyRange> {
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
pub(super) struct KeyRuns {
    pub first: usize,
    pub period: usize,
    pub run: usize,
}

impl KeyRuns {
    pub const fn key(self, u: usize) -> usize {
        self.first + u / self.run * self.period + u % self.run
    }

    /// How many of the keys lie below `limit`.
    pub const fn below(self, limit: usize) -> usize {
        let span = limit.saturating_sub(self.first);
        span / self.period * self.run + min(span % self.period, self.run)
    }
}

/// How the interval of keys follows from a query's step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// `step - left ..= step + right`.
    Window { left: i64, right: i64 },
    /// From the start of the step's block to the step.
    Block { length: i64 },
    /// Every key of the class up to the step.
    UpTo,
    /// Every key of the class in the blocks before the step's.
    BlocksBefore { length: i64 },
    /// The tokens of the frames `frame - left ..= frame + right`, where `frame` is that of the step.
    Frames { left: i64, right: i64, tokens: i64, rate: Rate },
}

pub(super) const fn min(a: usize, b: usize) -> usize {
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
