//! Attention forward: scores, online softmax, mixture of the values, tile by tile.
//!
//! For a block of queries: `m` the running maximum, `l` the running sum, `O` the running mixture, in units of 2^x
//! (the scale takes log2 e along, which saves a product in every exponential). A tile of keys gives scores S; then
//! `m' = max(m, max S)`, `P = 2^(S - m')`, `l = 2^(m - m') l + sum P`, `O = 2^(m - m') O + V^T P`, and at the end
//! `out = O / l`, `log_sum_exp = ln 2 * m + ln l`. 4 FLOPs a pair and channel and one exponential a pair: bound by
//! arithmetic. A pattern of two terms makes two passes, the second merging by the log-sum-exp of both.
//!
//! Deterministic: a block is one task, its tiles come in ascending order, and no two blocks write the same row.

use super::cpu::Problem;
use super::cpu_block::*;
use super::cpu_rows::{copy, pack_queries, transpose};
use super::cpu_tile::{ROWS, exp2, max_vectors, mix, rows, scores};
use super::pattern::{Class, Pattern};
use crate::device::cpu::{View, ViewMut};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// out, log_sum_exp = attention(q, k, v). Shapes: see [`super::cpu`].
///
/// # Panics
/// If a buffer is too small, or a pattern or length is missing; [`Problem::check`] tells.
pub fn forward(out: ViewMut, log_sum_exp: &mut [f32], q: View, k: View, v: View, problem: &Problem) {
    let sequences = problem.batch * problem.heads;
    assert_eq!(log_sum_exp.len(), sequences * problem.queries, "log_sum_exp: [batch, heads, queries]");
    let log_sum_exp = ViewMut::new(log_sum_exp, 1);
    for term in 0..problem.terms() {
        let blocks = Arch::new().dispatch(CountBlocks { problem, term });
        if blocks == 0 {
            continue;
        }
        // Many sequences: one a task, so that its keys are packed once. Few: some of their blocks, to keep all threads busy.
        let count = blocks_of_task(sequences, blocks);
        let tasks = blocks.div_ceil(count);
        (0..sequences * tasks).into_par_iter().for_each(|task| {
            let place = Place::new(problem, task / tasks, term);
            if place.exists() {
                let (out, log_sum_exp, first) = (&out, &log_sum_exp, task % tasks * count);
                let (head_dim, blocks) = (problem.head_dim, first..first + count);
                with_scratch(scratch_len(head_dim), |scratch| {
                    let tiles = Tiles::new(scratch, padded(head_dim));
                    Arch::new().dispatch(Blocks { out, log_sum_exp, q, k, v, place, blocks, tiles });
                });
            }
        });
    }
}

/// Sequences and heads a thread from which an uneven last round matters little.
pub const MANY: usize = 4;
/// Tasks a thread into which few sequences are cut; neighbouring blocks of queries are one task, since they meet many of the
/// same keys.
const TASKS: usize = 16;

/// Blocks of queries that are one task, of `blocks` in each of `sequences`.
pub fn blocks_of_task(sequences: usize, blocks: usize) -> usize {
    let threads = rayon::current_num_threads();
    if sequences >= MANY * threads {
        blocks
    } else {
        (sequences * blocks / (TASKS * threads)).clamp(1, blocks.max(1))
    }
}

/// Blocks of queries of the head that has most.
pub struct CountBlocks<'a> {
    pub problem: &'a Problem<'a>,
    pub term: usize,
}

impl WithSimd for CountBlocks<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let queries = self.problem.queries;
        let count = |pattern: &Pattern| {
            let classes = pattern.classes(self.term, queries);
            classes * blocks_of_class::<S>(classes, queries, pattern.is_narrow(self.term, queries))
        };
        self.problem
            .patterns
            .iter()
            .filter(|pattern| self.term < pattern.terms())
            .map(count)
            .max()
            .unwrap_or(0)
    }
}

/// Blocks of the longest of `classes` residue classes.
pub const fn blocks_of_class<S: Simd>(classes: usize, queries: usize, narrow: bool) -> usize {
    if classes == 0 { 0 } else { queries.div_ceil(classes).div_ceil(block_width::<S>(narrow)) }
}

/// Values of scratch that a task needs, see [`Tiles`].
fn scratch_len(head_dim: usize) -> usize {
    2 * padded(head_dim) * key_rows(padded(head_dim)) + (2 * KEY_TILE + 3 * padded(head_dim)) * MAX_WIDTH
}

