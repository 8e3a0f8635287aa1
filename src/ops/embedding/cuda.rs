//! Launches of `kernels/embedding.cu`.

use super::{Embedding, EmbeddingBackward};
use crate::Result;
use crate::device::gpu::{Launcher, Span};
use crate::graph::DType;
use crate::ops::{dropout, positions};

/// As in `kernels/embedding.cu`: rows of a block forward and in the sort; sorted rows of a warp and warps of a block
/// that adds them; columns of a block backward.
const FORWARD_ROWS: usize = 4;
const SORT_ROWS: usize = 32;
const TILE: usize = 2048;
const COUNTED: usize = 1024;
const SPAN: usize = 16;
const SPAN_WARPS: usize = 4;
const COLUMNS: usize = 256;
/// From so many rows on a small table's are counted, not compared with each other.
const MANY: usize = 8192;

pub(super) fn forward(op: &Embedding, launch: &mut Launcher) -> Result<()> {
    let (y, words, table, positions) =
        (launch.output(0), launch.input(0), launch.operand(1), launch.input(2));
    let position = op.at.then(|| launch.input(3));
    let drawn = dropout::Parameters::of(op.dropout);
    let state = op.dropout.map(|_| launch.step_state());
    launch
        .kernel(&format!("embedding_forward_{}", y.suffix()))
        .out(y)
        .read(words)
        .read(table)
        .read(positions)
        .read_or_null(position)
        .read_or_null(state)
        .size(op.rows)
        .size(op.length)
        .size(op.period)
        .size(op.words)
        .size(op.width)
        .float(op.scale)
        .word(drawn.site)
        .word(drawn.threshold)
        .float(drawn.scale)
        .grid(op.rows.div_ceil(FORWARD_ROWS))
}

/// Bytes of the sorted rows, and of the words of these rows: whole pieces of 16 bytes.
fn sorted_bytes(rows: usize) -> usize {
    (rows * size_of::<u32>()).next_multiple_of(16)
}

/// Counts of words by tile; none where rows are compared with each other.
fn counts(op: &Embedding) -> usize {
    if op.rows > MANY && op.words <= COUNTED { (op.words + 1) * op.rows.div_ceil(TILE) } else { 0 }
}

pub(super) fn workspace(op: &EmbeddingBackward) -> usize {
    let Embedding { rows, width, .. } = op.forward;
    let sums = 2 * rows.div_ceil(SPAN) * width * size_of::<f32>();
    if op.table { 2 * sorted_bytes(rows) + sums + counts(&op.forward) * size_of::<u32>() } else { 0 }
}

pub(super) fn backward(op: &EmbeddingBackward, launch: &mut Launcher) -> Result<()> {
    let Embedding { length, period, dropout, .. } = op.forward;
    if op.table {
        let gradient = launch.output(0);
        table(&op.forward, gradient, launch)?;
    }
    let gradient = op.positions.then(|| launch.output(usize::from(op.table)));
    positions::cuda::gradients(launch, gradient, None, (length, period), dropout)
}

fn table(op: &Embedding, gradient: Span, launch: &mut Launcher) -> Result<()> {
    let Embedding { rows, words, width, scale, dropout, .. } = *op;
    let (spans, chunks) = (rows.div_ceil(SPAN), width.div_ceil(COLUMNS));
    let sorted_rows = launch.workspace(0, rows, DType::U32);
    let sorted_words = launch.workspace(sorted_bytes(rows), rows, DType::U32);
    let heads = launch.workspace(2 * sorted_bytes(rows), spans * width, DType::F32);
    let tails_at = 2 * sorted_bytes(rows) + heads.bytes();
    let tails = launch.workspace(tails_at, spans * width, DType::F32);
    let (dy, tokens) = (launch.input(0), launch.input(1));
    match counts(op) {
        0 => launch
            .kernel("embedding_sort_u32")
            .out(sorted_rows.clone())
            .out(sorted_words.clone())
            .read(tokens)
            .size(rows)
            .grid(rows.div_ceil(SORT_ROWS))?,
        count => {
            let counts = launch.workspace(tails_at + tails.bytes(), count, DType::U32);
            let tiles = rows.div_ceil(TILE);
            launch
                .kernel("embedding_count_u32")
                .out(counts.clone())
                .read(tokens.clone())
                .size(rows)
                .size(words)
                .grid(tiles)?;
            launch.kernel("embedding_scan_u32").out(counts.clone()).size(count).grid(1)?;
            launch
                .kernel("embedding_place_u32")
                .out(sorted_rows.clone())
                .out(sorted_words.clone())
                .read(counts)
                .read(tokens)
                .size(rows)
                .size(words)
                .grid(tiles)?;
        }
    }
    let drawn = dropout::Parameters::of(dropout);
    let state = dropout.map(|_| launch.step_state());
    launch
        .kernel(&format!("embedding_backward_{}", dy.suffix()))
        .out(gradient.clone())
        .out(heads.clone())
        .out(tails.clone())
        .read(dy)
        .read(sorted_rows)
        .read(sorted_words.clone())
        .read_or_null(state)
        .size(rows)
        .size(words)
        .size(width)
        .float(scale)
        .word(drawn.site)
        .word(drawn.threshold)
        .float(drawn.scale)
        .grid3(spans.div_ceil(SPAN_WARPS), chunks, 1)?;
    launch
        .kernel("embedding_runs_f32")
        .out(gradient)
        .read(heads)
        .read(tails)
        .read(sorted_words)
        .size(rows)
        .size(words)
        .size(width)
        .float(scale)
        .grid3(spans, chunks, 1)
}
