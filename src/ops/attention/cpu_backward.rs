//! Attention backward: the weights again from the log-sum-exp, then dq, dk and dv.
//!
//! With P the weights, M what dropout multiplies them by, and D the sum over channels of dout * out:
//! `dv = (P * M)^T dout`, `dP = M * (dout v^T)`, `dS = P * (dP - D)`, `dq = scale * dS k`, `dk = scale * dS^T q`.
//! Five products of 2 FLOPs a pair and channel, one exponential a pair: bound by arithmetic. No workspace: dk
//! and dv rows are read, added to and written back with the tile of keys they belong to.
//!
//! Two ways to split the work. Where the sequences and heads keep all threads busy, a task is one of them. Else one
//! pass takes blocks of queries (dq) and another tiles of keys (dk, dv), which costs 7 products instead of 5 but
//! splits a single long sequence. Both add each element's terms in the same order, ascending in the other index
//! (blocks that see nothing add exact zeros), so they agree bit for bit, and the number of threads may choose.

use super::cpu::Problem;
use super::cpu_backward_step::{Meeting, Step, Tiles, Wanted, scratch_len};
use super::cpu_block::*;
use super::cpu_forward::{CountBlocks, MANY, blocks_of_class, blocks_of_task};
use super::cpu_rows::{copy, pack_queries, transpose};
use super::cpu_tile::max_vectors;
use super::pattern::Class;
use crate::device::cpu::{View, ViewMut};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// dq, dk, dv from dout and what [`super::cpu::forward`] took and gave. Writes every row, padding too (with 0).
/// Shapes: see [`super::cpu`].
///
/// # Panics
/// If a buffer is too small, or a pattern or length is missing; [`Problem::check`] tells.
#[allow(clippy::too_many_arguments)] // the operands of the formula
pub fn backward(
    dq: ViewMut,
    dk: ViewMut,
    dv: ViewMut,
    out: View,
    dout: View,
    log_sum_exp: &[f32],
    q: View,
    k: View,
    v: View,
    problem: &Problem,
) {
    let (dq, dk, dv) = (&dq, &dk, &dv);
    let operands = Operands { dq, dk, dv, out, dout, log_sum_exp, q, k, v };
    let sequences = problem.batch * problem.heads;
    let balanced = sequences.is_multiple_of(rayon::current_num_threads());
    let split = if balanced || sequences >= MANY * rayon::current_num_threads() {
        Split::Sequences
    } else {
        Split::QueriesThenKeys
    };
    split_backward(operands, problem, split);
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Split {
    /// A task is a sequence and head.
    Sequences,
    /// Tasks are blocks of queries, then tiles of keys.
    QueriesThenKeys,
}

#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub dq: &'a ViewMut<'a>,
    pub dk: &'a ViewMut<'a>,
    pub dv: &'a ViewMut<'a>,
    pub out: View<'a>,
    pub dout: View<'a>,
    /// `[batch, heads, queries]`
    pub log_sum_exp: &'a [f32],
    pub q: View<'a>,
    pub k: View<'a>,
    pub v: View<'a>,
}

pub(super) fn split_backward(operands: Operands, problem: &Problem, split: Split) {
    let sequences = problem.batch * problem.heads;
    let run = |place: Place, part| {
        if place.exists() {
            with_scratch(scratch_len(problem.head_dim), |scratch| {
                let scratch = Tiles::new(scratch, padded(problem.head_dim));
                Arch::new().dispatch(Task { operands, place, part, scratch });
            });
        }
    };
    (0..sequences).into_par_iter().for_each(|sequence| {
        if split == Split::QueriesThenKeys {
            run(Place::new(problem, sequence, 0), Part::Clear);
        } else {
            for term in 0..problem.pattern(sequence % problem.heads).terms() {
                run(Place::new(problem, sequence, term), Part::All);
            }
        }
    });
    if split == Split::Sequences {
        return;
    }
    for term in 0..problem.terms() {
        let blocks = Arch::new().dispatch(CountBlocks { problem, term });
        let count = blocks_of_task(sequences, blocks);
        let tasks = blocks.div_ceil(count);
        (0..sequences * tasks).into_par_iter().for_each(|task| {
            let first = task % tasks * count;
            run(Place::new(problem, task / tasks, term), Part::Queries { first, count });
        });
        // A class has at most this many tiles; a prefix at most one sequence's worth more.
        let tiles = |head: usize| {
            let place = Place::new(problem, head, term);
            let classes = if place.exists() { place.classes() } else { 0 };
            let tile = tile(place.narrow);
            (0..classes).map(|c| tiles(place.class(c).keys(), tile).count()).sum::<usize>()
                + place.prefix_keys().div_ceil(tile)
        };
        let tiles = (0..sequences).map(tiles).max().unwrap_or(0);
        (0..sequences * tiles).into_par_iter().for_each(|task| {
            run(Place::new(problem, task / tiles, term), Part::Keys { tile: task % tiles });
        });
    }
}

