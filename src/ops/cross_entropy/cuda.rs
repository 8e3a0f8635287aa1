//! Cross-entropy on a GPU: rows by one kernel, their sum by another (`kernels/cross_entropy.cu`).

use super::CrossEntropy;
use crate::Result;
use crate::device::gpu::Launcher;
use crate::graph::DType;

/// Warps of a block.
const WARPS: usize = 8;
/// Up to here a row is a warp's: 32 loads of 16 bytes by each lane at most.
const SMALL: usize = 1024;
/// Elements and bytes of the widest load of a 16-bit type.
const WIDE: usize = 8;
const WIDE_BYTES: usize = 16;

/// `Settings` of the kernel.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Settings {
    smoothing: f32,
    train: u32,
    ignored: u32,
    wide: u32,
}

pub(super) fn run(op: &CrossEntropy, launch: &mut Launcher) -> Result<()> {
    let CrossEntropy { rows, words, smoothing, train, ignored } = *op;
    let (logits, sums, nats) = (launch.output(0), launch.output(1), launch.output(2));
    let (targets, scale) = (launch.input(0), launch.input(1));
    let smoothed = launch.workspace(0, rows, DType::F32);
    let (small, blocks) = if words <= SMALL { ("_small", rows.div_ceil(WARPS)) } else { ("", rows) };
    let stride = logits.row_stride;
    let wide = stride.is_multiple_of(WIDE) && logits.offset.is_multiple_of(WIDE_BYTES);
    let name = format!("cross_entropy{small}_{}", logits.suffix());
    launch
        .kernel(&name)
        .out(logits)
        .out(smoothed.clone())
        .out(nats.clone())
        .read(targets)
        .read(scale.clone())
        .size(rows)
        .size(words)
        .size(stride)
        .plain(&Settings { smoothing, train: train.into(), ignored, wide: wide.into() })
        .grid(blocks)?;
    launch.kernel("cross_entropy_sums").out(sums).read(smoothed).read(nats).read(scale).size(rows).grid(1)
}