/// Scratch of a task. Rows of queries are `[..][padded]`, the rest `[..][width of the block]`.
struct Tiles<'a> {
    packed: PackedKeys<'a>,
    weights: &'a mut [f32],
    multipliers: &'a mut [f32],
    queries: &'a mut [f32],
    transposed: &'a mut [f32],
    mixture: &'a mut [f32],
}

impl<'a> Tiles<'a> {
    fn new(mut scratch: &'a mut [f32], padded: usize) -> Self {
        let mut take = |len| take(&mut scratch, len);
        let (tile, query) = (KEY_TILE * MAX_WIDTH, padded * MAX_WIDTH);
        let [keys, values] = std::array::from_fn(|_| take(key_rows(padded) * padded));
        Self {
            packed: PackedKeys::new(keys, values, padded),
            weights: take(tile),
            multipliers: take(tile),
            queries: take(query),
            transposed: take(query),
            mixture: take(query),
        }
    }
}

/// Some blocks of a sequence and head.
struct Blocks<'a> {
    out: &'a ViewMut<'a>,
    log_sum_exp: &'a ViewMut<'a>,
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    place: Place<'a>,
    blocks: Range<usize>,
    tiles: Tiles<'a>,
}

impl WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Place { problem, narrow, .. } = self.place;
        let (of_class, width) =
            (blocks_of_class::<S>(self.place.classes(), problem.queries, narrow), block_width::<S>(narrow));
        let last = of_class * self.place.classes();
        for block in self.blocks.start..self.blocks.end.min(last) {
            let class = &self.place.class(block / of_class);
            let t0 = block % of_class * width;
            let lanes = class.queries.saturating_sub(t0).min(width);
            if block + 1 < self.blocks.end {
                self.ask_ahead(block, of_class, width);
            }
            let task = &mut self;
            match lanes.div_ceil(S::F32_LANES) {
                0 => {}
                1 => simd.vectorize(Vectors::<1> { task, class, t0, lanes }),
                2 => simd.vectorize(Vectors::<2> { task, class, t0, lanes }),
                3 => simd.vectorize(Vectors::<3> { task, class, t0, lanes }),
                // Vectors of the kinds with fewer registers never come in fours.
                _ if max_vectors::<S>() < 4 => unreachable!("a block has at most 3 vectors"),
                _ => simd.vectorize(Vectors::<4> { task, class, t0, lanes }),
            }
        }
    }
}

/// A block of `NV` vectors: queries `t0 .. t0 + lanes` of the class.
struct Vectors<'t, 'a, const NV: usize> {
    task: &'t mut Blocks<'a>,
    class: &'t Class,
    t0: usize,
    lanes: usize,
}

impl<const NV: usize> WithSimd for Vectors<'_, '_, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task, class, t0, lanes } = self;
        let place = &task.place;
        let problem = place.problem;
        let head_dim = problem.head_dim;
        let (padded, width) = (padded(head_dim), NV * S::F32_LANES);
        let Tiles { packed, weights, multipliers, queries, transposed, mixture } = &mut task.tiles;
        let (queries, mixture) = (&mut queries[..width * padded], &mut mixture[..padded * width]);

        pack_queries(queries, task.q, place, class, t0..t0 + lanes, problem.scale * LOG2_E);
        transpose(transposed, queries, width, padded, 1.0);
        let transposed = &rows::<S, NV>(transposed)[..head_dim];
        let channels = head_dim.next_multiple_of(ROWS);
        mixture.fill(0.0);
        let mut highest = [simd.splat_f32s(f32::NEG_INFINITY); NV];
        let mut sum = [simd.splat_f32s(0.0); NV];

        for segment in place.segments(class, t0, t0 + lanes) {
            let mask = segment.mask::<S, NV>(simd, t0, lanes);
            for range in segment.tiles() {
                let first = packed.find(&segment, &range).unwrap_or_else(|| {
                    let held = packed.make_room(place, &segment, &range, |_| ());
                    packed.pack(task.k, task.v, place, &held);
                    packed.find(&segment, &range).expect("it was packed")
                });
                let (keys, values) = packed.rows(first);
                let weights = &mut rows::<S, NV>(weights)[..range.len().next_multiple_of(ROWS)];
                scores(simd, weights, keys, transposed, padded);
                mask.apply(simd, weights, range.clone());
                softmax_step(simd, weights, &mut highest, &mut sum, rows::<S, NV>(mixture));
                if problem.dropout.is_some() {
                    let (out, keys) = (&mut multipliers[..range.len() * width], range.clone());
                    let segment = &segment;
                    simd.vectorize(DropoutMultipliers { out, place, class, t0, segment, keys, width });
                    for (weights, keep) in weights.iter_mut().zip(rows::<S, NV>(multipliers)) {
                        for v in 0..NV {
                            weights[v] = simd.mul_f32s(weights[v], keep[v]);
                        }
                    }
                }
                mix(simd, &mut rows::<S, NV>(mixture)[..channels], values, weights, padded);
            }
        }

        // Nothing seen: the sum is 0, and so is the mixture. A NaN is not 0 and comes through.
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let share =
            sum.map(|sum| simd.select_f32s(simd.equal_f32s(sum, zero), zero, simd.div_f32s(one, sum)));
        for row in rows::<S, NV>(mixture).iter_mut().take(head_dim) {
            for v in 0..NV {
                row[v] = simd.mul_f32s(row[v], share[v]);
            }
        }
        transpose(queries, mixture, padded, width, 1.0);
        let (highest, sum) = (bytemuck::cast_slice(&highest), bytemuck::cast_slice(&sum));
        task.store(class, t0, &task.tiles.queries[..lanes * padded], &highest[..lanes], &sum[..lanes]);
    }
}

