//! Linear layer on the CPU: products from the `gemm` crate, bias and activation in one pass over the result.
//!
//! Bound by arithmetic from about 64 rows on. Bias gradients are summed in pieces of fixed size, so they repeat.

use super::{Linear, LinearBackward};
use crate::config::Activation;
use crate::device::cpu::gemm::{Matrix, product_begun, product_finished, product_of_transposed};
use crate::device::cpu::{Args, ViewMut, math, parallel};

pub(super) fn forward(op: &Linear, args: &Args) {
    let (x, weight): (&[f32], &[f32]) = (args.input(0), args.input(1));
    let a = Matrix::new(x, op.rows, op.inputs);
    let b = Matrix::new(weight, op.outputs, op.inputs).transposed();
    let y = args.output(0);
    let bias: &[f32] = if op.bias { args.input(2) } else { &[] };
    match op.activation {
        None => product_finished(
            y,
            a,
            b,
            #[inline(always)]
            |_, rows| add_bias(rows, bias),
        ),
        Some(Activation::Relu) => product_finished(
            y,
            a,
            b,
            #[inline(always)]
            |_, rows| {
                add_bias(rows, bias);
                rows.iter_mut().for_each(|v| *v = v.max(0.0));
            },
        ),
        Some(Activation::Gelu) => {
            let y = ViewMut::new(y, op.outputs);
            product_finished(
                args.output(1),
                a,
                b,
                #[inline(always)]
                |first, argument| {
                    add_bias(argument, bias);
                    for (row, argument) in (first..).zip(argument.chunks_exact(op.outputs)) {
                        // SAFETY: pieces have no row in common.
                        let y = unsafe { y.row(row, 0, op.outputs) };
                        for (y, z) in y.iter_mut().zip(argument) {
                            *y = math::gelu(*z);
                        }
                    }
                },
            );
        }
    }
}

#[inline(always)]
fn add_bias(rows: &mut [f32], bias: &[f32]) {
    if bias.is_empty() {
        return;
    }
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

/// Elements of the table of partial bias gradients.
pub(super) fn partials(op: &Linear) -> usize {
    parallel::pieces(op.rows) * op.outputs
}

pub(super) fn backward(op: &LinearBackward, args: &Args) {
    let Linear { rows, inputs, outputs, activation, .. } = op.forward;
    let (dy, x, weight): (&[f32], &[f32], &[f32]) = (args.input(0), args.input(1), args.input(2));
    let mut next_output = 0;
    let mut take = |wanted: bool| {
        wanted.then(|| {
            next_output += 1;
            args.output::<f32>(next_output - 1)
        })
    };
    let dz = take(activation.is_some());
    let (dw, db, dx) = (take(op.dw), take(op.db), take(op.dx));

    let weight = Matrix::new(weight, outputs, inputs);
    let dz: &[f32] = match dz {
        None => {
            if let Some(dx) = dx {
                product_finished(dx, Matrix::new(dy, rows, outputs), weight, |_, _| ());
            }
            dy
        }
        Some(dz) => {
            let known: &[f32] = args.input(3);
            let gelu = activation == Some(Activation::Gelu);
            match dx {
                Some(dx) => product_begun(
                    dx,
                    dz,
                    outputs,
                    weight,
                    #[inline(always)]
                    |row, dz| through_activation(gelu, dz, &dy[row * outputs..], &known[row * outputs..]),
                ),
                None => parallel::rows(
                    dz,
                    outputs,
                    #[inline(always)]
                    |row, dz| through_activation(gelu, dz, &dy[row * outputs..], &known[row * outputs..]),
                ),
            }
            dz
        }
    };
    if let Some(db) = db {
        let partial = args.workspace();
        sum_columns(partial, dz, outputs);
        parallel::add_partials(db, &partial[..partials(&op.forward)]);
    }
    if let Some(dw) = dw {
        product_of_transposed(dw, Matrix::new(dz, rows, outputs), Matrix::new(x, rows, inputs));
    }
}

/// dz, the gradient of an activation's argument, from that of its value; `known` is GELU's argument or ReLU's value.
#[inline(always)]
fn through_activation(gelu: bool, dz: &mut [f32], dy: &[f32], known: &[f32]) {
    let elements = dz.iter_mut().zip(dy).zip(known);
    if gelu {
        for ((dz, dy), z) in elements {
            *dz = dy * math::gelu_derivative(*z);
        }
    } else {
        for ((dz, dy), y) in elements {
            *dz = if *y > 0.0 { *dy } else { 0.0 };
        }
    }
}

/// The sum of each column over each piece of rows: partial (pieces, width).
fn sum_columns(partial: &mut [f32], values: &[f32], width: usize) {
    use rayon::prelude::*;
    partial.par_chunks_exact_mut(width).zip(values.par_chunks(parallel::ROWS * width)).for_each(
        |(sum, rows)| {
            parallel::vectorized(
                #[inline(always)]
                || {
                    sum.fill(0.0);
                    for row in rows.chunks_exact(width) {
                        for (sum, value) in sum.iter_mut().zip(row) {
                            *sum += value;
                        }
                    }
                },
            );
        },
    );
}
