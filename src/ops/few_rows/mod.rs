//! A linear layer of a few rows with what stands around it, in one launch: what a step of decoding is made of.
//!
//! `s = x + branch`, `e = norm(s)`, `y = activation(e W^T + b)`. Without a branch s is x, without a norm e is s. Beside y it
//! gives what the residual stream goes on from: s, or e where the norm stands behind the sum. With a ring, y is queries,
//! keys and values: the queries are returned, the others go to their row of the ring as [`super::ring::store`] puts them.
//!
//! Shapes: x, branch, s, e (rows, inputs); W (outputs, inputs); b (outputs); y (rows, outputs). It rounds where
//! [`super::norm`], [`super::linear`] and [`super::ring`] round. There is no gradient: training has many rows.

pub mod cases;
mod cpu;
pub(crate) mod cuda;

use super::attention::decode::Cache;
use super::norm::Affine;
use super::{Cost, Op};
use crate::config::Activation;
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{DType, Graph, Id};
use crate::{Error, Result};

/// The most rows it takes: four tiles of a product on tensor cores.
pub const MOST_ROWS: usize = 64;

/// Whether a graph's device has it as one launch, for so many rows. Elsewhere the operations apart are as good.
pub fn serves(graph: &Graph, rows: usize) -> bool {
    graph.storage() == DType::BF16 && rows <= MOST_ROWS
}

/// What the layer reads.
#[derive(Debug, Clone, Copy)]
pub struct Entering {
    pub x: Id,
    /// Added to x, where there is a norm.
    pub branch: Option<Id>,
    pub norm: Option<Affine>,
    /// The residual stream goes on from the norm (post-norm), not from the sum.
    pub norm_goes_on: bool,
}

/// The layer itself.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    pub weight: Id,
    pub bias: Option<Id>,
    pub activation: Option<Activation>,
}

/// Where the newest keys and values go: count (1) u32, the cache (rows * capacity, outputs - kept).
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    pub cache: Id,
    pub count: Id,
    pub sizes: Cache,
}

/// What it makes.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// (rows, outputs), or the queries alone.
    pub y: Id,
    /// What the residual stream goes on from.
    pub stream: Id,
    /// The ring as it is behind the store.
    pub cache: Option<Id>,
}

/// Traces the layer.
///
/// # Errors
/// If the shapes do not fit, or there are more than [`MOST_ROWS`] rows.
pub fn few_rows(graph: &mut Graph, entering: Entering, layer: Weights, ring: Option<Ring>) -> Result<Made> {
    let Entering { x, branch, norm, norm_goes_on } = entering;
    let ((rows, inputs), (outputs, weight_inputs)) = (graph.matrix(x), graph.matrix(layer.weight));
    let stored = ring.map_or(0, |ring| graph.matrix(ring.cache).1);
    let fits = rows <= MOST_ROWS
        && inputs == weight_inputs
        && stored < outputs
        && layer.bias.is_none_or(|bias| graph.shape(bias) == [outputs])
        && branch.is_none_or(|branch| norm.is_some() && graph.matrix(branch) == (rows, inputs))
        && norm.is_none_or(|norm| graph.shape(norm.gamma) == [inputs] && graph.shape(norm.beta) == [inputs])
        && ring.is_none_or(|Ring { cache, count, sizes }| {
            sizes.batch == rows
                && graph.matrix(cache).0 == rows * sizes.capacity
                && graph.tensor(count).len() == 1
                && sizes.pinned < sizes.capacity
        });
    if !fits {
        return Err(Error::failed(format!(
            "few rows: x is ({rows}, {inputs}), at most {MOST_ROWS} rows, the weight ({outputs}, {weight_inputs}), \
             {entering:?}, {layer:?}, {ring:?}"
        )));
    }
    let op = FewRows {
        rows,
        inputs,
        outputs,
        kept: outputs - stored,
        bias: layer.bias.is_some(),
        branch: branch.is_some(),
        norm: norm.is_some(),
        norm_goes_on,
        activation: layer.activation,
        ring: ring.map(|ring| (ring.sizes.capacity, ring.sizes.pinned)),
    };
    let y = graph.activation("few rows", &[rows, op.kept]);
    let stream = op.writes_stream().then(|| graph.activation("residual", &[rows, inputs]));
    let cache = ring.map(|ring| graph.in_place(ring.cache));
    let mut operands = vec![x, layer.weight];
    operands.extend(layer.bias);
    operands.extend(branch);
    operands.extend(norm.into_iter().flat_map(|norm| [norm.gamma, norm.beta]));
    operands.extend(ring.map(|ring| ring.count));
    let results: Vec<Id> = std::iter::once(y).chain(stream).chain(cache).collect();
    graph.push(op, &operands, &results);
    Ok(Made { y, stream: stream.unwrap_or(x), cache })
}

/// Inputs x, W [, b] [, branch] [, gamma, beta] [, count]; outputs y [, stream] [, cache].
#[derive(Debug, Clone, Copy)]
struct FewRows {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// Columns of y: those behind them go to the ring.
    kept: usize,
    bias: bool,
    branch: bool,
    norm: bool,
    norm_goes_on: bool,
    activation: Option<Activation>,
    /// Capacity, and pinned rows.
    ring: Option<(usize, usize)>,
}

/// Where an operand stands among the inputs, or a result among the outputs; none where it is not there.
#[derive(Debug, Clone, Copy)]
struct Places {
    bias: Option<usize>,
    branch: Option<usize>,
    gamma: Option<usize>,
    beta: Option<usize>,
    count: Option<usize>,
    stream: Option<usize>,
    cache: Option<usize>,
}

impl FewRows {
    /// Where the stream is not x itself.
    fn writes_stream(&self) -> bool {
        self.norm && (self.branch || self.norm_goes_on)
    }

    fn places(&self) -> Places {
        let mut next = 2;
        let mut take = |there: bool| {
            next += usize::from(there);
            there.then_some(next - 1)
        };
        let (bias, branch, gamma, beta) =
            (take(self.bias), take(self.branch), take(self.norm), take(self.norm));
        let (count, stream) = (take(self.ring.is_some()), self.writes_stream());
        let cache = self.ring.map(|_| 1 + usize::from(stream));
        Places { bias, branch, gamma, beta, count, stream: stream.then_some(1), cache }
    }
}

impl Op for FewRows {
    fn name(&self) -> &'static str {
        "few rows"
    }

    fn workspace(&self) -> usize {
        // What enters the product, and the product.
        self.rows * (self.inputs + self.outputs) * size_of::<f32>()
    }

    fn cost(&self) -> Cost {
        let (rows, inputs, outputs) = (self.rows as f64, self.inputs as f64, self.outputs as f64);
        let read = 1.0 + f64::from(u8::from(self.branch)) + f64::from(u8::from(self.writes_stream()));
        Cost {
            bytes: 4.0 * (inputs * outputs + rows * (read * inputs + outputs)),
            flops: 2.0 * rows * inputs * outputs,
        }
    }

    fn cpu(&self, args: &Args) {
        cpu::run(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(self, launch)
    }
}
