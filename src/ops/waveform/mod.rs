//! The expected waveform: from logits over 256 codes to the expectation of the decoded sample under their softmax, which
//! has a gradient where drawing a code has none. A spectrogram loss of it trains the logits.
//!
//! With p = softmax(logits) of a row and v the codes' values: `wave = sum p v`, `d logits = d wave * p (v - wave)`. The op
//! stores p (v - wave) when training, and the backward pass scales it in place into the gradient: the logits are read
//! once, so a cross-entropy that turns them into their own gradient may follow. Shapes: logits (rows, 256), wave (rows) f32.

pub mod cases;
mod cpu;
mod cuda;
pub mod decoded;
#[cfg(test)]
mod tests;

use super::{Cost, Op};
use crate::data::codes::{self, Encoding};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Codes that a row has logits for.
pub const CODES: usize = 256;

/// How 8-bit codes are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// x = code / 128 - 1, then sgn(x) (256^|x| - 1) / 255.
    MuLaw,
    /// code / 128 - 1.
    Linear,
}

impl Codes {
    /// The encoding that samples are stored in.
    pub fn encoding(self) -> Encoding {
        match self {
            Codes::MuLaw => Encoding::MuLaw8,
            Codes::Linear => Encoding::Linear8,
        }
    }

    /// The value of every code, in f64.
    pub fn values(self) -> [f64; CODES] {
        let encoding = self.encoding();
        std::array::from_fn(|code| codes::value(encoding, code as u16))
    }
}

/// Traces the expected waveform of `logits`, to be called before a loss that overwrites them. With `train` it leaves what
/// its gradient needs, in a tensor of the logits' size that becomes the gradient.
///
/// # Errors
/// If there are not 256 logits a row, or a loss has turned them into their gradient already.
pub fn expected_waveform(graph: &mut Graph, logits: Id, codes: Codes, train: bool) -> Result<Id> {
    let (rows, columns) = graph.matrix(logits);
    if columns != CODES {
        return Err(Error::failed(format!(
            "expected waveform: {columns} logits a row, but there are {CODES} codes"
        )));
    }
    if graph.root(logits) != logits {
        return Err(Error::failed(
            "expected waveform: the logits are a part of another tensor; it must be their own",
        ));
    }
    if graph.gradient(logits).is_some() {
        return Err(Error::failed(
            "expected waveform: a loss has overwritten the logits with their gradient; trace the waveform before it",
        ));
    }
    let train = train && graph.needs_gradient(logits);
    let wave = graph.activation_f32("expected waveform", &[rows]);
    let slope = train.then(|| graph.activation("slope of the expected waveform", &[rows, CODES]));
    let outputs: Vec<Id> = std::iter::once(wave).chain(slope).collect();
    graph.push(ExpectedWaveform { rows, codes, train }, &[logits], &outputs);
    Ok(wave)
}

/// Outputs: wave; p (v - wave) when training.
#[derive(Debug)]
struct ExpectedWaveform {
    rows: usize,
    codes: Codes,
    train: bool,
}

impl Op for ExpectedWaveform {
    fn name(&self) -> &'static str {
        "expected waveform"
    }

    fn differentiable(&self) -> bool {
        self.train
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let Some(of_wave) = graph.gradient(outputs[0]) else { return Ok(()) };
        let gradient = graph.in_place(outputs[1]);
        graph.push(Scaled { rows: self.rows }, &[of_wave], &[gradient]);
        graph.set_gradient(inputs[0], gradient);
        Ok(())
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * CODES) as f64;
        Cost { bytes: if self.train { 8.0 } else { 4.0 } * elements, flops: 8.0 * elements }
    }

    fn cpu(&self, args: &Args) {
        cpu::forward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::forward(self, launch)
    }
}

/// Rows times a factor each, in place.
#[derive(Debug)]
struct Scaled {
    rows: usize,
}

impl Op for Scaled {
    fn name(&self) -> &'static str {
        "gradient of the expected waveform"
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * CODES) as f64;
        Cost { bytes: 8.0 * elements, flops: elements }
    }

    fn cpu(&self, args: &Args) {
        cpu::backward(args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::backward(self, launch)
    }
}
