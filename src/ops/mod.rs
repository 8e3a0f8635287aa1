//! Operations: one folder for each, with its meaning, shapes, gradient, cases and CPU form side by side.

pub mod attention;
pub mod cached_attention;
pub mod cases;
pub mod convolution;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod few_rows;
pub mod guard;
pub mod linear;
pub mod norm;
pub mod optimizer;
pub mod patches;
pub mod philox;
pub mod positions;
pub mod ring;
pub mod spectrogram;
pub mod waveform;

use std::fmt::Debug;

use crate::device::cpu;
use crate::device::gpu::Launcher;
use crate::graph::{self, DType, Graph, Id, Node, Role, Tensor};
use crate::{Error, Result};

/// What an op costs at its shapes: the numbers behind `evoke bench` and the memory table.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Bytes that must be read and written at least once.
    pub bytes: f64,
    /// Floating point operations; a multiply-add counts as two.
    pub flops: f64,
}

impl Cost {
    /// The cost of a node where activations are stored as `storage`: ops count in f32, and 16 bits make it less by what the
    /// node's tensors are. Weights that are read, and not updated, are read from their copy in that type.
    pub fn of(node: &Node, tensors: &[Tensor], storage: DType) -> Cost {
        let mut cost = node.op.cost();
        if storage == DType::F32 {
            return cost;
        }
        let (mut stored, mut counted) = (0, 0);
        let operands =
            node.inputs.iter().map(|id| (*id, true)).chain(node.outputs.iter().map(|id| (*id, false)));
        for (id, read) in operands {
            let tensor = &tensors[id.index()];
            let kept = match tensors[graph::root(tensors, id).index()].role {
                Role::Weight(_) if read => storage,
                _ => tensor.dtype,
            };
            stored += tensor.len() * kept.bytes();
            counted += tensor.len() * DType::F32.bytes();
        }
        cost.bytes *= stored as f64 / counted.max(1) as f64;
        cost
    }
}

/// One operation with all its sizes, as a node of a [`Graph`].
pub trait Op: Debug + Send + Sync {
    fn name(&self) -> &'static str;

    /// Whether gradients pass through it.
    fn differentiable(&self) -> bool {
        false
    }

    /// Appends the ops that compute the gradients of `inputs` from those of `outputs`.
    fn backward(&self, _graph: &mut Graph, _inputs: &[Id], _outputs: &[Id]) -> Result<()> {
        Err(Error::failed(format!("{} has no gradient", self.name())))
    }

    /// Bytes of scratch on the CPU.
    fn workspace(&self) -> usize {
        0
    }

    /// Bytes of scratch for its kernels.
    fn cuda_workspace(&self) -> usize {
        0
    }

    fn cost(&self) -> Cost;

    /// Runs it on the CPU.
    fn cpu(&self, args: &cpu::Args);

    /// Launches its kernels: on a GPU, or in the emulator.
    ///
    /// # Errors
    /// If it has no CUDA form for these sizes, or a launch fails.
    fn cuda(&self, _launch: &mut Launcher) -> Result<()> {
        Err(Error::failed("no CUDA kernel yet; use --device cpu"))
    }
}

/// Dropout at one place of the model: each place draws its own numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of elements set to zero; the others are scaled by 1 / (1 - rate).
    pub rate: f32,
    /// Which place of the model this is.
    pub site: u32,
}

impl Dropout {
    /// `None` where nothing is dropped.
    pub fn new(rate: f32, site: u32) -> Option<Dropout> {
        (rate > 0.0).then_some(Dropout { rate, site })
    }
}

/// Elements of a block of 256 threads that take 16 bytes of a 16-bit type each.
const BLOCK_ELEMENTS: usize = 256 * 8;

/// `count`, where kernels that divide indices in 32 bits can take it.
fn int_elements(op: &str, count: usize) -> Result<usize> {
    match i32::try_from(count) {
        Ok(_) => Ok(count),
        Err(_) => Err(Error::failed(format!(
            "{op}: {count} elements, but at most {} fit; use a smaller batch",
            i32::MAX
        ))),
    }
}