impl Blocks<'_> {
    /// Asks for the rows of the block behind `block`.
    #[inline(always)]
    fn ask_ahead(&self, block: usize, of_class: usize, width: usize) {
        let (column, head_dim) = (self.place.column(), self.place.problem.head_dim);
        let query = |row| {
            self.q.ask(row, column, head_dim);
            if self.place.term > 0 {
                self.out.ask(row, column, head_dim);
            }
        };
        let key = |row| {
            self.k.ask(row, column, head_dim);
            self.v.ask(row, column, head_dim);
        };
        self.place.ahead(block, of_class, width, query, key);
    }

    /// Writes the block's rows `[lanes][padded]` and log-sum-exps, or merges them with an earlier term's.
    #[inline(always)]
    fn store(&self, class: &Class, t0: usize, block: &[f32], highest: &[f32], sum: &[f32]) {
        let (head_dim, padded) = (self.place.problem.head_dim, padded(self.place.problem.head_dim));
        for (l, row) in block.chunks_exact(padded).take(highest.len()).enumerate() {
            let (to, at) = (self.place.query_row(class, t0 + l), self.place.statistic(class, t0 + l));
            // SAFETY: in a pass over one term each (query, head) belongs to one block, and a block is one task.
            let out = unsafe { self.out.row(to, self.place.column(), head_dim) };
            // SAFETY: as above.
            let log_sum_exp = unsafe { &mut self.log_sum_exp.row(at, 0, 1)[0] };
            let here = highest[l] * LN_2 + sum[l].ln();
            if self.place.term == 0 {
                copy(out, &row[..head_dim]);
                *log_sum_exp = here;
                continue;
            }
            let before = *log_sum_exp;
            if here == f32::NEG_INFINITY {
                continue;
            }
            let top = before.max(here);
            let (old, new) = ((before - top).exp(), (here - top).exp());
            let total = old + new;
            for (out, new_value) in out.iter_mut().zip(row) {
                *out = (old * *out + new * new_value) / total;
            }
            *log_sum_exp = top + total.ln();
        }
    }
}

/// One step of the online softmax: scores become weights, and what was summed before is brought to the new maximum.
#[inline(always)]
fn softmax_step<S: Simd, const NV: usize>(
    simd: S,
    tile: &mut [[S::f32s; NV]],
    highest: &mut [S::f32s; NV],
    sum: &mut [S::f32s; NV],
    mixture: &mut [[S::f32s; NV]],
) {
    let nothing = simd.splat_f32s(f32::NEG_INFINITY);
    let mut top = *highest;
    for row in &*tile {
        for v in 0..NV {
            top[v] = simd.max_f32s(top[v], row[v]);
        }
    }
    // While a lane has seen nothing, subtracting minus infinity would make NaN of it.
    let zero = simd.splat_f32s(0.0);
    let level = top.map(|top| simd.select_f32s(simd.equal_f32s(top, nothing), zero, top));
    let mut shrink = *highest;
    for v in 0..NV {
        shrink[v] = exp2(simd, simd.sub_f32s(highest[v], level[v]));
        sum[v] = simd.mul_f32s(sum[v], shrink[v]);
    }
    for row in mixture {
        for v in 0..NV {
            row[v] = simd.mul_f32s(row[v], shrink[v]);
        }
    }
    for row in tile {
        for v in 0..NV {
            row[v] = exp2(simd, simd.sub_f32s(row[v], level[v]));
            sum[v] = simd.add_f32s(sum[v], row[v]);
        }
    }
    *highest = top;
}
