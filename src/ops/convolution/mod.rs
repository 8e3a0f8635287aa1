//! The windows of a 3x3 convolution with stride 2: what a linear layer needs to be that convolution.
//!
//! x (batch * height * width, channels) -> (batch * (height/2) * (width/2), 9 * channels), zero outside the picture
//! (one row and column of padding before it). Order inside a window: row, column, channel.

pub mod cases;
mod cpu;
mod cuda;

use super::{Cost, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Side of the window.
pub const SIDE: usize = 3;
/// Step of the window.
pub const STRIDE: usize = 2;

/// Traces the gathering of windows.
///
/// # Errors
/// If x is not whole pictures of `height` x `width` pixels with even sides.
pub fn windows(graph: &mut Graph, x: Id, height: usize, width: usize) -> Result<Id> {
    let (rows, channels) = graph.matrix(x);
    if !height.is_multiple_of(STRIDE)
        || !width.is_multiple_of(STRIDE)
        || height * width == 0
        || !rows.is_multiple_of(height * width)
    {
        return Err(Error::failed(format!(
            "convolution: {rows} pixels are not pictures of {height} x {width}, or a side is odd"
        )));
    }
    let op = Windows { pictures: rows / (height * width), height, width, channels };
    let out = graph.activation("windows", &[op.out_rows(), SIDE * SIDE * channels]);
    graph.push(op, &[x], &[out]);
    Ok(out)
}

#[derive(Debug, Clone, Copy)]
struct Windows {
    pictures: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl Windows {
    fn out_rows(&self) -> usize {
        self.pictures * (self.height / STRIDE) * (self.width / STRIDE)
    }

    fn cost(&self) -> Cost {
        let inner = (self.pictures * self.height * self.width * self.channels) as f64;
        let outer = (self.out_rows() * SIDE * SIDE * self.channels) as f64;
        Cost { bytes: 4.0 * (inner + outer), flops: outer }
    }
}

impl Op for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn differentiable(&self) -> bool {
        true
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let Some(dy) = graph.gradient(outputs[0]) else { return Ok(()) };
        let Some(dx) = graph.gradient_slot(inputs[0]) else { return Ok(()) };
        graph.push(WindowsBackward(*self), &[dy], &[dx]);
        Ok(())
    }

    fn cost(&self) -> Cost {
        Windows::cost(self)
    }

    fn cpu(&self, args: &Args) {
        cpu::forward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(self, "forward", launch)
    }
}

/// Each pixel gathers from the windows that saw it, in a fixed order.
#[derive(Debug)]
struct WindowsBackward(Windows);

impl Op for WindowsBackward {
    fn name(&self) -> &'static str {
        "windows backward"
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn cpu(&self, args: &Args) {
        cpu::backward(&self.0, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(&self.0, "backward", launch)
    }
}
