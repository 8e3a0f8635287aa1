//! Residual norm on the CPU. Bound by memory: 16 bytes an element forward with a branch, 16 to 20 backward.
//!
//! Rows are shared among cores in pieces of fixed size; gamma's and beta's gradients are summed piece by piece and
//! then in the order of the pieces, so they repeat bit for bit on any number of cores.

use rayon::prelude::*;

use super::{AddNorm, AddNormBackward, EPSILON};
use crate::device::cpu::{Args, parallel};
use crate::ops::dropout;

/// Independent sums, so that the additions of one row overlap and vectorise in a fixed order.
const LANES: usize = 16;

pub(super) fn forward(op: &AddNorm, args: &Args) {
    let width = op.width;
    let (x, gamma, beta): (&[f32], &[f32], &[f32]) = (args.input(0), args.input(1), args.input(2));
    let (y, stats) = (args.output(0), args.output(1));
    if !op.branch {
        parallel::rows2(
            (y, width),
            (stats, 2),
            #[inline(always)]
            |first, y, stats| {
                let x = &x[first * width..];
                for ((y, x), stats) in
                    y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(stats.chunks_exact_mut(2))
                {
                    normalise(y, stats, x, gamma, beta);
                }
            },
        );
        return;
    }
    let branch: &[f32] = args.input(3);
    let mask = dropout::Mask::new(op.dropout, &args.state);
    parallel::rows3(
        (y, width),
        (stats, 2),
        (args.output(2), width),
        #[inline(always)]
        |first, y, stats, sum| {
            let start = first * width;
            let (x, branch) = (&x[start..start + sum.len()], &branch[start..start + sum.len()]);
            match &mask {
                None => {
                    for ((sum, x), branch) in sum.iter_mut().zip(x).zip(branch) {
                        *sum = x + branch;
                    }
                }
                Some(mask) => {
                    mask.scaled(start, branch, sum);
                    for (sum, x) in sum.iter_mut().zip(x) {
                        *sum += x;
                    }
                }
            }
            for ((y, sum), stats) in
                y.chunks_exact_mut(width).zip(sum.chunks_exact(width)).zip(stats.chunks_exact_mut(2))
            {
                normalise(y, stats, sum, gamma, beta);
            }
        },
    );
}

#[inline(always)]
fn normalise(y: &mut [f32], stats: &mut [f32], x: &[f32], gamma: &[f32], beta: &[f32]) {
    let width = x.len() as f32;
    let mean = sum_of(
        x,
        #[inline(always)]
        |v| v,
    ) / width;
    // Two passes over a row that is in the first cache: exact where the mean is large against the deviation.
    let variance = sum_of(
        x,
        #[inline(always)]
        |v| (v - mean) * (v - mean),
    ) / width;
    let scale = 1.0 / (variance + EPSILON).sqrt();
    stats[0] = mean;
    stats[1] = scale;
    for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
        *y = (x - mean) * scale * gamma + beta;
    }
}

/// The sum of `value(x)` over a row in `LANES` interleaved sums: the same order on every machine.
#[inline(always)]
fn sum_of(row: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = row.chunks_exact(LANES);
    for (lane, v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += value(*v);
    }
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += value(*v);
        }
    }
    lanes.iter().sum()
}

/// Elements of the tables of partial gradients of gamma and beta.
pub(super) fn partials(op: &AddNorm) -> usize {
    2 * parallel::pieces(op.rows) * op.width
}

pub(super) fn backward(op: &AddNormBackward, args: &Args) {
    let AddNorm { rows, width, .. } = op.forward;
    let (dy, x, stats, gamma): (&[f32], &[f32], &[f32], &[f32]) =
        (args.input(0), args.input(1), args.input(2), args.input(3));
    let dsum: &[f32] = if op.dsum { args.input(4) } else { &[] };
    let dx: &mut [f32] = args.output(2);
    let (dgammas, dbetas) = args.workspace().split_at_mut(parallel::pieces(rows) * width);
    dx.par_chunks_mut(parallel::ROWS * width)
        .zip(dgammas.par_chunks_exact_mut(width))
        .zip(dbetas.par_chunks_exact_mut(width))
        .enumerate()
        .for_each(|(piece, ((dx, dgamma), dbeta))| {
            parallel::vectorized(
                #[inline(always)]
                || {
                    dgamma.fill(0.0);
                    dbeta.fill(0.0);
                    for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                        let row = piece * parallel::ROWS + row;
                        let range = row * width..(row + 1) * width;
                        let dsum = if op.dsum { Some(&dsum[range.clone()]) } else { None };
                        let (dy, x) = (&dy[range.clone()], &x[range]);
                        row_backward(dx, dgamma, dbeta, dy, dsum, x, &stats[2 * row..2 * row + 2], gamma);
                    }
                },
            );
        });
    parallel::add_partials(args.output(0), dgammas);
    parallel::add_partials(args.output(1), &dbetas[..parallel::pieces(rows) * width]);
    if op.masked {
        let mask = dropout::Mask::new(op.forward.dropout, &args.state).expect("masked only with dropout");
        let dx: &[f32] = dx;
        parallel::rows(
            args.output(3),
            width,
            #[inline(always)]
            |first, out| {
                let start = first * width;
                mask.scaled(start, &dx[start..start + out.len()], out);
            },
        );
    }
}

/// dx = scale * (g - mean(g) - xhat * mean(g * xhat)) + dsum, with g = dy * gamma.
#[allow(clippy::too_many_arguments)] // outputs first, then inputs: the order of the formula
#[inline(always)]
fn row_backward(
    dx: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    dy: &[f32],
    dsum: Option<&[f32]>,
    x: &[f32],
    stats: &[f32],
    gamma: &[f32],
) {
    let (mean, scale, width) = (stats[0], stats[1], x.len());
    let (mut sums, mut products) = ([0.0f32; LANES], [0.0f32; LANES]);
    let whole = width / LANES * LANES;
    // A fixed number of elements at a time, so that this becomes vector code; the rest one by one.
    for start in (0..whole).step_by(LANES) {
        let at = |values: &[f32]| -> [f32; LANES] {
            values[start..start + LANES].try_into().expect("whole lanes")
        };
        let (dy, x, gamma) = (at(dy), at(x), at(gamma));
        let (dgamma, dbeta) = (&mut dgamma[start..start + LANES], &mut dbeta[start..start + LANES]);
        for lane in 0..LANES {
            let xhat = (x[lane] - mean) * scale;
            let g = dy[lane] * gamma[lane];
            sums[lane] += g;
            products[lane] += g * xhat;
            dgamma[lane] += dy[lane] * xhat;
            dbeta[lane] += dy[lane];
        }
    }
    for i in whole..width {
        let xhat = (x[i] - mean) * scale;
        sums[0] += dy[i] * gamma[i];
        products[0] += dy[i] * gamma[i] * xhat;
        dgamma[i] += dy[i] * xhat;
        dbeta[i] += dy[i];
    }
    let mean_g = sums.iter().sum::<f32>() / width as f32;
    let mean_product = products.iter().sum::<f32>() / width as f32;
    for (((dx, x), dy), gamma) in dx.iter_mut().zip(x).zip(dy).zip(gamma) {
        let xhat = (x - mean) * scale;
        *dx = scale * (dy * gamma - mean_g - xhat * mean_product);
    }
    if let Some(dsum) = dsum {
        for (dx, dsum) in dx.iter_mut().zip(dsum) {
            *dx += dsum;
        }
    }
}
