//! Decoding attention on a GPU: one launch of `kernels/cached_attention.cu`.

use super::CachedAttention;
use crate::device::gpu::Launcher;
use crate::{Error, Result};

/// Rows and heads of a block: WARPS of the kernel.
const WARPS: usize = 4;
/// Lanes of a warp.
const WARP: usize = 32;
/// Elements of a 16-bit type in the widest load.
const WIDE: usize = 8;

/// `Sizes` of the kernel.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Sizes {
    rows: u32,
    most: u32,
    heads: u32,
    channels: u32,
    team: u32,
}

pub(super) fn run(op: &CachedAttention, launch: &mut Launcher) -> Result<()> {
    let CachedAttention { rows, most, width, heads } = *op;
    let channels = width / heads;
    let lanes = if channels % WIDE == 0 { channels / WIDE } else { channels };
    if lanes > WARP {
        return Err(Error::failed(format!(
            "cached attention: heads of {channels} channels; a GPU takes up to {WARP}, and multiples of {WIDE} up to {}",
            WARP * WIDE
        )));
    }
    let (out, cache) = (launch.output(0), launch.output(1));
    let (qkv, slots, position) = (launch.input(0), launch.input(1), launch.input(2));
    let sizes = Sizes {
        rows: rows as u32,
        most: most as u32,
        heads: heads as u32,
        channels: channels as u32,
        team: lanes.next_power_of_two() as u32,
    };
    let name = format!("cached_attention_{}", out.suffix());
    launch
        .kernel(&name)
        .out(out)
        .out(cache)
        .read(qkv)
        .read(slots)
        .read(position)
        .plain(&sizes)
        .grid((rows * heads).div_ceil(WARPS))
}
