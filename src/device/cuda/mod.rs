//! The device `cuda`: the kernels on an NVIDIA GPU. The driver and cublasLt are loaded when they are first asked for, so
//! the same program runs where there are none.

mod args;
mod backend;
mod context;
mod descriptors;
mod driver;
mod gemm;
mod graph;
mod memory;
mod modules;
pub mod nvml;
mod outbox;
mod owned;
mod ranges;
mod shape;
mod staging;

pub use context::{Card, Survey, memory as memory_of, survey, usable};
pub use graph::waits_for_each_launch;
pub use memory::Memory;

use std::ops::Range;
use std::sync::Arc;

use super::StepState;
use super::gpu::{Backend, Launcher, Param, Span};
use crate::graph::DType;
use crate::graph::plan::{Program, Region};
use crate::{Error, Result};
use backend::Cuda;
use graph::{Known, Recording};
use memory::Move;
use owned::Event;

/// Bytes of a GPU's memory that a model may still take; `None` where the driver does not tell.
pub fn available(number: u32) -> Option<usize> {
    let (free, _) = memory_of(usable(number).ok()?).ok()?;
    Some(free.saturating_sub(gemm::WORKSPACE))
}

/// What the GPU stores activations as.
pub const STORAGE: DType = DType::BF16;

/// Runs some of the nodes in order; a whole program is recorded at its second run and replayed from then on.
///
/// # Errors
/// If a kernel is missing, a launch fails, or one before it went wrong.
pub fn run_nodes(
    program: &Program,
    nodes: Range<usize>,
    memory: &mut Memory,
    copy_is_old: bool,
    state: &StepState,
) -> Result<()> {
    begin(program, memory, copy_is_old, state)?;
    if nodes == (0..program.nodes.len()) {
        replay(&[Part { program, moves: Vec::new() }], memory)?;
    } else {
        launch(program, nodes, memory, false)?;
    }
    memory.turn()
}

/// What stands before a program's first node: the step's words, and the weights' copy if it is old.
fn begin(program: &Program, memory: &mut Memory, copy_is_old: bool, state: &StepState) -> Result<()> {
    assert!(memory.bytes(program.region) >= program.arena, "arena not reserved");
    let words = state.words();
    memory.write(Region::State, 0, size_of_val(&words), |to| {
        to.copy_from_slice(bytemuck::cast_slice(&words));
    })?;
    if copy_is_old {
        refresh_copy(memory)?;
    }
    Ok(())
}

/// Runs some of the nodes with a mark of the GPU's clock between each two, launched one by one; when they began and ended, in seconds
/// from the first one's beginning. Where the host launches more slowly than the GPU works, a launch is what shows.
///
/// # Errors
/// As [`run_nodes`].
pub fn run_timed(
    program: &Program,
    nodes: Range<usize>,
    memory: &mut Memory,
    copy_is_old: bool,
    state: &StepState,
) -> Result<Vec<Range<f64>>> {
    let mark = |_| Event::new(memory.gpu.context, true);
    let marks = (0..=nodes.len()).map(mark).collect::<Result<Vec<_>>>()?;
    begin(program, memory, copy_is_old, state)?;
    marks[0].record(&memory.stream)?;
    for (index, mark) in nodes.zip(&marks[1..]) {
        launch(program, index..index + 1, memory, false)?;
        mark.record(&memory.stream)?;
    }
    memory.turn()?;
    memory.finish()?;
    let times = marks
        .iter()
        .map(|mark| Ok(f64::from(mark.milliseconds_since(&marks[0])?) * 1e-3))
        .collect::<Result<Vec<_>>>()?;
    Ok(times.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

/// A program with what is moved to its inputs before it.
struct Part<'a> {
    program: &'a Program,
    moves: Vec<Move>,
}

/// Runs a whole step, the update last. Where all passes are of one program it is one recording, made at the second step
/// of its kind; passes of several shapes would come in ever new orders, so there each program has its own.
///
/// # Errors
/// As [`run_nodes`].
pub fn run_step(
    passes: &[Arc<Program>],
    update: &Program,
    memory: &mut Memory,
    copy_is_old: bool,
) -> Result<()> {
    let mut parts = Vec::new();
    let mut moves = memory.take_moves();
    assert_eq!(moves.len(), passes.len(), "passes of a step");
    moves.push(Vec::new());
    for (program, moves) in passes.iter().map(Arc::as_ref).chain([update]).zip(moves) {
        assert!(memory.bytes(program.region) >= program.arena, "arena not reserved");
        parts.push(Part { program, moves });
    }
    if copy_is_old {
        refresh_copy(memory)?;
    }
    let alike = passes.windows(2).all(|pair| pair[0].id == pair[1].id);
    for group in parts.chunks(if alike { parts.len() } else { 1 }) {
        replay(group, memory)?;
    }
    memory.turn()
}

/// Runs whole programs: plainly the first time, recorded at the second, replayed from then on.
fn replay(parts: &[Part], memory: &mut Memory) -> Result<()> {
    let key: Vec<u64> = parts
        .iter()
        .flat_map(|part| [part.program.id].into_iter().chain(part.moves.iter().flat_map(Move::words)))
        .collect();
    if matches!(memory.graphs.of(&key), Some(Known::Seen)) {
        let recorded = Recording::of(&memory.stream, || launch_parts(parts, memory, true));
        memory.graphs.keep(&key, recorded);
    }
    let nodes: usize = parts.iter().map(|part| part.program.nodes.len()).sum();
    match memory.graphs.known(&key) {
        Some(Known::Recorded(recording)) => {
            recording.launch(&memory.stream)?;
            let last = parts.last().and_then(|part| part.program.nodes.last());
            let last = last.map_or("nothing", |node| node.op.name());
            memory.launched(&format!("a graph of {nodes} operations that ends with {last}"));
            Ok(())
        }
        _ => launch_parts(parts, memory, false),
    }
}

fn launch_parts(parts: &[Part], memory: &Memory, capturing: bool) -> Result<()> {
    for part in parts {
        for one in &part.moves {
            memory.bring(one)?;
        }
        launch(part.program, 0..part.program.nodes.len(), memory, capturing)?;
    }
    Ok(())
}

fn launch(program: &Program, nodes: Range<usize>, memory: &Memory, capturing: bool) -> Result<()> {
    for node in &program.nodes[nodes] {
        let _range = ranges::range(node.op.name());
        let mut backend = Cuda::new(memory, capturing);
        node.op
            .cuda(&mut Launcher::new(program, node, STORAGE, &mut backend))
            .map_err(|error| Error::failed(format!("{}: {error}", node.op.name())))?;
    }
    Ok(())
}

/// Elements that a block of `kernels/round.cu` works on: 8 a thread.
const ROUNDED: usize = 256 * 8;

/// Rounds the weights into their 16-bit copy.
fn refresh_copy(memory: &Memory) -> Result<()> {
    let count = memory.bytes(Region::Copy) / STORAGE.bytes();
    if count == 0 {
        return Ok(());
    }
    let span = |name: &str, region, dtype| Span {
        name: name.into(),
        region,
        offset: 0,
        rows: 1,
        columns: count,
        row_stride: count,
        dtype,
    };
    let params = [
        Param::Tensor { span: span("copy of the weights", Region::Copy, STORAGE), writable: true },
        Param::Tensor { span: span("weights", Region::Weights, DType::F32), writable: false },
        Param::Long(count as u64),
    ];
    Cuda::new(memory, false).launch("round_bf16", [count.div_ceil(ROUNDED) as u32, 1, 1], &params)
}
