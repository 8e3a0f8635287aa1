//! Windows on the CPU: bound by memory, whole rows of channels are copied at a time.

use super::{SIDE, STRIDE, Windows};
use crate::device::cpu::{Args, parallel};

/// The pixel that element `k` of the window at output `o` sees along one axis, if it lies inside the picture.
fn seen(o: usize, k: usize, size: usize) -> Option<usize> {
    (o * STRIDE + k).checked_sub(1).filter(|&i| i < size)
}

pub(super) fn forward(op: &Windows, args: &Args) {
    let Windows { height, width, channels, .. } = *op;
    let (out_height, out_width) = (height / STRIDE, width / STRIDE);
    let x: &[f32] = args.input(0);
    let length = SIDE * SIDE * channels;
    parallel::rows(
        args.output(0),
        length,
        #[inline(always)]
        |first, out| {
            for (i, out) in out.chunks_exact_mut(length).enumerate() {
                let place = first + i;
                let (picture, oy, ox) =
                    (place / (out_height * out_width), place / out_width % out_height, place % out_width);
                for (k, out) in out.chunks_exact_mut(channels).enumerate() {
                    match (seen(oy, k / SIDE, height), seen(ox, k % SIDE, width)) {
                        (Some(y), Some(x_)) => {
                            let start = ((picture * height + y) * width + x_) * channels;
                            out.copy_from_slice(&x[start..start + channels]);
                        }
                        _ => out.fill(0.0),
                    }
                }
            }
        },
    );
}

pub(super) fn backward(op: &Windows, args: &Args) {
    let Windows { height, width, channels, .. } = *op;
    let (out_height, out_width) = (height / STRIDE, width / STRIDE);
    let dy: &[f32] = args.input(0);
    let length = SIDE * SIDE * channels;
    parallel::rows(
        args.output(0),
        channels,
        #[inline(always)]
        |first, dx| {
            for (i, dx) in dx.chunks_exact_mut(channels).enumerate() {
                let place = first + i;
                let (picture, y, x) = (place / (height * width), place / width % height, place % width);
                dx.fill(0.0);
                for k in 0..SIDE * SIDE {
                    // Window o sees pixel i with element k where o * STRIDE + k - 1 = i.
                    let window = |i: usize, k: usize, outputs: usize| {
                        (i + 1)
                            .checked_sub(k)
                            .filter(|v| v % STRIDE == 0)
                            .map(|v| v / STRIDE)
                            .filter(|&o| o < outputs)
                    };
                    if let (Some(oy), Some(ox)) =
                        (window(y, k / SIDE, out_height), window(x, k % SIDE, out_width))
                    {
                        let start = ((picture * out_height + oy) * out_width + ox) * length + k * channels;
                        for (dx, dy) in dx.iter_mut().zip(&dy[start..start + channels]) {
                            *dx += dy;
                        }
                    }
                }
            }
        },
    );
}
