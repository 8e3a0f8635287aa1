//! The update on a GPU (`kernels/optimizer.cu`): the host reads nothing and waits for nothing.

use super::{GradientNorm, Segment, Update};
use crate::Result;
use crate::device::gpu::Launcher;
use crate::graph::DType;

/// Threads of a block, and elements of a thread's load.
const THREADS: usize = 256;
const WIDE: usize = 4;
/// Parameters in one piece of the norm: PIECE of the kernel.
const PIECE: usize = 16 * THREADS * WIDE;
/// Segments of one launch, and floats of a segment's row in the step's table: SEGMENTS and ROW of the kernel.
const SEGMENTS: usize = 8;
const ROW: usize = 4;

/// `Segment` of the kernel.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
    learning_rate: f32,
    weight_decay: f32,
}

/// `Segments` of the kernel.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Ranges {
    at: [Range; SEGMENTS],
    count: u32,
    unused: u32,
}

/// `Settings` of the kernel.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Settings {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    average: f32,
}

pub(super) fn norm_pieces(len: usize) -> usize {
    len.div_ceil(PIECE).max(1)
}

pub(super) fn gradient_norm(op: &GradientNorm, launch: &mut Launcher) -> Result<()> {
    let (norm, gradients) = (launch.output(0), launch.input(0));
    assert_eq!(gradients.dtype, DType::F32, "gradients of parameters are f32");
    let pieces = norm_pieces(op.len);
    let partial = launch.workspace(0, pieces, DType::F32);
    launch
        .kernel("optimizer_squares")
        .out(partial.clone())
        .read(gradients)
        .long(op.len as u64)
        .grid(pieces)?;
    launch.kernel("optimizer_norm").out(norm).read(partial).size(pieces).float(op.clip).grid(1)
}

/// Bytes of the step's table.
pub(super) fn table_bytes() -> usize {
    SEGMENTS * ROW * size_of::<f32>()
}

pub(super) fn update(op: &Update, launch: &mut Launcher) -> Result<()> {
    let average = (op.settings.average > 0.0).then(|| launch.output(4));
    let copy = (launch.storage() != DType::F32).then(|| launch.output_copy(0));
    let settings = Settings {
        beta1: op.settings.beta1,
        beta2: op.settings.beta2,
        epsilon: op.settings.epsilon,
        average: op.settings.average,
    };
    let table = launch.workspace(0, SEGMENTS * ROW, DType::F32);
    let mut position = 0;
    for segments in op.segments.chunks(SEGMENTS) {
        let begin = position;
        for segment in segments {
            assert_eq!(segment.start, position, "segments must cover the parameters in order");
            position += segment.len;
        }
        let ranges = ranges(segments);
        let state = launch.step_state();
        launch
            .kernel("optimizer_step")
            .out(table.clone())
            .read(state)
            .plain(&ranges)
            .plain(&settings)
            .grid(1)?;
        let outputs = [0, 1, 2, 3].map(|i| launch.output(i));
        let [weights, gradients, first, second] = outputs;
        let norm = launch.input(0);
        launch
            .kernel("optimizer_adamw")
            .out(weights)
            .out_or_null(copy.clone())
            .out(gradients)
            .out(first)
            .out(second)
            .out_or_null(average.clone())
            .read(norm)
            .read(table.clone())
            .plain(&ranges)
            .plain(&settings)
            .grid((position - begin / WIDE * WIDE).div_ceil(THREADS * WIDE))?;
    }
    assert_eq!(position, op.len, "segments must cover all parameters");
    Ok(())
}

fn ranges(segments: &[Segment]) -> Ranges {
    let mut at = [Range::default(); SEGMENTS];
    for (range, segment) in at.iter_mut().zip(segments) {
        *range = Range {
            start: segment.start as u64,
            len: segment.len as u64,
            learning_rate: segment.learning_rate,
            weight_decay: segment.weight_decay,
        };
    }
    Ranges { at, count: segments.len() as u32, unused: 0 }
}
