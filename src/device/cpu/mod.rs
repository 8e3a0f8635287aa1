//! The CPU device: any machine's, and the oracle for the others. f32, all cores, the widest vectors there are.

mod args;
mod buffer;
pub mod gemm;
pub mod math;
pub mod parallel;
mod view;

pub use args::Args;
pub use buffer::Buffer;
pub use view::{View, ViewMut};

use std::ops::Range;

use super::{Memory, StepState};
use crate::graph::plan::Program;

/// Runs the nodes of `program` in order.
pub fn run(program: &Program, memory: &mut Memory, state: &StepState) {
    run_nodes(program, 0..program.nodes.len(), memory, state);
}

/// Runs some of the nodes in order, for timing.
pub fn run_nodes(program: &Program, nodes: Range<usize>, memory: &mut Memory, state: &StepState) {
    assert!(memory.region(program.region).len() >= program.arena, "arena not reserved");
    for node in &program.nodes[nodes] {
        node.op.cpu(&Args::new(program, node, memory, *state));
    }
}

/// The widest vector instructions that this machine has, in words.
pub fn vector() -> &'static str {
    // The type's variants differ by machine, so it is asked for its name.
    let arch = format!("{:?}", pulp::Arch::new());
    match arch.split('(').next() {
        Some("V4") => "AVX-512",
        Some("V3") => "AVX2 and FMA",
        Some("Neon") => "NEON",
        _ => "none",
    }
}
