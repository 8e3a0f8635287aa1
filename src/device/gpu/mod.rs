//! What an op's CUDA form is given: its tensors as kernel parameters, kernels by name, and matrix products.
//!
//! The same launch code runs on a GPU and in the emulator; a [`Backend`] is what differs.
//!
//! Parameters go in the kernels' order: outputs, inputs, sizes. A launch is checked against the kernel's signature
//! where the backend knows it (the emulator does).

mod launch;
mod product;

pub use launch::{Launch, Param, Span};
pub use product::{Epilogue, Factor, Product, Scaled};

use super::StepState;
use crate::Result;
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Id, Node, Role};

/// Runs kernels and products on one device.
pub trait Backend {
    /// Runs a kernel on a grid of blocks.
    ///
    /// # Errors
    /// If there is no such kernel, or the launch fails.
    fn launch(&mut self, kernel: &str, grid: [u32; 3], params: &[Param]) -> Result<()>;

    /// Computes a matrix product.
    ///
    /// # Errors
    /// If the device's library refuses it.
    fn product(&mut self, product: &Product) -> Result<()>;

    /// Whether `fused`, a product with an epilogue, is to be taken in the place of `plain`, the product without it, and the
    /// `kernels` that do what the epilogue does. They may be run for their time: what they write is written again.
    ///
    /// # Errors
    /// If the device fails.
    fn fuses(&mut self, fused: &Product, plain: &Product, kernels: &mut Kernels) -> Result<bool>;

    /// Sets memory to zero bytes.
    ///
    /// # Errors
    /// If the device fails.
    fn zero(&mut self, span: &Span) -> Result<()>;
}

/// Launches of some kernels.
pub type Kernels<'k> = dyn FnMut(&mut dyn Backend) -> Result<()> + 'k;

/// The tensors of one node during one run, and the device that it runs on.
pub struct Launcher<'a> {
    program: &'a Program,
    node: &'a Node,
    storage: DType,
    backend: &'a mut dyn Backend,
}

impl<'a> Launcher<'a> {
    pub fn new(program: &'a Program, node: &'a Node, storage: DType, backend: &'a mut dyn Backend) -> Self {
        Launcher { program, node, storage, backend }
    }

    /// What activations and the copy of the weights are stored as.
    pub fn storage(&self) -> DType {
        self.storage
    }

    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    pub fn outputs(&self) -> usize {
        self.node.outputs.len()
    }

    /// Input `i` as a kernel reads it; parameters are the f32 masters.
    pub fn input(&self, i: usize) -> Span {
        self.span(self.node.inputs[i])
    }

    /// Input `i` as a product reads it: a parameter's copy in the storage type, or the tensor itself.
    pub fn operand(&self, i: usize) -> Span {
        let id = self.node.inputs[i];
        let span = self.span(id);
        match self.program.tensor(id).role {
            Role::Weight(_) if self.storage != DType::F32 => span.copy_in(self.storage),
            _ => span,
        }
    }

    pub fn output(&self, i: usize) -> Span {
        self.span(self.node.outputs[i])
    }

    /// Output `i`, which is a parameter: its copy in the storage type.
    pub fn output_copy(&self, i: usize) -> Span {
        self.output(i).copy_in(self.storage)
    }

    /// `elements` of `dtype` of the node's scratch, from byte `offset` on.
    ///
    /// # Panics
    /// If they do not lie in it.
    pub fn workspace(&self, offset: usize, elements: usize, dtype: DType) -> Span {
        let id = self.node.workspace.expect("an op that asked for scratch");
        let (place, whole) = (self.program.place(id), 4 * self.program.tensor(id).len());
        assert!(offset + elements * dtype.bytes() <= whole, "scratch of {whole} bytes is too small");
        Span {
            name: "scratch".into(),
            region: place.region,
            offset: place.offset + offset,
            rows: 1,
            columns: elements,
            row_stride: elements,
            dtype,
        }
    }

    /// Begins the launch of a kernel.
    pub fn kernel<'l>(&'l mut self, name: &str) -> Launch<'l> {
        Launch::new(name, &mut *self.backend)
    }

    /// Computes a matrix product.
    ///
    /// # Errors
    /// If the device's library refuses it.
    pub fn product(&mut self, product: &Product) -> Result<()> {
        self.backend.product(product)
    }

    /// As [`Backend::fuses`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn fuses(
        &mut self,
        fused: &Product,
        plain: &Product,
        kernels: &dyn Fn(&mut Launcher) -> Result<()>,
    ) -> Result<bool> {
        let (program, node, storage) = (self.program, self.node, self.storage);
        self.backend
            .fuses(fused, plain, &mut |backend| kernels(&mut Launcher::new(program, node, storage, backend)))
    }

    /// Sets a tensor to zero.
    ///
    /// # Errors
    /// If the device fails.
    pub fn zero(&mut self, span: &Span) -> Result<()> {
        assert!(span.rows <= 1 || span.row_stride == span.columns, "{} is not contiguous", span.name);
        self.backend.zero(span)
    }

    /// The words that change from step to step, see [`StepState::words`]. Launch code has their place only: a recorded
    /// launch is replayed in steps that have others.
    pub fn step_state(&self) -> Span {
        Span {
            name: "step state".into(),
            region: Region::State,
            offset: 0,
            rows: 1,
            columns: StepState::default().words().len(),
            row_stride: StepState::default().words().len(),
            dtype: DType::U32,
        }
    }

    fn span(&self, id: Id) -> Span {
        let (place, tensor) = (self.program.place(id), self.program.tensor(id));
        Span {
            name: tensor.name.clone(),
            region: place.region,
            offset: place.offset,
            rows: tensor.rows(),
            columns: tensor.columns(),
            row_stride: place.row_stride,
            dtype: tensor.dtype,
        }
    }
}
