//! The arithmetic of one tile: three small matrix products, 2^x, and the mask, on registers.
//!
//! A tile is `[keys][vectors of queries]`: a row is one key against up to four vectors of queries. With queries in
//! the lanes, maxima and sums of the softmax are lane by lane, keys and values enter as broadcast scalars and need
//! no transposing, and only the queries do (once a block).
//!
//! | product | out | from | in registers |
//! |---|---|---|---|
//! | `scores` | [keys][queries] | keys x transposed queries, summed over channels | 4 keys x 4 vectors |
//! | `mix` | [channels][queries] | values x weights, summed over keys | 4 channels x 4 vectors |
//! | `Outer` | [keys][channels] | weights x query rows, summed over queries | 8 keys x 2 vectors, or 4 x 4 |
//!
//! 16 accumulators hide the latency of the fused multiply-add (4 cycles, 2 a cycle), and 8 loads feed 16 of them:
//! bound by arithmetic. Every output element sums in ascending order of its index, whatever the tile, so results do
//! not depend on how the work is cut.

use pulp::{Simd, WithSimd};
use std::f32::consts::LN_2;
use std::ops::Range;

/// Keys (or channels) of a register tile. Rows of key tiles are padded to a multiple of it.
pub const ROWS: usize = 4;

/// Most vectors of queries in a block: 16 accumulators, 4 operands and a broadcast fit 32 registers; with 16
/// registers (AVX2) 12 accumulators, 3 operands and one broadcast do.
#[inline(always)]
pub const fn max_vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 3 }
}

/// Channels of a packed row are padded to a multiple of this, the widest vector.
pub const LANES: usize = 16;

/// `slice` as rows of `NV` vectors.
#[inline(always)]
pub fn rows<S: Simd, const NV: usize>(slice: &mut [f32]) -> &mut [[S::f32s; NV]] {
    S::as_mut_simd_f32s(slice).0.as_chunks_mut().0
}

/// `out[u] = sum over c of keys[u][c] * queries[c]`; `out.len()` is a multiple of [`ROWS`], `queries.len()` is the
/// head dimension, rows of `keys` lie `padded` apart.
#[inline(always)]
pub fn scores<S: Simd, const NV: usize>(
    simd: S,
    out: &mut [[S::f32s; NV]],
    keys: &[f32],
    queries: &[[S::f32s; NV]],
    padded: usize,
) {
    let channels = queries.len();
    for (out, keys) in out.chunks_exact_mut(ROWS).zip(keys.chunks_exact(ROWS * padded)) {
        let keys: [&[f32]; ROWS] = std::array::from_fn(|r| &keys[r * padded..][..channels]);
        let mut sums = [[simd.splat_f32s(0.0); NV]; ROWS];
        for c in 0..channels {
            let query = queries[c];
            for r in 0..ROWS {
                let key = simd.splat_f32s(keys[r][c]);
                for v in 0..NV {
                    sums[r][v] = simd.mul_add_e_f32s(key, query[v], sums[r][v]);
                }
            }
        }
        store(out, &sums);
    }
}

/// Vector by vector: as one copy the compiler would send the registers through memory and a call.
#[inline(always)]
fn store<V: Copy, const NV: usize, const R: usize>(out: &mut [[V; NV]], sums: &[[V; NV]; R]) {
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = *sum;
        }
    }
}

/// `out[c] += sum over u of values[u][c] * weights[u]`; `out.len()` is a multiple of [`ROWS`], at most `padded`.
#[inline(always)]
pub fn mix<S: Simd, const NV: usize>(
    simd: S,
    out: &mut [[S::f32s; NV]],
    values: &[f32],
    weights: &[[S::f32s; NV]],
    padded: usize,
) {
    for (tile, out) in out.chunks_exact_mut(ROWS).enumerate() {
        let mut sums: [[S::f32s; NV]; ROWS] = std::array::from_fn(|r| out[r]);
        for (weight, values) in weights.iter().zip(values.chunks_exact(padded)) {
            let values = &values[tile * ROWS..][..ROWS];
            for r in 0..ROWS {
                let value = simd.splat_f32s(values[r]);
                for v in 0..NV {
                    sums[r][v] = simd.mul_add_e_f32s(value, weight[v], sums[r][v]);
                }
            }
        }
        store(out, &sums);
    }
}

/// `out[u][c] += sum over i of weights[u][i] * queries[i][c]`, channels in the lanes; `width` queries, rows of `out`
/// and `queries` lie `padded` apart; the number of keys is a multiple of [`ROWS`]. An op of its own, to be run with
/// `Simd::vectorize`, so that it is compiled once and not into each of its callers.
pub struct Outer<'a> {
    pub out: &'a mut [f32],
    pub weights: &'a [f32],
    pub queries: &'a [f32],
    pub width: usize,
    pub padded: usize,
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, weights, queries, width, padded } = self;
        let vectors = padded / S::F32_LANES;
        let mut v = 0;
        while vectors - v >= 4 {
            outer_columns::<S, 4, 4>(simd, out, weights, queries, width, padded, v * S::F32_LANES);
            v += 4;
        }
        if vectors - v >= 2 {
            outer_columns::<S, 8, 2>(simd, out, weights, queries, width, padded, v * S::F32_LANES);
            v += 2;
        }
        if vectors - v >= 1 {
            outer_columns::<S, 8, 1>(simd, out, weights, queries, width, padded, v * S::F32_LANES);
        }
    }
}

