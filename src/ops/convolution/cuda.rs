//! Launches of `kernels/windows.cu`.

use super::Windows;
use crate::Result;
use crate::device::gpu::Launcher;
use crate::ops::{BLOCK_ELEMENTS, int_elements};

pub(super) fn run(op: &Windows, direction: &str, launch: &mut Launcher) -> Result<()> {
    let (out, from) = (launch.output(0), launch.input(0));
    let count = int_elements("windows", out.len())?;
    int_elements("windows", from.len())?;
    launch
        .kernel(&format!("windows_{direction}_{}", out.suffix()))
        .out(out)
        .read(from)
        .size(count)
        .size(op.height)
        .size(op.width)
        .size(op.channels)
        .grid(count.div_ceil(BLOCK_ELEMENTS))
}
