//! Launches of `kernels/few_rows.cu`.

use bytemuck::{Pod, Zeroable};

use super::{FewRows, MOST_ROWS};
use crate::config::Activation;
use crate::device::gpu::{Launcher, Span};
use crate::graph::DType;
use crate::ops::norm::EPSILON;
use crate::{Error, Result};

/// As in `kernels/few_rows.cu`: outputs of a block, elements of a piece, and the rows that kernels are made for.
const OUTPUTS: usize = 8;
const PIECE: usize = 8;
const LADDER: [usize; 3] = [16, 32, MOST_ROWS];

/// As `FewRows` in `kernels/few_rows.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct CudaSizes {
    /// Rows, inputs, outputs.
    shape: [i32; 3],
    stride: i32,
    kept: i32,
    /// Capacity, pinned rows.
    ring: [i32; 2],
    activation: i32,
    norm_goes_on: i32,
    epsilon: f32,
}

/// The operands and results of a launch.
struct Spans {
    y: Span,
    stream: Option<Span>,
    /// GELU's, where a gradient needs it.
    argument: Option<Span>,
    cache: Option<Span>,
    x: Span,
    branch: Option<Span>,
    weight: Span,
    bias: Option<Span>,
    gamma: Option<Span>,
    beta: Option<Span>,
    count: Option<Span>,
}

pub(super) fn run(op: &FewRows, launch: &mut Launcher) -> Result<()> {
    let places = op.places();
    let read = |place: Option<usize>| place.map(|i| launch.input(i));
    let spans = Spans {
        y: launch.output(0),
        stream: places.stream.map(|i| launch.output(i)),
        argument: None,
        cache: places.cache.map(|i| launch.output(i)),
        x: launch.input(0),
        branch: read(places.branch),
        weight: launch.operand(1),
        bias: places.bias.map(|i| launch.operand(i)),
        gamma: read(places.gamma),
        beta: read(places.beta),
        count: read(places.count),
    };
    launched(op, spans, launch)
}

/// Whether [`linear`] takes a product of these: result and x, the weight, the bias.
pub(crate) fn takes([y, x]: [&Span; 2], weight: &Span, bias: Option<&Span>) -> bool {
    let stored = |span: &Span| span.dtype == DType::BF16;
    let contiguous = |span: &Span| span.row_stride == span.columns;
    x.rows <= MOST_ROWS
        && [y, x, weight].into_iter().chain(bias).all(stored)
        && contiguous(y)
        && contiguous(weight)
}

/// y (rows, outputs) = activation(x W^T + b), with GELU's argument beside it where that is asked for: what
/// [`crate::ops::linear`] launches where rows are few.
///
/// # Errors
/// If the launch fails.
pub(crate) fn linear(
    launch: &mut Launcher,
    (y, argument): (Span, Option<Span>),
    (x, weight, bias): (Span, Span, Option<Span>),
    activation: Option<Activation>,
) -> Result<()> {
    let op = FewRows {
        rows: x.rows,
        inputs: x.columns,
        outputs: weight.rows,
        kept: weight.rows,
        bias: bias.is_some(),
        branch: false,
        norm: false,
        norm_goes_on: false,
        activation,
        ring: None,
    };
    let (stream, cache, branch, gamma, beta, count) = (None, None, None, None, None, None);
    let spans = Spans { y, stream, argument, cache, x, branch, weight, bias, gamma, beta, count };
    launched(&op, spans, launch)
}

fn launched(op: &FewRows, spans: Spans, launch: &mut Launcher) -> Result<()> {
    let FewRows { rows, inputs, outputs, kept, .. } = *op;
    let int = |value: usize| {
        i32::try_from(value)
            .map_err(|_| Error::failed(format!("few rows: {value} elements in a row are too many")))
    };
    let stride = spans.x.row_stride;
    let (capacity, pinned) = op.ring.unwrap_or((1, 0));
    let sizes = CudaSizes {
        shape: [int(rows)?, int(inputs)?, int(outputs)?],
        stride: int(stride)?,
        kept: int(kept)?,
        ring: [int(capacity)?, int(pinned)?],
        activation: match op.activation {
            None => 0,
            Some(Activation::Gelu) => 1,
            Some(Activation::Relu) => 2,
        },
        norm_goes_on: op.norm_goes_on.into(),
        epsilon: EPSILON,
    };
    // Pieces begin at whole pieces of memory.
    let first = |span: &Span| span.offset / span.dtype.bytes();
    let whole =
        [inputs, stride, first(&spans.x), first(&spans.weight)].iter().all(|n| n.is_multiple_of(PIECE));
    let step = LADDER.iter().find(|&&step| rows <= step).filter(|_| whole);
    let name = step.map_or("any".into(), |step| step.to_string());
    launch
        .kernel(&format!("few_rows_{name}_{}", spans.y.suffix()))
        .out(spans.y)
        .out_or_null(spans.stream)
        .out_or_null(spans.argument)
        .out_or_null(spans.cache)
        .read(spans.x)
        .read_or_null(spans.branch)
        .read(spans.weight)
        .read_or_null(spans.bias)
        .read_or_null(spans.gamma)
        .read_or_null(spans.beta)
        .read_or_null(spans.count)
        .plain(&sizes)
        .grid(outputs.div_ceil(OUTPUTS))
}
