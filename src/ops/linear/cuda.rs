//! Linear layer on a GPU: products by the device's library, the rest by `kernels/linear.cu`.

use super::{Linear, LinearBackward};
use crate::Result;
use crate::config::Activation;
use crate::device::gpu::{Factor, Launcher, Product, Scaled, Span};
use crate::graph::DType;

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
    if op.bias {
        let (name, bias) = (format!("linear_bias_{}", z.suffix()), launch.input(2));
        launch.kernel(&name).out(z.clone()).read(bias).size(rows).size(outputs).grid3(tall, wide, 1)?;
    }
    let write = if op.bias { Scaled::Add } else { Scaled::Set };
    let (a, b) = (Factor::new(launch.input(0)), Factor::transposed(launch.operand(1)));
    launch.product(&Product::new(z.clone(), write, a, b))?;
    if activation.is_none() {
        return Ok(());
    }
    let name = format!("linear{}_{}", suffix(activation), y.suffix());
    let mut kernel = launch.kernel(&name).out(y);
    if gelu {
        kernel = kernel.read(z);
    }
    kernel.size(rows).size(outputs).grid3(tall, wide, 1)
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
    if dz.is_some() || db.is_some() {
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
        kernel.size(rows).size(outputs).grid3(pieces, column_pieces(outputs), 1)?;
    }
    if let (Some(db), Some(partial)) = (db, partial) {
        launch
            .kernel("linear_bias_sum")
            .out(db)
            .read(partial)
            .size(pieces)
            .size(outputs)
            .grid(outputs.div_ceil(WARP))?;
    }
    let gradient = dz.unwrap_or(dy);
    if let Some(dw) = dw {
        let (a, b) = (Factor::transposed(gradient.clone()), Factor::new(launch.input(1)));
        launch.product(&Product::new(dw, Scaled::Add, a, b))?;
    }
    if let Some(dx) = dx {
        let (a, b) = (Factor::new(gradient), Factor::new(launch.operand(2)));
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
