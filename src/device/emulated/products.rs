//! Matrix products of the emulated device, in f32 by the CPU's crate; the result is rounded to its tensor's type, as a
//! GPU's library does.

use crate::device::Memory;
use crate::device::cpu::gemm::{self, Matrix, Write};
use crate::device::gpu::{Epilogue, Factor, Product, Scaled, Span};
use crate::device::numbers;

pub(super) fn run(product: &Product, memory: &mut Memory) {
    let (a, b) = (widened(&product.a.span, memory), widened(&product.b.span, memory));
    let Span { region, offset, rows, columns, row_stride, dtype, .. } = product.out;
    let mut out = match product.write {
        Scaled::Set => vec![0.0; rows * columns],
        Scaled::Add => widened(&product.out, memory),
    };
    gemm::product(&mut out, Write::Add, matrix(&a, &product.a), matrix(&b, &product.b));
    match &product.epilogue {
        None => {}
        Some(Epilogue::Bias(bias)) => add_bias(&mut out, &widened(bias, memory), |sum| sum),
        // Not `max`, which would make a NaN 0.
        Some(Epilogue::BiasRelu(bias)) => {
            add_bias(&mut out, &widened(bias, memory), |sum| if sum < 0.0 { 0.0 } else { sum });
        }
        Some(Epilogue::RowSums(sums)) => {
            let found = row_sums(&a, &product.a);
            let target = memory.region_mut(sums.region).bytes_mut();
            target[sums.offset..sums.offset + sums.bytes()].copy_from_slice(bytemuck::cast_slice(&found));
        }
    }
    let target = memory.region_mut(region).bytes_mut();
    for (row, values) in out.chunks_exact(columns).enumerate() {
        let start = offset + row * row_stride * dtype.bytes();
        numbers::round(dtype, values, &mut target[start..start + columns * dtype.bytes()]);
    }
}

/// What is stored is a function of each element and its column's bias.
fn add_bias(out: &mut [f32], bias: &[f32], stored: impl Fn(f32) -> f32) {
    for row in out.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value = stored(*value + bias);
        }
    }
}

/// The sum of each row of the factor, as the product sees it.
fn row_sums(values: &[f32], factor: &Factor) -> Vec<f32> {
    let (rows, columns) = factor.shape();
    let at = |row: usize, k: usize| match factor.transposed {
        true => values[k * rows + row],
        false => values[row * columns + k],
    };
    (0..rows).map(|row| (0..columns).map(|k| at(row, k)).sum()).collect()
}

fn matrix<'a>(values: &'a [f32], factor: &Factor) -> Matrix<'a> {
    let matrix = Matrix::new(values, factor.span.rows, factor.span.columns);
    if factor.transposed { matrix.transposed() } else { matrix }
}

/// The span's elements, rows one after another.
fn widened(span: &Span, memory: &Memory) -> Vec<f32> {
    let bytes = memory.region(span.region).bytes();
    let size = span.dtype.bytes();
    (0..span.rows)
        .flat_map(|row| {
            let start = span.offset + row * span.row_stride * size;
            numbers::widen(span.dtype, &bytes[start..start + span.columns * size]).into_owned()
        })
        .collect()
}
