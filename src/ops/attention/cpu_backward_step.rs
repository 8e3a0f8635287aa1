//! The arithmetic of attention backward: one block of queries against one tile of keys.
//!
//! S = K q^T and dP = V dout^T as tiles `[keys][queries]`, then P = 2^(S - log-sum-exp), dS = P * (dP - D), then the
//! three products that add to dq, dv and dk; 10 FLOPs a pair and channel and one exponential a pair. Everything is in
//! the scratch of a task (some 100 KiB, second-level cache): bound by arithmetic. Sums run in ascending order of
//! their index, and pairs that are not seen add exact zeros, so the bits do not depend on how the work is cut.

use super::cpu_block::*;
use super::cpu_packed::PackedKeys;
use super::cpu_tile::{LANES, Outer, ROWS, exp2, mix, rows, scores};
use super::pattern::Class;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Values of scratch that a task needs, see [`Tiles`].
pub fn scratch_len(head_dim: usize) -> usize {
    4 * padded(head_dim) * key_rows(padded(head_dim))
        + (3 * KEY_TILE + (1 + 5 * GROUP) * padded(head_dim)) * MAX_WIDTH
}

/// Scratch of a task. Rows of keys and queries are `[..][padded]`, the rest `[..][width of the block]`.
pub struct Tiles<'a> {
    pub packed: PackedKeys<'a>,
    pub d_keys: &'a mut [f32],
    pub d_values: &'a mut [f32],
    pub weights: &'a mut [f32],
    pub d_weights: &'a mut [f32],
    pub multipliers: &'a mut [f32],
    pub d_queries_rows: &'a mut [f32],
    /// Of each block of a group.
    pub blocks: [Block<'a>; GROUP],
    /// The gradients of the keys to be loaded are still zero, and not yet written.
    pub fresh: bool,
}

/// What belongs to a block of queries.
pub struct Block<'a> {
    pub queries: &'a mut [f32],
    pub d_out: &'a mut [f32],
    pub queries_transposed: &'a mut [f32],
    pub d_out_transposed: &'a mut [f32],
    pub d_queries: &'a mut [f32],
    /// log-sum-exp in powers of 2, and D, of the block's lanes.
    pub statistics: [[f32; MAX_WIDTH]; 2],
}

impl<'a> Tiles<'a> {
    #[inline(always)]
    pub fn new(mut scratch: &'a mut [f32], padded: usize) -> Self {
        let (key, tile, query) = (key_rows(padded) * padded, KEY_TILE * MAX_WIDTH, padded * MAX_WIDTH);
        let mut take = |len| take(&mut scratch, len);
        Self {
            packed: PackedKeys::new(take(key), take(key), padded),
            d_keys: take(key),
            d_values: take(key),
            weights: take(tile),
            d_weights: take(tile),
            multipliers: take(tile),
            d_queries_rows: take(query),
            blocks: std::array::from_fn(|_| Block {
                queries: take(query),
                d_out: take(query),
                queries_transposed: take(query),
                d_out_transposed: take(query),
                d_queries: take(query),
                statistics: [[0.0; MAX_WIDTH]; 2],
            }),
            fresh: false,
        }
    }
}

/// Which gradients a step adds to.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub queries: bool,
    pub keys: bool,
}

/// A block of queries of a class, and a tile of keys of a segment.
pub struct Meeting<'a> {
    pub class: &'a Class,
    pub block: Range<usize>,
    pub segment: &'a Segment<'a>,
    pub keys: Range<usize>,
    /// The tile's first row in the scratch.
    pub first: usize,
    /// Which of the group the block is.
    pub number: usize,
}

/// The arithmetic of a block of `NV` vectors of queries and a tile of keys.
pub struct Step<'a, 't, const NV: usize> {
    pub place: &'a Place<'a>,
    pub tiles: &'a mut Tiles<'t>,
    pub meeting: Meeting<'a>,
    pub wanted: Wanted,
}

impl<const NV: usize> WithSimd for Step<'_, '_, NV> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { place, tiles, meeting, wanted } = self;
        let Meeting { class, block, segment, keys, first, number } = meeting;
        let own = &mut tiles.blocks[number];
        let problem = place.problem;
        let (head_dim, padded, width) = (problem.head_dim, padded(problem.head_dim), NV * S::F32_LANES);
        let count = keys.len().next_multiple_of(ROWS);
        let held = first * padded..(first + count) * padded;
        let (key_rows, value_rows) = tiles.packed.rows(first);
        let (key_rows, value_rows) = (&key_rows[..count * padded], &value_rows[..count * padded]);
        let weights = &mut rows::<S, NV>(tiles.weights)[..count];
        let d_weights = &mut rows::<S, NV>(tiles.d_weights)[..count];
        scores(simd, weights, key_rows, &rows::<S, NV>(own.queries_transposed)[..head_dim], padded);
        segment.mask::<S, NV>(simd, block.start, block.len()).apply(simd, weights, keys.clone());
        scores(simd, d_weights, value_rows, &rows::<S, NV>(own.d_out_transposed)[..head_dim], padded);

        let [level, dots] = &mut own.statistics;
        let (level, dots) = (rows::<S, NV>(level)[0], rows::<S, NV>(dots)[0]);
        for (p, dp) in weights.iter_mut().zip(d_weights.iter_mut()) {
            for v in 0..NV {
                p[v] = exp2(simd, simd.sub_f32s(p[v], level[v]));
                if problem.dropout.is_none() {
                    dp[v] = simd.mul_f32s(p[v], simd.sub_f32s(dp[v], dots[v]));
                }
            }
        }
        if problem.dropout.is_some() {
            let out = &mut tiles.multipliers[..count * width];
            out[keys.len() * width..].fill(0.0);
            let t0 = block.start;
            simd.vectorize(DropoutMultipliers { out, place, class, t0, segment, keys, width });
            let keep = rows::<S, NV>(tiles.multipliers);
            for ((p, dp), keep) in weights.iter_mut().zip(d_weights.iter_mut()).zip(&*keep) {
                for v in 0..NV {
                    let gradient = simd.mul_f32s(dp[v], keep[v]);
                    dp[v] = simd.mul_f32s(p[v], simd.sub_f32s(gradient, dots[v]));
                    p[v] = simd.mul_f32s(p[v], keep[v]);
                }
            }
        }

        if wanted.queries {
            let channels = head_dim.next_multiple_of(ROWS);
            mix(simd, &mut rows::<S, NV>(own.d_queries)[..channels], key_rows, d_weights, padded);
        }
        if wanted.keys {
            let (p, ds) = (&tiles.weights[..count * width], &tiles.d_weights[..count * width]);
            let (out, queries) = (&mut tiles.d_values[held.clone()], &*own.d_out);
            simd.vectorize(Outer { out, weights: p, queries, width, padded });
            let (out, queries) = (&mut tiles.d_keys[held], &*own.queries);
            simd.vectorize(Outer { out, weights: ds, queries, width, padded });
        }
    }
}

const _: () = assert!(MAX_WIDTH.is_multiple_of(LANES));
