//! The emulated device: the CUDA kernels, compiled for this machine against `kernels/emulator`, through the same launch
//! code as on a GPU. Matrix products, which a GPU leaves to cublasLt, are the CPU's crate's.

mod library;
mod products;

pub use library::{Fault, Given, kernels, launch};

use std::ops::Range;

use super::gpu::{Backend, Kernels, Launcher, Param, Product, Span};
use super::{Memory, StepState};
use crate::graph::plan::{Program, Region};
use crate::{Error, Result};

/// Runs some of the nodes in order.
///
/// # Errors
/// If a kernel is missing, or breaks a rule: the emulator's report is the error.
pub fn run_nodes(
    program: &Program,
    nodes: Range<usize>,
    memory: &mut Memory,
    state: &StepState,
) -> Result<()> {
    assert!(memory.region(program.region).len() >= program.arena, "arena not reserved");
    memory.refresh_copy();
    memory.region_mut(Region::State).bytes_mut().copy_from_slice(bytemuck::cast_slice(&state.words()));
    for node in &program.nodes[nodes] {
        let storage = memory.device().storage();
        let mut backend = Emulator { memory };
        node.op
            .cuda(&mut Launcher::new(program, node, storage, &mut backend))
            .map_err(|error| Error::failed(format!("{}: {error}", node.op.name())))?;
    }
    Ok(())
}

struct Emulator<'a> {
    memory: &'a mut Memory,
}

impl Emulator<'_> {
    /// The span's first byte, after a check that it lies in its region.
    fn start(&self, span: &Span) -> *mut u8 {
        let region = self.memory.region(span.region);
        assert!(span.offset + span.bytes() <= region.len(), "{} lies outside its region", span.name);
        region.start().wrapping_add(span.offset)
    }
}

impl Backend for Emulator<'_> {
    fn launch(&mut self, kernel: &str, grid: [u32; 3], params: &[Param]) -> Result<()> {
        let mut given = Vec::new();
        for param in params {
            given.push(match param {
                Param::Tensor { span, writable } => library::Given::Tensor {
                    start: self.start(span),
                    bytes: span.bytes(),
                    name: &span.name,
                    writable: *writable,
                },
                Param::Absent { writable } => library::Given::Absent { writable: *writable },
                Param::Word(word) => library::Given::Word(*word),
                Param::Float(value) => library::Given::Float(*value),
                Param::Long(value) => library::Given::Long(*value),
                Param::Bytes(bytes) => library::Given::Bytes(bytes),
            });
        }
        // SAFETY: each tensor lies in one of the memory's regions (checked in `start`), which nobody else touches while
        // `self.memory` is borrowed mutably; the emulator checks every access against these bounds.
        unsafe { library::launch(kernel, grid, self.memory.schedule, &given) }
            .map_err(|fault| Error::failed(fault.0))
    }

    fn product(&mut self, product: &Product) -> Result<()> {
        products::run(product, self.memory);
        Ok(())
    }

    /// Nothing is faster here; tests ask for both ways.
    fn fuses(&mut self, _: &Product, _: &Product, _: &mut Kernels) -> Result<bool> {
        Ok(self.memory.fuses)
    }

    fn zero(&mut self, span: &Span) -> Result<()> {
        let bytes = span.bytes();
        self.start(span); // checks the bounds
        self.memory.region_mut(span.region).bytes_mut()[span.offset..span.offset + bytes].fill(0);
        Ok(())
    }
}
