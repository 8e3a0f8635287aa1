//! Launches of `kernels/norm.cu`.

use super::{AddNorm, AddNormBackward, EPSILON};
use crate::Result;
use crate::device::gpu::Launcher;
use crate::graph::DType;
use crate::ops::dropout;

/// As in `kernels/norm.cu`: rows of a block forward and backward, and columns of a block that adds the partials.
const FORWARD_ROWS: usize = 4;
const BACKWARD_ROWS: usize = 32;
const GRADIENT_COLUMNS: usize = 32;

/// The widest rows that kernels hold in registers; other rows are taken element by element.
const LADDER: [usize; 4] = [256, 512, 1024, 2048];

/// The kernel of this direction for these rows.
fn name(direction: &str, width: usize, suffix: &str) -> String {
    match LADDER.iter().find(|&&step| width <= step && width.is_multiple_of(8)) {
        Some(step) => format!("norm_{direction}_{step}_{suffix}"),
        None => format!("norm_{direction}_any_{suffix}"),
    }
}

pub(super) fn forward(op: &AddNorm, launch: &mut Launcher) -> Result<()> {
    let (x, y) = (launch.input(0), launch.output(0));
    let (sum, branch) =
        if op.branch { (Some(launch.output(2)), Some(launch.input(3))) } else { (None, None) };
    let (gamma, beta, stats) = (launch.input(1), launch.input(2), launch.output(1));
    let drawn = dropout::Parameters::of(op.dropout);
    let state = op.dropout.map(|_| launch.step_state());
    launch
        .kernel(&name("forward", op.width, y.suffix()))
        .out(y)
        .out(stats)
        .out_or_null(sum)
        .read(x)
        .read(gamma)
        .read(beta)
        .read_or_null(branch)
        .read_or_null(state)
        .size(op.rows)
        .size(op.width)
        .float(EPSILON)
        .word(drawn.site)
        .word(drawn.threshold)
        .float(drawn.scale)
        .grid(op.rows.div_ceil(FORWARD_ROWS))
}

/// Partial sums of one parameter's gradient: a row a block.
fn blocks(op: &AddNorm) -> usize {
    op.rows.div_ceil(BACKWARD_ROWS)
}

pub(super) fn workspace(op: &AddNorm) -> usize {
    2 * blocks(op) * op.width * size_of::<f32>()
}

pub(super) fn backward(op: &AddNormBackward, launch: &mut Launcher) -> Result<()> {
    let AddNorm { rows, width, dropout, .. } = op.forward;
    let elements = blocks(&op.forward) * width;
    let dgammas = launch.workspace(0, elements, DType::F32);
    let dbetas = launch.workspace(elements * size_of::<f32>(), elements, DType::F32);
    let (dgamma, dbeta, dx) = (launch.output(0), launch.output(1), launch.output(2));
    let dbranch = op.masked.then(|| launch.output(3));
    let [dy, x, stats, gamma] = [0, 1, 2, 3].map(|i| launch.input(i));
    let dsum = op.dsum.then(|| launch.input(4));
    // Where the branch needs no gradient nothing is masked.
    let dropout = dropout.filter(|_| op.masked);
    let drawn = dropout::Parameters::of(dropout);
    let state = dropout.map(|_| launch.step_state());
    launch
        .kernel(&name("backward", width, dx.suffix()))
        .out(dgammas.clone())
        .out(dbetas.clone())
        .out(dx)
        .out_or_null(dbranch)
        .read(dy)
        .read(x)
        .read(stats)
        .read(gamma)
        .read_or_null(dsum)
        .read_or_null(state)
        .size(rows)
        .size(width)
        .word(drawn.site)
        .word(drawn.threshold)
        .float(drawn.scale)
        .grid(blocks(&op.forward))?;
    launch
        .kernel("norm_gradients_f32")
        .out(dgamma)
        .out(dbeta)
        .read(dgammas)
        .read(dbetas)
        .size(blocks(&op.forward))
        .size(width)
        .grid3(width.div_ceil(GRADIENT_COLUMNS), 2, 1)
}
