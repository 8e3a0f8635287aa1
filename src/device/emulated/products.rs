//! Matrix products of the emulated device, in f32 by the CPU's crate; the result is rounded to its tensor's type, as a
//! GPU's library does.

use crate::device::Memory;
use crate::device::cpu::gemm::{self, Matrix, Write};
use crate::device::gpu::{Factor, Product, Scaled, Span};
use crate::device::numbers;

pub(super) fn run(product: &Product, memory: &mut Memory) {
    let (a, b) = (widened(&product.a.span, memory), widened(&product.b.span, memory));
    let Span { region, offset, rows, columns, row_stride, dtype, .. } = product.out;
    let mut out = match product.write {
        Scaled::Set => vec![0.0; rows * columns],
        Scaled::Add => widened(&product.out, memory),
    };
    gemm::product(&mut out, Write::Add, matrix(&a, &product.a), matrix(&b, &product.b));
    let target = memory.region_mut(region).bytes_mut();
    for (row, values) in out.chunks_exact(columns).enumerate() {
        let start = offset + row * row_stride * dtype.bytes();
        numbers::round(dtype, values, &mut target[start..start + columns * dtype.bytes()]);
    }
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
