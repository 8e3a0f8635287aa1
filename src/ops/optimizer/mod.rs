//! The update: global norm of the gradient with a finite check, then AdamW (Loshchilov 2019) on every parameter at once.
//!
//! `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, `w -= lr (m_hat / (sqrt(v_hat) + eps) + decay w)`, with g the
//! clipped gradient. The average, where there is one, follows as `a = d a + (1 - d) w`. Gradients are set back to
//! zero in the same pass. If the norm is not finite nothing but the gradients changes.

pub mod cases;
mod cpu;
mod cuda;

use super::{Cost, Op, guard};
use crate::Result;
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{DType, Graph, Id, Role, State};

/// A range of parameters that share their settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    pub start: usize,
    pub len: usize,
    /// Factor on the learning rate.
    pub learning_rate: f32,
    pub weight_decay: f32,
}

/// AdamW's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// Largest global norm of the gradient; 0 turns clipping off.
    pub clip: f32,
    /// Decay of the average of the weights; 0 turns it off.
    pub average: f32,
}

/// Traces the whole update of `trained` parameters; returns (2): the gradient's norm, and the factor that clips it,
/// which is 0 where the norm is not finite. `guarded`: the device's guard judges the step in between ([`guard::judge`]).
pub fn update(graph: &mut Graph, trained: usize, settings: AdamW, segments: &[Segment], guarded: bool) -> Id {
    let shape = [trained];
    let weights = graph.weight("weights", &shape, 0);
    let gradients = graph.add("gradients", &shape, DType::F32, Role::WeightGradient(0));
    let first = graph.add("first moments", &shape, DType::F32, Role::State(State::FirstMoment, 0));
    let second = graph.add("second moments", &shape, DType::F32, Role::State(State::SecondMoment, 0));
    let norm = graph.activation_f32("gradient norm", &[2]);
    graph.push(GradientNorm { len: trained, clip: settings.clip }, &[gradients], &[norm]);
    if guarded {
        guard::judge(graph, norm);
    }
    let mut outputs = vec![weights, gradients, first, second];
    if settings.average > 0.0 {
        outputs.push(graph.add("average", &shape, DType::F32, Role::State(State::Average, 0)));
    }
    graph.push(Update { len: trained, settings, segments: segments.to_vec() }, &[norm], &outputs);
    graph.keep(norm);
    norm
}

#[derive(Debug)]
struct GradientNorm {
    len: usize,
    clip: f32,
}

impl Op for GradientNorm {
    fn name(&self) -> &'static str {
        "gradient norm"
    }

    fn workspace(&self) -> usize {
        cpu::norm_pieces(self.len) * size_of::<f32>()
    }

    fn cost(&self) -> Cost {
        Cost { bytes: 4.0 * self.len as f64, flops: 2.0 * self.len as f64 }
    }

    fn cpu(&self, args: &Args) {
        cpu::gradient_norm(self, args);
    }

    fn cuda_workspace(&self) -> usize {
        cuda::norm_pieces(self.len) * size_of::<f32>()
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::gradient_norm(self, launch)
    }
}

#[derive(Debug)]
struct Update {
    len: usize,
    settings: AdamW,
    segments: Vec<Segment>,
}

impl Op for Update {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cost(&self) -> Cost {
        let average = if self.settings.average > 0.0 { 8.0 } else { 0.0 };
        Cost { bytes: (32.0 + average) * self.len as f64, flops: 14.0 * self.len as f64 }
    }

    fn cpu(&self, args: &Args) {
        cpu::update(self, args);
    }

    fn cuda_workspace(&self) -> usize {
        cuda::table_bytes()
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::update(self, launch)
    }
}
