//! Splitting work over cores in pieces whose borders do not depend on the number of cores, so that sums repeat.

use rayon::prelude::*;

/// Rows in one piece of work: enough to outweigh a task switch, few enough to share among many cores.
pub const ROWS: usize = 64;

/// Runs `body` with the widest vector instructions of this machine: what is inlined into it is compiled for each.
#[inline(always)]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Calls `body(first_row, rows_of_out)` for pieces of `ROWS` rows of `width` elements, on all cores.
pub fn rows(out: &mut [f32], width: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut((ROWS * width).max(1)).enumerate().for_each(|(piece, rows)| {
        vectorized(
            #[inline(always)]
            || body(piece * ROWS, rows),
        )
    });
}

/// As [`rows`], with two outputs of the same number of rows.
pub fn rows2(
    (a, a_width): (&mut [f32], usize),
    (b, b_width): (&mut [f32], usize),
    body: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    a.par_chunks_mut((ROWS * a_width).max(1))
        .zip(b.par_chunks_mut((ROWS * b_width).max(1)))
        .enumerate()
        .for_each(|(piece, (a, b))| {
            vectorized(
                #[inline(always)]
                || body(piece * ROWS, a, b),
            )
        });
}

/// As [`rows`], with three outputs of the same number of rows.
pub fn rows3(
    (a, a_width): (&mut [f32], usize),
    (b, b_width): (&mut [f32], usize),
    (c, c_width): (&mut [f32], usize),
    body: impl Fn(usize, &mut [f32], &mut [f32], &mut [f32]) + Sync,
) {
    a.par_chunks_mut((ROWS * a_width).max(1))
        .zip(b.par_chunks_mut((ROWS * b_width).max(1)))
        .zip(c.par_chunks_mut((ROWS * c_width).max(1)))
        .enumerate()
        .for_each(|(piece, ((a, b), c))| {
            vectorized(
                #[inline(always)]
                || body(piece * ROWS, a, b, c),
            )
        });
}

/// Number of pieces that [`rows`] makes of `rows` rows: the length of a table of partial sums.
pub const fn pieces(rows: usize) -> usize {
    rows.div_ceil(ROWS)
}

/// Adds `partial` (pieces, width) up into `out` (width) in the order of the pieces.
pub fn add_partials(out: &mut [f32], partial: &[f32]) {
    let width = out.len();
    vectorized(
        #[inline(always)]
        || {
            for row in partial.chunks_exact(width) {
                for (sum, value) in out.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
    );
}
