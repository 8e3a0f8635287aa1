//! The launch of `kernels/patches.cu`.

use super::{CHANNELS, Patches};
use crate::Result;
use crate::device::gpu::Launcher;
use crate::ops::{BLOCK_ELEMENTS, int_elements};

pub(super) fn run(op: &Patches, launch: &mut Launcher) -> Result<()> {
    let (out, pixels) = (launch.output(0), launch.input(0));
    let count = int_elements("patches", out.len())?;
    // Patches of one pixel, or of a whole picture, are the pixels as they lie there: one long line.
    let as_it_lies = op.patch == (1, 1) || op.patch == (op.height, op.width);
    let (columns, lines, length) =
        if as_it_lies { (1, 1, count) } else { (op.width / op.patch.1, op.patch.0, op.patch.1 * CHANNELS) };
    launch
        .kernel(&format!("patches_{}", out.suffix()))
        .out(out)
        .read(pixels)
        .size(count)
        .size(columns)
        .size(lines)
        .size(length)
        .grid(count.div_ceil(BLOCK_ELEMENTS))
}
