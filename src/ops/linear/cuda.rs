//! Linear layer on a GPU: with a few rows one launch of `kernels/few_rows.cu`; else products by the device's library, the
//! rest by `kernels/linear.cu`, or where that is faster by the library in the same launch. GELU stays a kernel: the library's is the approximation by tanh, not the exact one.

use super::{Linear, LinearBackward};
use crate::Result;
use crate::config::Activation;
use crate::device::gpu::{Epilogue, Factor, Launcher, Product, Scaled, Span};
use crate::graph::DType;
use crate::ops::few_rows::cuda as few_rows;

/// Rows of a block, forward and backward: FORWARD_ROWS and ROWS of `kernels/linear.cu`.
const FORWARD_ROWS: usize = 32;
const ROWS: usize = 64;
/// Lanes of a warp, which stand side by side on a row.
const WARP: usize = 32;
/// Elements of a 16-bit type in the widest load.
const WIDE: usize = 8;

/// Blocks that lie side by side over a row.
fn column_pieces(width: usize) -> usize {
    width.div_ceil(WARP * if width.is_multiple_of(WIDE) { WIDE } else { 1 })
}

/// Elements of the table of partial bias gradients.
pub(super) fn partials(op: &Linear) -> usize {
    op.rows.div_ceil(ROWS) * op.outputs
}

pub(super) fn forward(op: &Linear, launch: &mut Launcher) -> Result<()> {
    let Linear { rows, outputs, activation, .. } = *op;
    let (tall, wide) = (rows.div_ceil(FORWARD_ROWS), column_pieces(outputs));
    let gelu = activation == Some(Activation::Gelu);
    let y = launch.output(0);
    // GELU's product lies where its argument is to be.
    let z = if gelu { launch.output(1) } else { y.clone() };
    let (x, weight) = (launch.input(0), launch.operand(1));
    let bias = op.bias.then(|| launch.operand(2));
    if few_rows::takes([&y, &x], &weight, bias.as_ref()) {
        let argument = gelu.then_some(z);
        return few_rows::linear(launch, (y, argument), (x, weight, bias), activation);
    }
    let (a, b) = (Factor::new(x), Factor::transposed(weight));
    let write = if op.bias { Scaled::Add } else { Scaled::Set };
    let plain = Product::new(z.clone(), write, a.clone(), b.clone());
    let fill = |launch: &mut Launcher| {
        let (name, bias) = (format!("linear_bias_{}", z.suffix()), launch.input(2));
        launch.kernel(&name).out(z.clone()).read(bias).size(rows).size(outputs).grid3(tall, wide, 1)
    };
    let activate = |launch: &mut Launcher| {
        let name = format!("linear{}_{}", suffix(activation), y.suffix());
        let mut kernel = launch.kernel(&name).out(y.clone());
        if gelu {
            kernel = kernel.read(z.clone());
        }
        kernel.size(rows).size(outputs).grid3(tall, wide, 1)
    };
    if op.bias {
        // Of the type that the library adds: that of the result.
        let bias = launch.operand(2);
        let relu = activation == Some(Activation::Relu);
        if bias.dtype == z.dtype {
            let epilogue = if relu { Epilogue::BiasRelu(bias) } else { Epilogue::Bias(bias) };
            let fused = Product::new(z.clone(), Scaled::Set, a, b).with(epilogue);
            let kernels = |launch: &mut Launcher| {
                fill(launch)?;
                if relu { activate(launch) } else { Ok(()) }
            };
            if launch.fuses(&fused, &plain, &kernels)? {
                launch.product(&fused)?;
                return if gelu { activate(launch) } else { Ok(()) };
            }
        }
        fill(launch)?;
    }
    launch.product(&plain)?;
    if activation.is_none() { Ok(()) } else { activate(launch) }
}

pub(super) fn backward(op: &LinearBackward, launch: &mut Launcher) -> Result<()> {
    let Linear { rows, outputs, activation, .. } = op.forward;
    let mut wanted = [activation.is_some(), op.dw, op.db, op.dx].into_iter();
    let mut next = 0;
    let mut take = |launch: &Launcher| -> Option<Span> {
        wanted.next()?.then(|| {
            next += 1;
            launch.output(next - 1)
        })
    };
    let (dz, dw, db, dx) = (take(launch), take(launch), take(launch), take(launch));

    let dy = launch.input(0);
    let partial = db.is_some().then(|| launch.workspace(0, partials(&op.forward), DType::F32));
    let pieces = rows.div_ceil(ROWS);
    let sums = |launch: &mut Launcher| {
        let known = dz.is_some().then(|| launch.input(3));
        let name = format!("linear_gradient{}_{}", suffix(activation), dy.suffix());
        let mut kernel = launch.kernel(&name);
        if let Some(dz) = &dz {
            kernel = kernel.out(dz.clone());
        }
        kernel = kernel.out_or_null(partial.clone()).read(dy.clone());
        if let Some(known) = known {
            kernel = kernel.read(known);
        }
        kernel.size(rows).size(outputs).grid3(pieces, column_pieces(outputs), 1)
    };
    let product = dw.as_ref().map(|dw| {
        let gradient = dz.as_ref().unwrap_or(&dy).clone();
        Product::new(dw.clone(), Scaled::Add, Factor::transposed(gradient), Factor::new(launch.input(1)))
    });
    // Without an activation dy is read for its sums alone, unless the product that reads it anyway makes them.
    let mut fused = None;
    if let (None, Some(partial), Some(plain)) = (&dz, &partial, &product) {
        let whole = Span { columns: outputs, row_stride: outputs, ..partial.clone() };
        let with = plain.clone().with(Epilogue::RowSums(whole));
        fused = launch.fuses(&with, plain, &sums)?.then_some(with);
    }
    let pieces = if fused.is_some() { 1 } else { pieces };
    match (&fused, dz.is_some() || db.is_some()) {
        (Some(fused), _) => launch.product(fused)?,
        (None, true) => sums(launch)?,
        (None, false) => {}
    }
    if let (Some(db), Some(partial)) = (db, partial.clone()) {
        launch
            .kernel("linear_bias_sum")
            .out(db)
            .read(partial)
            .size(pieces)
            .size(outputs)
            .grid(outputs.div_ceil(WARP))?;
    }
    if let (Some(product), None) = (&product, &fused) {
        launch.product(product)?;
    }
    if let Some(dx) = dx {
        let (a, b) = (Factor::new(dz.clone().unwrap_or(dy.clone())), Factor::new(launch.operand(2)));
        launch.product(&Product::new(dx, Scaled::Set, a, b))?;
    }
    Ok(())
}

fn suffix(activation: Option<Activation>) -> &'static str {
    match activation {
        None => "",
        Some(Activation::Gelu) => "_gelu",
        Some(Activation::Relu) => "_relu",
    }
}
