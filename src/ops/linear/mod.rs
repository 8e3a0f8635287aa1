//! Linear layer with its epilogue: `y = activation(x W^T + b)`.
//!
//! Shapes: x (rows, inputs), W (outputs, inputs), b (outputs), y (rows, outputs). Weights stand as (outputs, inputs)
//! so that an embedding table (words, width) can be the output layer as it is.

pub mod cases;
mod cpu;
mod cuda;

use super::{Cost, Op};
use crate::config::Activation;
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Traces `activation(x W^T + b)`.
///
/// # Errors
/// If the inner sizes differ.
pub fn linear(
    graph: &mut Graph,
    x: Id,
    weight: Id,
    bias: Option<Id>,
    activation: Option<Activation>,
) -> Result<Id> {
    let op = Linear::of(graph, x, weight, bias, activation)?;
    let Linear { rows, outputs, .. } = op;
    let y = graph.activation(op.name(), &[rows, outputs]);
    let mut results = vec![y];
    if activation == Some(Activation::Gelu) {
        // GELU's derivative needs its argument; ReLU's can be read off its result.
        results.push(graph.activation("gelu argument", &[rows, outputs]));
    }
    let operands: Vec<Id> = [x, weight].into_iter().chain(bias).collect();
    graph.push(op, &operands, &results);
    Ok(y)
}

/// Traces `x W^T` for as many outputs as a vocabulary has words, whatever that number: the rows of the result lie as a
/// GPU's library wants them ([`Graph::activation_in_lines`]). The loss, which takes its gradient in place, keeps them so.
///
/// cuBLAS documents 16 bytes for strides and for extents; kernels that copy by TMA need it of strides alone. Extents stay
/// those of the vocabulary: to pad them, the table would need rows that are no words.
///
/// # Errors
/// As [`linear`].
pub fn logits(graph: &mut Graph, x: Id, weight: Id) -> Result<Id> {
    let op = Linear::of(graph, x, weight, None, None)?;
    let y = graph.activation_in_lines(op.name(), &[op.rows, op.outputs]);
    graph.push(op, &[x, weight], &[y]);
    Ok(y)
}

#[derive(Debug, Clone, Copy)]
struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    activation: Option<Activation>,
}

impl Linear {
    /// # Errors
    /// If the inner sizes differ.
    fn of(
        graph: &Graph,
        x: Id,
        weight: Id,
        bias: Option<Id>,
        activation: Option<Activation>,
    ) -> Result<Linear> {
        let (rows, inputs) = graph.matrix(x);
        let (outputs, weight_inputs) = graph.matrix(weight);
        if inputs != weight_inputs || bias.is_some_and(|b| graph.shape(b) != [outputs]) {
            return Err(Error::failed(format!(
                "linear: x is ({rows}, {inputs}), the weight ({outputs}, {weight_inputs}), the bias {:?}",
                bias.map(|b| graph.shape(b).to_vec())
            )));
        }
        Ok(Linear { rows, inputs, outputs, bias: bias.is_some(), activation })
    }

    fn product_flops(&self) -> f64 {
        2.0 * self.rows as f64 * self.inputs as f64 * self.outputs as f64
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        match self.activation {
            None => "linear",
            Some(Activation::Gelu) => "linear gelu",
            Some(Activation::Relu) => "linear relu",
        }
    }

    fn differentiable(&self) -> bool {
        true
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let Some(dy) = graph.gradient(outputs[0]) else { return Ok(()) };
        let (x, weight) = (inputs[0], inputs[1]);
        let mut operands = vec![dy, x, weight];
        // What the activation's derivative is computed from.
        match self.activation {
            Some(Activation::Gelu) => operands.push(outputs[1]),
            Some(Activation::Relu) => operands.push(outputs[0]),
            None => {}
        }
        let mut results = Vec::new();
        if self.activation.is_some() {
            results.push(graph.activation("d argument", &[self.rows, self.outputs]));
        }
        let dw = graph.gradient_slot(weight);
        let db = inputs.get(2).and_then(|&b| graph.gradient_slot(b));
        let dx = graph.gradient_slot(x);
        results.extend([dw, db, dx].into_iter().flatten());
        let op = LinearBackward { forward: *self, dw: dw.is_some(), db: db.is_some(), dx: dx.is_some() };
        graph.push(op, &operands, &results);
        Ok(())
    }

    fn cost(&self) -> Cost {
        let (rows, inputs, outputs) = (self.rows as f64, self.inputs as f64, self.outputs as f64);
        let kept = if self.activation == Some(Activation::Gelu) { 2.0 } else { 1.0 };
        Cost {
            bytes: 4.0 * (rows * inputs + inputs * outputs + kept * rows * outputs),
            flops: self.product_flops(),
        }
    }

    fn cpu(&self, args: &Args) {
        cpu::forward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::forward(self, launch)
    }
}

/// dz = dy * activation'(z); dW += dz^T x; db += sum of dz over rows; dx = dz W.
#[derive(Debug)]
struct LinearBackward {
    forward: Linear,
    dw: bool,
    db: bool,
    dx: bool,
}

impl Op for LinearBackward {
    fn name(&self) -> &'static str {
        "linear backward"
    }

    fn workspace(&self) -> usize {
        if self.db { cpu::partials(&self.forward) * size_of::<f32>() } else { 0 }
    }

    fn cuda_workspace(&self) -> usize {
        if self.db { cuda::partials(&self.forward) * size_of::<f32>() } else { 0 }
    }

    fn cost(&self) -> Cost {
        let f = &self.forward;
        let (rows, inputs, outputs) = (f.rows as f64, f.inputs as f64, f.outputs as f64);
        let products = f64::from(u8::from(self.dw) + u8::from(self.dx));
        Cost {
            bytes: 4.0 * (rows * outputs + 2.0 * rows * inputs + 3.0 * inputs * outputs),
            flops: products * f.product_flops(),
        }
    }

    fn cpu(&self, args: &Args) {
        cpu::backward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::backward(self, launch)
    }
}
