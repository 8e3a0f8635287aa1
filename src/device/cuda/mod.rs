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
mod owned;
mod ranges;
mod shape;
mod staging;

pub use context::{Card, Survey, memory as memory_of, survey, usable};
pub use memory::Memory;

use std::ops::Range;

use super::StepState;
use super::gpu::{Backend, Launcher, Param, Span};
use crate::graph::DType;
use crate::graph::plan::{Program, Region};
use crate::{Error, Result};
use backend::Cuda;
use graph::{Known, Recording};

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
    assert!(memory.bytes(program.region) >= program.arena, "arena not reserved");
    let words = state.words();
    memory.write(Region::State, 0, size_of_val(&words), |to| {
        to.copy_from_slice(bytemuck::cast_slice(&words));
    })?;
    if copy_is_old {
        refresh_copy(memory)?;
    }
    let whole = nodes == (0..program.nodes.len());
    let known = if whole { memory.graphs.of(program.id) } else { None };
    match known {
        Some(Known::Recorded(_)) => {}
        Some(Known::Seen) => {
            let recorded = Recording::of(&memory.stream, || launch(program, nodes.clone(), memory, true));
            memory.graphs.keep(program.id, recorded);
        }
        Some(Known::Refused) | None => {}
    }
    match if whole { memory.graphs.of(program.id) } else { None } {
        Some(Known::Recorded(recording)) => {
            recording.launch(&memory.stream)?;
            let last = program.nodes.last().map_or("nothing", |node| node.op.name());
            memory.launched(&format!("a graph of {} operations that ends with {last}", program.nodes.len()));
        }
        _ => launch(program, nodes, memory, false)?,
    }
    memory.turn()
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
