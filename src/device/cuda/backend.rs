//! Launches on a GPU's stream.

use cudarc::driver::sys;

use super::args::Arguments;
use super::driver::check;
use super::gemm::{Addresses, WORKSPACE};
use super::graph::waits_for_each_launch;
use super::memory::Memory;
use super::shape::Shape;
use crate::device::gpu::{Backend, Kernels, Param, Product, Scaled, Span};
use crate::{Error, Result};

/// A memory's GPU, for the launch code of ops.
pub struct Cuda<'a> {
    memory: &'a Memory,
    /// The stream is being recorded: nothing runs, and nothing may be waited for.
    capturing: bool,
    wait: bool,
}

impl<'a> Cuda<'a> {
    pub fn new(memory: &'a Memory, capturing: bool) -> Cuda<'a> {
        Cuda { memory, capturing, wait: waits_for_each_launch() }
    }

    fn address(&self, span: &Span) -> u64 {
        self.memory.at(span.region, span.offset, span.bytes())
    }

    /// What the library is told of a product, and where its parts are.
    fn shape(&self, product: &Product) -> Result<(Shape, Addresses)> {
        let (a, b, out) =
            (self.address(&product.a.span), self.address(&product.b.span), self.address(&product.out));
        let Some(shape) = Shape::of(product, [a, b, out]) else {
            return Err(Error::failed(format!("{}: no product of whole numbers", product.out.name)));
        };
        let aside = product.epilogue.as_ref().map_or(0, |epilogue| self.address(epilogue.span()));
        Ok((shape, Addresses { a, b, out, aside, workspace: self.memory.workspace.at(0, WORKSPACE) }))
    }

    fn launched(&self, what: &str) -> Result<()> {
        if self.capturing {
            return Ok(());
        }
        self.memory.launched(what);
        if !self.wait {
            return Ok(());
        }
        self.memory.stream.finish().map_err(|error| Error::failed(format!("{what}: {error}")))
    }
}

impl Backend for Cuda<'_> {
    fn launch(&mut self, name: &str, [x, y, z]: [u32; 3], params: &[Param]) -> Result<()> {
        let kernel = self.memory.gpu.modules.kernel(name)?;
        let mut arguments = Arguments::pack(params, |span| self.address(span));
        let mut pointers = arguments.pointers();
        // SAFETY: the parameters are those of the kernel, which the emulator checks against its declaration for every op;
        // each tensor lies within its region, which lives as long as `memory`, whose stream is the only one to use it.
        let status = unsafe {
            sys::cuLaunchKernel(
                kernel.function,
                x,
                y,
                z,
                kernel.threads,
                1,
                1,
                kernel.shared,
                self.memory.stream.raw,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        check(status, &format!("launch {name}"))?;
        self.launched(name)
    }

    fn product(&mut self, product: &Product) -> Result<()> {
        if product.out.is_empty() {
            return Ok(());
        }
        if product.a.span.is_empty() {
            // A sum of nothing.
            return match product.write {
                Scaled::Set => self.zero(&product.out),
                Scaled::Add => Ok(()),
            };
        }
        let (shape, at) = self.shape(product)?;
        // SAFETY: the addresses are those that the shape was made of, each within its region; the graph never gives an op
        // an output that is also its input; the workspace is this memory's, and its one stream does one product at a time.
        unsafe { self.memory.gpu.products.run(&shape, at, &self.memory.stream, self.capturing) }?;
        self.launched("a product of cublasLt")
    }

    fn fuses(&mut self, fused: &Product, plain: &Product, kernels: &mut Kernels) -> Result<bool> {
        // Kernels write no sums of nothing.
        if fused.out.is_empty() || fused.a.span.is_empty() {
            return Ok(false);
        }
        let ((with, at), (without, _)) = (self.shape(fused)?, self.shape(plain)?);
        let memory = self.memory;
        let stream = &memory.stream;
        // SAFETY: as in `product`.
        unsafe {
            memory.gpu.products.fuses(&with, &without, at, stream, self.capturing, &mut || {
                kernels(&mut Cuda::new(memory, false))
            })
        }
    }

    fn zero(&mut self, span: &Span) -> Result<()> {
        // SAFETY: `address` checked that so many bytes lie within the region.
        unsafe { self.memory.stream.fill(self.address(span), 0, span.bytes()) }
    }
}
