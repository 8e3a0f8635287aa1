//! The sum of two tensors: how contributions to one gradient meet, and two inputs of one model.

use super::cases::{Case, Input};
use super::{Cost, Op};
use crate::device::cpu::{self, parallel};
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Traces `a + b` of equal shapes.
///
/// # Errors
/// If the shapes differ.
pub fn sum(graph: &mut Graph, a: Id, b: Id) -> Result<Id> {
    let shape = graph.shape(a).to_vec();
    if graph.shape(b) != shape {
        return Err(Error::failed(format!("add: {shape:?} and {:?}", graph.shape(b))));
    }
    let out = graph.activation("sum", &shape);
    graph.push(Add { len: shape.iter().product() }, &[a, b], &[out]);
    Ok(out)
}

/// out = a + b, elementwise; bound by memory.
#[derive(Debug)]
pub struct Add {
    pub len: usize,
}

/// Elements in one piece of an elementwise op.
const PIECE: usize = 16 * 1024 / parallel::ROWS;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn differentiable(&self) -> bool {
        true
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        if let Some(gradient) = graph.gradient(outputs[0]) {
            graph.set_gradient(inputs[0], gradient);
            graph.set_gradient(inputs[1], gradient);
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost { bytes: 12.0 * self.len as f64, flops: self.len as f64 }
    }

    fn cpu(&self, args: &cpu::Args) {
        let (a, b): (&[f32], &[f32]) = (args.input(0), args.input(1));
        parallel::rows(
            args.output(0),
            PIECE,
            #[inline(always)]
            |row, out| {
                let start = row * PIECE;
                for ((out, a), b) in out.iter_mut().zip(&a[start..]).zip(&b[start..]) {
                    *out = a + b;
                }
            },
        );
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let (out, a, b) = (launch.output(0), launch.input(0), launch.input(1));
        let (name, dtype) = (format!("add_{}", out.suffix()), out.dtype);
        launch
            .kernel(&name)
            .out(out)
            .read(a)
            .read(b)
            .long(self.len as u64)
            .grid(self.len.div_ceil(CUDA_PIECE / dtype.bytes()))
    }
}

/// Bytes of a tensor that a block of `kernels/elementwise.cu` works on: 16 a thread.
const CUDA_PIECE: usize = 256 * 16;

/// Cases of the sum: two readers of one value, whose gradients meet in it.
pub fn cases() -> Vec<Case> {
    let case = |len: usize| {
        let inputs = vec![Input::activation(&[len], 1.0), Input::activation(&[len], 1.0)];
        Case::new("add", len.to_string(), inputs, move |g, x| Ok(vec![sum(g, x[0], x[1])?]))
    };
    let checked = [1, 17, 40_000]
        .map(|len| case(len).against(|x| vec![x[0].iter().zip(&x[1]).map(|(a, b)| a + b).collect()]));
    checked.into_iter().chain([case(1 << 22)]).collect()
}
