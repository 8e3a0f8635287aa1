//! Cross-entropy over a vocabulary, fused with its gradient: probabilities are never stored.
//!
//! With targets t, label smoothing s over V words and p = softmax(logits):
//! `loss = -(1 - s) log p[t] - s / V * sum of log p`, `d logits = (p - (1 - s) onehot(t) - s / V) * scale`.
//! Rows whose target is `ignored` ([`PAD`] for words) are left out. Shapes: logits (rows, words), targets (rows) u32,
//! scale (1), sums (2): the smoothed loss times scale, and the plain negative log-likelihood in nats (not scaled);
//! nats (rows): the latter by row. Rows of logits may lie apart ([`Graph::activation_in_lines`]): kernels take any stride,
//! and touch nothing between rows; the CPU's lie one after another.
//!
//! The scale is 1 / (all target words of the step), so that gradient accumulation adds up to the same mean.

pub mod cases;
mod cpu;
mod cuda;
#[cfg(all(test, feature = "emulator"))]
mod tests;

use super::{Cost, Op};
use crate::data::vocabulary::PAD;
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// What the loss leaves to be read.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// (2): smoothed loss * scale, negative log-likelihood in nats.
    pub sums: Id,
    /// (rows): negative log-likelihood of each row, 0 where ignored.
    pub nats: Id,
}

/// Traces the loss over words: rows whose target is [`PAD`] are left out. With `train` the logits' memory becomes their
/// gradient.
///
/// # Errors
/// If there is not one target a row.
pub fn cross_entropy(
    graph: &mut Graph,
    logits: Id,
    targets: Id,
    scale: Id,
    smoothing: f32,
    train: bool,
) -> Result<Loss> {
    cross_entropy_without(graph, logits, targets, scale, smoothing, train, PAD)
}

/// As [`cross_entropy`], but leaves out the rows whose target is `ignored`.
///
/// # Errors
/// If there is not one target a row.
pub fn cross_entropy_without(
    graph: &mut Graph,
    logits: Id,
    targets: Id,
    scale: Id,
    smoothing: f32,
    train: bool,
    ignored: u32,
) -> Result<Loss> {
    let (rows, words) = graph.matrix(logits);
    if graph.tensor(targets).len() != rows {
        return Err(Error::failed(format!(
            "cross-entropy: {rows} rows of logits and {} targets",
            graph.tensor(targets).len()
        )));
    }
    let gradient = graph.in_place(logits);
    let sums = graph.activation_f32("loss", &[2]);
    let nats = graph.activation_f32("nats", &[rows]);
    graph.push(
        CrossEntropy { rows, words, smoothing, train, ignored },
        &[targets, scale],
        &[gradient, sums, nats],
    );
    if train {
        graph.set_gradient(logits, gradient);
    }
    graph.keep(sums);
    graph.keep(nats);
    Ok(Loss { sums, nats })
}

/// Outputs: logits, overwritten with their gradient when training; sums; nats.
#[derive(Debug)]
struct CrossEntropy {
    rows: usize,
    words: usize,
    smoothing: f32,
    train: bool,
    /// A target that is none.
    ignored: u32,
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * self.words) as f64;
        Cost { bytes: if self.train { 8.0 } else { 4.0 } * elements, flops: 6.0 * elements }
    }

    fn workspace(&self) -> usize {
        self.rows * size_of::<f32>()
    }

    fn cpu(&self, args: &Args) {
        cpu::run(self, args);
    }

    fn cuda_workspace(&self) -> usize {
        self.rows * size_of::<f32>()
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(self, launch)
    }
}
