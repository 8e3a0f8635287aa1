//! Pictures to patches: u8 pixels (batch, height, width, 3) -> f32 (batch * grid, patch height * patch width * 3) in
//! [-1, 1].
//!
//! The one place where pixels are normalised: `value = pixel / 127.5 - 1`, in training and everywhere else. (The
//! project's ancestor trained on 0..255 and described another range.) Patches are numbered row by row; inside a patch
//! the order is row, column, channel.

mod cuda;

use super::cases::{Case, Gradient, Input};
use super::{Cost, Op};
use crate::device::cpu::{Args, parallel};
use crate::device::gpu::Launcher;
use crate::graph::{DType, Graph, Id};
use crate::{Error, Result};

/// Channels of a picture.
pub const CHANNELS: usize = 3;

/// Traces the cutting of `pixels` into square patches.
///
/// # Errors
/// If the picture's sides are not multiples of the patch's, or the pixels are not (batch, height, width, 3) u8.
pub fn patches(graph: &mut Graph, pixels: Id, patch: usize) -> Result<Id> {
    patches_of(graph, pixels, (patch, patch))
}

/// Traces the cutting of `pixels` into patches of (height, width) pixels; the whole picture may be one.
///
/// # Errors
/// As [`patches`].
pub fn patches_of(graph: &mut Graph, pixels: Id, patch: (usize, usize)) -> Result<Id> {
    let tensor = graph.tensor(pixels);
    let &[batch, height, width, CHANNELS] = tensor.shape.as_slice() else {
        return Err(Error::failed(format!(
            "patches: pixels of shape {:?}, not (batch, height, width, 3)",
            tensor.shape
        )));
    };
    if tensor.dtype != DType::U8
        || patch.0 == 0
        || patch.1 == 0
        || height % patch.0 != 0
        || width % patch.1 != 0
    {
        return Err(Error::failed(format!(
            "patches: pictures of {height} x {width} pixels cannot be cut into patches of {} x {}; choose \
             a patch that divides both",
            patch.0, patch.1
        )));
    }
    let op = Patches { batch, height, width, patch };
    let out = graph.activation("patches", &[batch * op.grid(), patch.0 * patch.1 * CHANNELS]);
    graph.push(op, &[pixels], &[out]);
    Ok(out)
}

#[derive(Debug)]
struct Patches {
    batch: usize,
    height: usize,
    width: usize,
    /// Height and width of a patch.
    patch: (usize, usize),
}

impl Patches {
    fn grid(&self) -> usize {
        (self.height / self.patch.0) * (self.width / self.patch.1)
    }
}

impl Op for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cost(&self) -> Cost {
        let elements = (self.batch * self.height * self.width * CHANNELS) as f64;
        Cost { bytes: 5.0 * elements, flops: 2.0 * elements }
    }

    fn cpu(&self, args: &Args) {
        let pixels: &[u8] = args.input(0);
        let (columns, grid) = (self.width / self.patch.1, self.grid());
        let (line, length) = (self.width * CHANNELS, self.patch.1 * CHANNELS);
        let per_patch = self.patch.0 * length;
        parallel::rows(
            args.output(0),
            per_patch,
            #[inline(always)]
            |first, out| {
                for (i, out) in out.chunks_exact_mut(per_patch).enumerate() {
                    let (picture, place) = ((first + i) / grid, (first + i) % grid);
                    let top = picture * self.height + place / columns * self.patch.0;
                    let left = place % columns * length;
                    for (row, out) in out.chunks_exact_mut(length).enumerate() {
                        let start = (top + row) * line + left;
                        for (out, pixel) in out.iter_mut().zip(&pixels[start..start + length]) {
                            *out = f32::from(*pixel) * (1.0 / 127.5) - 1.0;
                        }
                    }
                }
            },
        );
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(self, launch)
    }
}

/// Cases of the patches.
pub fn cases() -> Vec<Case> {
    let case = |batch: usize, (height, width): (usize, usize), patch: (usize, usize)| {
        let inputs = vec![Input::bytes(&[batch, height, width, CHANNELS])];
        let name = format!("{batch} of {height} x {width} by {} x {}", patch.0, patch.1);
        Case::new("patches", name, inputs, move |g, x| Ok(vec![patches_of(g, x[0], patch)?]))
            .gradient(Gradient::None)
    };
    let checked = [
        (1, (1, 1), (1, 1)),
        (2, (6, 9), (3, 3)),
        (3, (16, 8), (8, 8)),
        (2, (6, 16), (2, 8)),
        (3, (5, 7), (5, 7)),
        (2, (8, 4), (4, 1)),
    ]
    .map(|(batch, (height, width), patch)| {
        case(batch, (height, width), patch).against(move |x| {
            let mut out = Vec::new();
            for (b, top) in (0..batch).flat_map(|b| (0..height / patch.0).map(move |row| (b, row * patch.0)))
            {
                for left in (0..width).step_by(patch.1) {
                    for (y, i) in (0..patch.0).flat_map(|y| (0..patch.1 * CHANNELS).map(move |i| (y, i))) {
                        let at = ((b * height + top + y) * width + left) * CHANNELS + i;
                        out.push(x[0][at] / 127.5 - 1.0);
                    }
                }
            }
            vec![out]
        })
    });
    checked.into_iter().chain([case(16, (224, 224), (16, 16))]).collect()
}
