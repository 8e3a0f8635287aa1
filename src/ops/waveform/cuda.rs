//! Launches of `kernels/waveform.cu`.

use super::{Codes, ExpectedWaveform, Scaled};
use crate::Result;
use crate::device::gpu::Launcher;

/// Warps of a block, each with one row.
const WARPS: usize = 8;

pub(super) fn forward(op: &ExpectedWaveform, launch: &mut Launcher) -> Result<()> {
    let (logits, wave) = (launch.input(0), launch.output(0));
    let slope = op.train.then(|| launch.output(1));
    launch
        .kernel(&format!("expected_waveform_{}", logits.suffix()))
        .out(wave)
        .out_or_null(slope)
        .read(logits)
        .size(op.rows)
        .word((op.codes == Codes::MuLaw).into())
        .grid(op.rows.div_ceil(WARPS))
}

pub(super) fn backward(op: &Scaled, launch: &mut Launcher) -> Result<()> {
    let (gradient, of_wave) = (launch.output(0), launch.input(0));
    launch
        .kernel(&format!("expected_waveform_gradient_{}", gradient.suffix()))
        .out(gradient)
        .read(of_wave)
        .size(op.rows)
        .grid(op.rows.div_ceil(WARPS))
}