/// `NC` vectors of columns of [`Outer`], `R` keys at a time, the rest [`ROWS`] at a time.
#[inline(always)]
fn outer_columns<S: Simd, const R: usize, const NC: usize>(
    simd: S,
    out: &mut [f32],
    weights: &[f32],
    queries: &[f32],
    width: usize,
    padded: usize,
    column: usize,
) {
    let whole = out.len() / padded / R * R;
    let (out, out_rest) = out.split_at_mut(whole * padded);
    let (weights, weights_rest) = weights.split_at(whole * width);
    for (out, weights) in out.chunks_exact_mut(R * padded).zip(weights.chunks_exact(R * width)) {
        outer_tile::<S, R, NC>(simd, out, weights, queries, width, padded, column);
    }
    for (out, weights) in
        out_rest.chunks_exact_mut(ROWS * padded).zip(weights_rest.chunks_exact(ROWS * width))
    {
        outer_tile::<S, ROWS, NC>(simd, out, weights, queries, width, padded, column);
    }
}

#[inline(always)]
fn outer_tile<S: Simd, const R: usize, const NC: usize>(
    simd: S,
    out: &mut [f32],
    weights: &[f32],
    queries: &[f32],
    width: usize,
    padded: usize,
    column: usize,
) {
    let span = NC * S::F32_LANES;
    let weights: [&[f32]; R] = std::array::from_fn(|r| &weights[r * width..][..width]);
    let mut sums = [[simd.splat_f32s(0.0); NC]; R];
    for r in 0..R {
        sums[r] = S::as_simd_f32s(&out[r * padded + column..][..span]).0.as_chunks().0[0];
    }
    for (i, query) in queries.chunks_exact(padded).take(width).enumerate() {
        let query: [S::f32s; NC] = S::as_simd_f32s(&query[column..][..span]).0.as_chunks().0[0];
        for r in 0..R {
            let weight = simd.splat_f32s(weights[r][i]);
            for v in 0..NC {
                sums[r][v] = simd.mul_add_e_f32s(weight, query[v], sums[r][v]);
            }
        }
    }
    for r in 0..R {
        rows::<S, NC>(&mut out[r * padded + column..][..span])[0] = sums[r];
    }
}

/// (2^r - 1) / r on |r| <= 1/2, lowest power first; our own minimax fit.
const EXP2: [f32; 6] = [LN_2, 0.240_226_5, 0.055_503_57, 0.009_618_031, 0.001_339_086_7, 1.546_973_5e-4];

/// Below this, 2^x is not a normal number and is taken as 0.
const EXP2_LOWEST: f32 = -126.0;

/// 2^x for x below 127; relative error below 2e-7; 0 below -126; NaN stays NaN.
#[inline(always)]
pub fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // 1.5 * 2^23: the sum holds round(x) in its low bits.
    const ROUNDER: f32 = 12_582_912.0;
    const EXPONENT_BIAS: u32 = 127;
    const MANTISSA_BITS: u32 = 23;
    let lowest = simd.splat_f32s(EXP2_LOWEST);
    let rounded = simd.add_f32s(x, simd.splat_f32s(ROUNDER));
    let r = simd.sub_f32s(x, simd.sub_f32s(rounded, simd.splat_f32s(ROUNDER)));
    let mut sum = simd.splat_f32s(EXP2[EXP2.len() - 1]);
    for n in (0..EXP2.len() - 1).rev() {
        sum = simd.mul_add_e_f32s(sum, r, simd.splat_f32s(EXP2[n]));
    }
    let mantissa = simd.mul_add_e_f32s(sum, r, simd.splat_f32s(1.0));
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(EXPONENT_BIAS));
    let exponent = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(MANTISSA_BITS));
    let power = simd.mul_f32s(mantissa, simd.transmute_f32s_u32s(exponent));
    simd.select_f32s(simd.less_than_f32s(x, lowest), simd.splat_f32s(0.0), power)
}

/// Which keys of a tile each lane sees: lane `l` those in `lo[l] .. hi[l]`, and all of them those in `inner`.
pub struct Mask<S: Simd, const NV: usize> {
    pub lo: [S::u32s; NV],
    pub hi: [S::u32s; NV],
    pub inner: Range<usize>,
}

impl<S: Simd, const NV: usize> Mask<S, NV> {
    /// Of a block that sees nothing.
    #[inline(always)]
    pub fn none(simd: S) -> Self {
        let nothing = [simd.splat_u32s(0); NV];
        Mask { lo: nothing, hi: nothing, inner: 0..0 }
    }

    /// Sets to minus infinity what is not seen in the tile of the keys `keys`, and the rows that pad it.
    #[inline(always)]
    pub fn apply(&self, simd: S, tile: &mut [[S::f32s; NV]], keys: Range<usize>) {
        let nothing = simd.splat_f32s(f32::NEG_INFINITY);
        for (row, u) in tile.iter_mut().zip(keys.start..) {
            if u >= keys.end {
                *row = [nothing; NV];
            } else if !self.inner.contains(&u) {
                let u = simd.splat_u32s(u as u32);
                for ((score, &lo), &hi) in row.iter_mut().zip(&self.lo).zip(&self.hi) {
                    let seen = simd.and_m32s(simd.less_than_or_equal_u32s(lo, u), simd.less_than_u32s(u, hi));
                    *score = simd.select_f32s(seen, *score, nothing);
                }
            }
        }
    }
}
