//! Launches of `kernels/positions.cu`.

use super::{AddPositions, PositionsBackward};
use crate::Result;
use crate::device::gpu::{Launcher, Span};
use crate::ops::{Dropout, dropout};

/// As in `kernels/positions.cu`: rows of a block forward, and columns of a block backward.
const FORWARD_ROWS: usize = 4;
const BACKWARD_COLUMNS: usize = 256;

pub(super) fn forward(op: &AddPositions, launch: &mut Launcher) -> Result<()> {
    let (y, x, positions) = (launch.output(0), launch.input(0), launch.input(1));
    let position = op.at.then(|| launch.input(2));
    let drawn = dropout::Parameters::of(op.dropout);
    let state = op.dropout.map(|_| launch.step_state());
    launch
        .kernel(&format!("positions_forward_{}", y.suffix()))
        .out(y)
        .read(x)
        .read(positions)
        .read_or_null(position)
        .read_or_null(state)
        .size(op.rows)
        .size(op.length)
        .size(op.period)
        .size(op.width)
        .word(drawn.site)
        .word(drawn.threshold)
        .float(drawn.scale)
        .grid(op.rows.div_ceil(FORWARD_ROWS))
}

pub(super) fn backward(op: &PositionsBackward, launch: &mut Launcher) -> Result<()> {
    let dx = op.dx.then(|| launch.output(0));
    let gradient = op.positions.then(|| launch.output(usize::from(op.dx)));
    let length = op.forward.length;
    gradients(launch, gradient, dx, (length, length), op.forward.dropout)
}

/// Adds to the positions' gradient what input 0, the gradient of (batch * length) rows, is behind the dropout, and
/// writes that to `dx`. Shared with the embedding, whose positions may come again after `period` tokens.
pub(crate) fn gradients(
    launch: &mut Launcher,
    positions: Option<Span>,
    dx: Option<Span>,
    (length, period): (usize, usize),
    dropout: Option<Dropout>,
) -> Result<()> {
    if positions.is_none() && dx.is_none() {
        return Ok(());
    }
    let dy = launch.input(0);
    let (batch, width) = (dy.rows / length, dy.columns);
    let drawn = dropout::Parameters::of(dropout);
    let state = dropout.map(|_| launch.step_state());
    launch
        .kernel(&format!("positions_backward_{}", dy.suffix()))
        .out_or_null(positions)
        .out_or_null(dx)
        .read(dy)
        .read_or_null(state)
        .size(batch)
        .size(length)
        .size(period)
        .size(width)
        .word(drawn.site)
        .word(drawn.threshold)
        .float(drawn.scale)
        .grid3(length.min(period), width.div_ceil(BACKWARD_COLUMNS), 1)
}