#[derive(Clone, Copy)]
enum Part {
    /// dk and dv to zero.
    Clear,
    All,
    Queries {
        first: usize,
        count: usize,
    },
    Keys {
        tile: usize,
    },
}

struct Task<'a> {
    operands: Operands<'a>,
    place: Place<'a>,
    part: Part,
    scratch: Tiles<'a>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { operands, place, part, mut scratch } = self;
        let task = At { operands, place };
        match part {
            Part::Clear => task.clear(0),
            Part::All => task.all_blocks(simd, scratch),
            Part::Queries { first, count } => {
                task.query_blocks(simd, &mut scratch, first..first + count, false);
            }
            Part::Keys { tile } => task.key_tile(simd, scratch, tile),
        }
    }
}

/// The operands of a task, and where it stands.
struct At<'a> {
    operands: Operands<'a>,
    place: Place<'a>,
}

impl At<'_> {
    /// Sets dk and dv to zero from key `first` on.
    fn clear(&self, first: usize) {
        let problem = self.place.problem;
        for j in first..problem.keys {
            let row = self.place.batch * problem.keys + j;
            for view in [self.operands.dk, self.operands.dv] {
                // SAFETY: this head's columns of this sequence belong to one task.
                unsafe { view.row(row, self.place.column(), problem.head_dim) }.fill(0.0);
            }
        }
    }

    /// dq, and this term's share of dk and dv, of the whole sequence and head.
    #[inline(always)]
    fn all_blocks<S: Simd>(&self, simd: S, mut tiles: Tiles) {
        let place = &self.place;
        if place.term == 0 {
            // Where one packing serves for all, the gradients start as zeros there and are written once.
            let alone = place.classes() == 1 && place.pattern.terms() == 1 && place.prefix_keys() == 0;
            tiles.fresh = alone && place.key_length <= HELD && place.class(0).keys() == (0..place.key_length);
            self.clear(if tiles.fresh { place.key_length } else { 0 });
        }
        self.query_blocks(simd, &mut tiles, 0..place.classes() * self.blocks_of_class::<S>(), true);
        if tiles.fresh {
            // No query saw a key.
            self.clear(0);
        }
    }

    fn blocks_of_class<S: Simd>(&self) -> usize {
        blocks_of_class::<S>(self.place.classes(), self.place.problem.queries, self.place.narrow)
    }

    /// dq of some blocks of queries, and, where this task owns the whole sequence, their share of dk and dv.
    #[inline(always)]
    fn query_blocks<S: Simd>(&self, simd: S, tiles: &mut Tiles, blocks: Range<usize>, all: bool) {
        let (of_class, width) = (self.blocks_of_class::<S>(), block_width::<S>(self.place.narrow));
        let end = blocks.end;
        for block in blocks {
            if of_class == 0 || block / of_class >= self.place.classes() {
                break;
            }
            if block + 1 < end {
                self.ask_ahead(block, of_class, width, all);
            }
            let class = &self.place.class(block / of_class);
            let t0 = block % of_class * width;
            let block = t0..class.queries.min(t0 + width);
            if block.is_empty() {
                continue;
            }
            let width = block.len().next_multiple_of(S::F32_LANES);
            self.load_queries(simd, tiles, class, block.clone(), width);
            tiles.d_queries.fill(0.0);
            for segment in &self.place.segments(class, block.start, block.end) {
                for keys in segment.tiles() {
                    let first = self.load_keys(tiles, segment, &keys, all);
                    let meeting = Meeting { class, block: block.clone(), segment, keys, first };
                    self.step(simd, tiles, meeting, Wanted { queries: true, keys: all });
                }
            }
            self.store_queries(tiles, class, block, width);
        }
        if all {
            self.store_keys(tiles);
        }
    }

    /// Asks for the rows of the block behind `block`, and for the gradients of its keys if they are `wanted`.
    #[inline(always)]
    fn ask_ahead(&self, block: usize, of_class: usize, width: usize, wanted: bool) {
        let Operands { dq, dk, dv, out, dout, q, k, v, .. } = self.operands;
        let (column, head_dim) = (self.place.column(), self.place.problem.head_dim);
        let query = |row| {
            [q, dout, out].iter().for_each(|view| view.ask(row, column, head_dim));
            if self.place.term > 0 {
                dq.ask(row, column, head_dim);
            }
        };
        let key = |row| {
            [k, v].iter().for_each(|view| view.ask(row, column, head_dim));
            if wanted {
                [dk, dv].iter().for_each(|view| view.ask(row, column, head_dim));
            }
        };
        self.place.ahead(block, of_class, width, query, key);
    }

    /// dk and dv of one tile of keys, from all queries that see one of them: tiles of the prefix, which every class
    /// sees, come first, then those of each class.
    #[inline(always)]
    fn key_tile<S: Simd>(&self, simd: S, mut scratch: Tiles, mut number: usize) {
        let (place, scratch) = (&self.place, &mut scratch);
        let size = tile(place.narrow);
        scratch.packed.whole = false;
        let mut class = None;
        let mut all_keys = 0..place.prefix_keys();
        for c in 0..place.classes() {
            let before = all_keys.len().div_ceil(size);
            if number < before {
                break;
            }
            number -= before;
            class = Some(place.class(c));
            all_keys = place.class(c).keys();
        }
        let keys = tiles(all_keys.clone(), size).nth(number);
        let Some(keys) = keys else { return };
        let own = class.as_ref();
        let whole = Segment { class: own, keys: all_keys, inner: 0..0, tile: size };
        let first = self.load_keys(scratch, &whole, &keys, true);
        for c in 0..if own.is_some() { 1 } else { place.classes() } {
            let class = own.copied().unwrap_or_else(|| place.class(c));
            let queries = own.map_or(0..class.queries, |own| own.queries_seeing(keys.start, keys.end));
            // The same blocks as in the other split, so that the order of every sum is the same.
            let width = block_width::<S>(place.narrow);
            let aligned = queries.start / width * width;
            for t0 in (aligned..queries.end).step_by(width) {
                let block = t0..class.queries.min(t0 + width);
                let inner = own.map_or(keys.clone(), |own| own.seen_by_all(block.start, block.end));
                let segment = &Segment { class: own, keys: keys.clone(), inner, tile: size };
                let width = block.len().next_multiple_of(S::F32_LANES);
                self.load_queries(simd, scratch, &class, block.clone(), width);
                let meeting = Meeting { class: &class, block, segment, keys: keys.clone(), first };
                self.step(simd, scratch, meeting, Wanted { queries: false, keys: true });
            }
        }
        self.store_keys(scratch);
    }

    #[inline(always)]
    fn load_queries<S: Simd>(
        &self,
        simd: S,
        tiles: &mut Tiles,
        class: &Class,
        block: Range<usize>,
        width: usize,
    ) {
        let (place, operands) = (&self.place, &self.operands);
        let padded = padded(place.problem.head_dim);
        let (queries, d_out) = (&mut tiles.queries[..width * padded], &mut tiles.d_out[..width * padded]);
        pack_queries(queries, operands.q, place, class, block.clone(), place.problem.scale);
        transpose(tiles.queries_transposed, queries, width, padded, LOG2_E);
        pack_queries(d_out, operands.dout, place, class, block.clone(), 1.0);
        transpose(tiles.d_out_transposed, d_out, width, padded, 1.0);
        // Lanes without a query, and queries that saw nothing, get weights 2^(S - infinity) = 0.
        tiles.statistics = [[f32::INFINITY; MAX_WIDTH], [0.0; MAX_WIDTH]];
        for (l, t) in block.enumerate() {
            let log_sum_exp = operands.log_sum_exp[place.statistic(class, t)];
            if log_sum_exp != f32::NEG_INFINITY {
                tiles.statistics[0][l] = log_sum_exp * LOG2_E;
            }
            let out = operands.out.row(place.query_row(class, t), place.column(), place.problem.head_dim);
            tiles.statistics[1][l] = dot(simd, out, &d_out[l * padded..]);
        }
    }

    /// Brings a tile of keys, and their gradients so far, into the scratch; returns its first row there.
    #[inline(always)]
    fn load_keys(&self, tiles: &mut Tiles, segment: &Segment, tile: &Range<usize>, gradients: bool) -> usize {
        if let Some(first) = tiles.packed.find(segment, tile) {
            return first;
        }
        let Tiles { packed, d_keys, d_values, fresh, .. } = tiles;
        let held = packed.make_room(&self.place, segment, tile, |old| {
            if gradients {
                self.exchange(old, d_keys, d_values, |packed, row| copy(row, packed));
            }
        });
        packed.pack(self.operands.k, self.operands.v, &self.place, &held);
        if std::mem::take(fresh) {
            self.exchange(&held, d_keys, d_values, |packed, _| packed.fill(0.0));
        } else if gradients {
            self.exchange(&held, d_keys, d_values, |packed, row| copy(packed, row));
        }
        packed.find(segment, tile).expect("it was packed")
    }

    /// Writes back the gradients of all keys that are held.
    #[inline(always)]
    fn store_keys(&self, tiles: &mut Tiles) {
        let Tiles { packed, d_keys, d_values, .. } = tiles;
        packed.held().for_each(|held| self.exchange(held, d_keys, d_values, |packed, row| copy(row, packed)));
    }

    /// Meets each row of dk and dv of these keys with its row in the scratch.
    #[inline(always)]
    fn exchange(
        &self,
        held: &Held,
        d_keys: &mut [f32],
        d_values: &mut [f32],
        meet: impl Fn(&mut [f32], &mut [f32]),
    ) {
        let (place, segment) = (&self.place, held.segment());
        let (head_dim, padded) = (place.problem.head_dim, padded(place.problem.head_dim));
        for (packed, view) in [(d_keys, self.operands.dk), (d_values, self.operands.dv)] {
            let packed = packed[held.first * padded..].chunks_exact_mut(padded);
            for (packed, u) in packed.zip(held.keys.clone()) {
                // SAFETY: this task owns these keys' rows of this head.
                let row = unsafe { view.row(place.key_row(&segment, u), place.column(), head_dim) };
                meet(&mut packed[..head_dim], row);
            }
        }
    }

    #[inline(always)]
    fn store_queries(&self, tiles: &mut Tiles, class: &Class, block: Range<usize>, width: usize) {
        let place = &self.place;
        let (head_dim, padded) = (place.problem.head_dim, padded(place.problem.head_dim));
        let d_queries = &tiles.d_queries[..padded * width];
        transpose(&mut tiles.d_queries_rows[..width * padded], d_queries, padded, width, place.problem.scale);
        for (row, t) in tiles.d_queries_rows.chunks_exact(padded).zip(block) {
            // SAFETY: in a pass over one term each (query, head) belongs to one block, and a block to one task.
            let to = unsafe { self.operands.dq.row(place.query_row(class, t), place.column(), head_dim) };
            if place.term == 0 {
                copy(to, &row[..head_dim]);
            } else {
                to.iter_mut().zip(row).for_each(|(to, add)| *to += add);
            }
        }
    }

    /// One block of queries against one tile of keys, for as many vectors as the block has.
    fn step<S: Simd>(&self, simd: S, tiles: &mut Tiles, meeting: Meeting, wanted: Wanted) {
        let place = &self.place;
        match meeting.block.len().div_ceil(S::F32_LANES) {
            1 => simd.vectorize(Step::<1> { place, tiles, meeting, wanted }),
            2 => simd.vectorize(Step::<2> { place, tiles, meeting, wanted }),
            3 => simd.vectorize(Step::<3> { place, tiles, meeting, wanted }),
            _ if max_vectors::<S>() < 4 => unreachable!("a block has at most 3 vectors"),
            _ => simd.vectorize(Step::<4> { place, tiles, meeting, wanted }),
        }
    }
}

/// The sum of products of `a` with the beginning of `b`, in an order that the vector width fixes.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = S::as_simd_f32s(a);
    let (b, b_rest) = S::as_simd_f32s(&b[..a.len() * S::F32_LANES + a_rest.len()]);
    let mut sum = simd.splat_f32s(0.0);
    for (&a, &b) in a.iter().zip(b) {
        sum = simd.mul_add_e_f32s(a, b, sum);
    }
    let sum = simd.mul_add_e_f32s(simd.partial_load_f32s(a_rest), simd.partial_load_f32s(b_rest), sum);
    simd.reduce_sum_f32s(sum)
}
