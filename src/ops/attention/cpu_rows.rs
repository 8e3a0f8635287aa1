//! Rows on their way between the tensors and the scratch of a task: copied, scaled, transposed.

use super::cpu_block::{Place, Segment, padded};
use super::cpu_tile::LANES;
use super::pattern::Class;
use crate::device::cpu::View;
use std::ops::Range;

/// Copies rows `keys` of the segment to `out[..][padded]`; the pad, and the rows behind, are 0.
#[inline(always)]
pub fn pack_keys(out: &mut [f32], from: View, place: &Place, segment: &Segment, keys: Range<usize>) {
    let (head_dim, padded) = (place.problem.head_dim, padded(place.problem.head_dim));
    let count = keys.len();
    for (row, u) in out.chunks_exact_mut(padded).zip(keys) {
        copy(&mut row[..head_dim], from.row(place.key_row(segment, u), place.column(), head_dim));
        row[head_dim..].fill(0.0);
    }
    out[count * padded..].fill(0.0);
}

/// Copies a row by vectors: a call of memcpy takes longer than so few bytes.
#[inline(always)]
pub fn copy(out: &mut [f32], from: &[f32]) {
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let (from, from_rest) = from.as_chunks::<LANES>();
    for (out, from) in out.iter_mut().zip(from) {
        *out = *from;
    }
    for (out, from) in out_rest.iter_mut().zip(from_rest) {
        *out = *from;
    }
}

/// Copies the rows of queries `t0 .. t0 + lanes` to `out[width][padded]`, times `factor`; all else is 0.
#[inline(always)]
pub fn pack_queries(
    out: &mut [f32],
    from: View,
    place: &Place,
    class: &Class,
    queries: Range<usize>,
    factor: f32,
) {
    let (head_dim, padded) = (place.problem.head_dim, padded(place.problem.head_dim));
    let count = queries.len();
    for (row, t) in out.chunks_exact_mut(padded).zip(queries) {
        let from = from.row(place.query_row(class, t), place.column(), head_dim);
        for (out, from) in row.iter_mut().zip(from) {
            *out = from * factor;
        }
        row[head_dim..].fill(0.0);
    }
    out[count * padded..].fill(0.0);
}

/// Rows and columns of the pieces in which [`transpose`] works: what the compiler makes shuffles of.
const SQUARE: usize = 4;

/// `out[c][l] = rows[l][c] * factor`; `rows` is `[width][padded]`.
#[inline(always)]
pub fn transpose(out: &mut [f32], rows: &[f32], width: usize, padded: usize, factor: f32) {
    let mut whole = 0;
    if padded.is_multiple_of(SQUARE) {
        whole = width / SQUARE * SQUARE;
        for (n, rows) in rows[..whole * padded].chunks_exact(SQUARE * padded).enumerate() {
            let rows: [&[[f32; SQUARE]]; SQUARE] =
                std::array::from_fn(|l| rows[l * padded..][..padded].as_chunks().0);
            for (c, out) in out[..padded * width].chunks_exact_mut(SQUARE * width).enumerate() {
                for i in 0..SQUARE {
                    let column = [rows[0][c][i], rows[1][c][i], rows[2][c][i], rows[3][c][i]];
                    let out = &mut out[i * width + n * SQUARE..][..SQUARE];
                    out.copy_from_slice(&column.map(|x| x * factor));
                }
            }
        }
    }
    for l in whole..width {
        for (out, x) in out.chunks_exact_mut(width).zip(&rows[l * padded..][..padded]) {
            out[l] = x * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_transposed_whatever_the_sizes() {
        for (width, padded) in [(64, 64), (16, 32), (1, 16), (3, 16), (6, 16), (16, 3), (64, 48)] {
            let rows: Vec<f32> = (0..width * padded).map(|n| n as f32).collect();
            let mut out = vec![f32::NAN; width * padded];
            transpose(&mut out, &rows, width, padded, 2.0);
            for (n, x) in out.iter().enumerate() {
                let (c, l) = (n / width, n % width);
                assert_eq!(*x, 2.0 * rows[l * padded + c], "{width} x {padded}: column {c} of row {l}");
            }
        }
    }
}
