//! Layer normalisation fused with the residual sum before it and the dropout of the branch (Ba 2016):
//!
//! `sum = x + dropout(branch)`, `y = (sum - mean) / sqrt(variance + EPSILON) * gamma + beta`
//!
//! Shapes: x, branch, sum, y (rows, width); gamma, beta (width); stats (rows, 2) hold mean and 1/deviation.

pub mod cases;
mod cpu;
mod cuda;

use super::{Cost, Dropout, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Added to the variance, as in the original and in every framework.
pub const EPSILON: f32 = 1e-5;

/// The scale and shift of a norm.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    pub gamma: Id,
    pub beta: Id,
}

/// Traces `norm(x)`.
///
/// # Errors
/// If gamma or beta are not as wide as x.
pub fn norm(graph: &mut Graph, x: Id, affine: Affine) -> Result<Id> {
    let op = checked(graph, x, None, affine, None)?;
    let y = graph.activation("norm", &[op.rows, op.width]);
    let stats = graph.activation_f32("norm stats", &[op.rows, 2]);
    graph.push(op, &[x, affine.gamma, affine.beta], &[y, stats]);
    Ok(y)
}

/// Traces `sum = x + dropout(branch)` and `norm(sum)`; returns (sum, norm).
///
/// # Errors
/// If the shapes of x, branch, gamma and beta do not fit.
pub fn add_norm(
    graph: &mut Graph,
    x: Id,
    branch: Id,
    affine: Affine,
    dropout: Option<Dropout>,
) -> Result<(Id, Id)> {
    let op = checked(graph, x, Some(branch), affine, dropout)?;
    let y = graph.activation("norm", &[op.rows, op.width]);
    let stats = graph.activation_f32("norm stats", &[op.rows, 2]);
    let sum = graph.activation("residual", &[op.rows, op.width]);
    graph.push(op, &[x, affine.gamma, affine.beta, branch], &[y, stats, sum]);
    Ok((sum, y))
}

fn checked(
    graph: &Graph,
    x: Id,
    branch: Option<Id>,
    affine: Affine,
    dropout: Option<Dropout>,
) -> Result<AddNorm> {
    let (rows, width) = graph.matrix(x);
    let fits = graph.shape(affine.gamma) == [width]
        && graph.shape(affine.beta) == [width]
        && branch.is_none_or(|b| graph.matrix(b) == (rows, width));
    if !fits {
        return Err(Error::failed(format!(
            "norm: x is ({rows}, {width}), gamma {:?}, beta {:?}, the branch {:?}",
            graph.shape(affine.gamma),
            graph.shape(affine.beta),
            branch.map(|b| graph.shape(b).to_vec())
        )));
    }
    Ok(AddNorm { rows, width, branch: branch.is_some(), dropout })
}

/// Inputs x, gamma, beta [, branch]; outputs y, stats [, sum].
#[derive(Debug, Clone, Copy)]
struct AddNorm {
    rows: usize,
    width: usize,
    branch: bool,
    dropout: Option<Dropout>,
}

impl Op for AddNorm {
    fn name(&self) -> &'static str {
        if self.branch { "residual norm" } else { "norm" }
    }

    fn differentiable(&self) -> bool {
        true
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let dy = graph.gradient(outputs[0]);
        let dsum = outputs.get(2).and_then(|&sum| graph.gradient(sum));
        let Some(dy) = dy else {
            return match dsum {
                None => Ok(()),
                Some(_) => Err(Error::failed("a residual sum whose norm is never used")),
            };
        };
        let normalised = outputs.get(2).copied().unwrap_or(inputs[0]);
        let mut operands = vec![dy, normalised, outputs[1], inputs[1]];
        operands.extend(dsum);
        let dgamma = graph.gradient_slot(inputs[1]);
        let dbeta = graph.gradient_slot(inputs[2]);
        let (Some(dgamma), Some(dbeta)) = (dgamma, dbeta) else {
            return Err(Error::failed("gamma and beta must both be trained"));
        };
        let dx = graph
            .gradient_slot(inputs[0])
            .unwrap_or_else(|| graph.activation("d x", &[self.rows, self.width]));
        let mut results = vec![dgamma, dbeta, dx];
        if let Some(&branch) = inputs.get(3) {
            match self.dropout {
                // Without dropout x and branch enter the sum alike: one gradient serves both.
                None => graph.set_gradient(branch, dx),
                Some(_) => results.extend(graph.gradient_slot(branch)),
            }
        }
        let masked = results.len() == 4;
        graph.push(AddNormBackward { forward: *self, dsum: dsum.is_some(), masked }, &operands, &results);
        Ok(())
    }

    fn cost(&self) -> Cost {
        let tensors = if self.branch { 4.0 } else { 2.0 };
        let elements = (self.rows * self.width) as f64;
        Cost { bytes: 4.0 * tensors * elements, flops: 8.0 * elements }
    }

    fn cpu(&self, args: &Args) {
        cpu::forward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::forward(self, launch)
    }
}

/// Inputs dy, the normalised sum, stats, gamma [, dsum]; outputs dgamma, dbeta (added), dx [, dbranch].
#[derive(Debug)]
struct AddNormBackward {
    forward: AddNorm,
    dsum: bool,
    masked: bool,
}

impl Op for AddNormBackward {
    fn name(&self) -> &'static str {
        "norm backward"
    }

    fn workspace(&self) -> usize {
        cpu::partials(&self.forward) * size_of::<f32>()
    }

    fn cuda_workspace(&self) -> usize {
        cuda::workspace(&self.forward)
    }

    fn cost(&self) -> Cost {
        let elements = (self.forward.rows * self.forward.width) as f64;
        let tensors = 3.0 + f64::from(u8::from(self.dsum) + u8::from(self.masked));
        Cost { bytes: 4.0 * tensors * elements, flops: 14.0 * elements }
    }

    fn cpu(&self, args: &Args) {
        cpu::backward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::backward(self, launch)
    }
}
