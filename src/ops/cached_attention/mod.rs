//! One step of self-attention while decoding: each hypothesis's new word sees its own earlier words.
//!
//! qkv (rows, 3 * width) is the new word's projection; its key and value are stored in the cache (rows * most,
//! 2 * width) at `position`. Hypothesis r finds the key of its earlier word t in row `slots[r, t]` of the cache, so a
//! beam that branches or dies moves no memory: only the table of slots changes. Out: (rows, width).

pub mod cases;
mod cpu;
mod cuda;

use super::{Cost, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Traces one decoding step.
///
/// # Errors
/// If the shapes do not fit.
pub fn cached_attention(
    graph: &mut Graph,
    qkv: Id,
    slots: Id,
    position: Id,
    cache: Id,
    heads: usize,
) -> Result<Id> {
    let ((rows, columns), (slot_rows, most)) = (graph.matrix(qkv), graph.matrix(slots));
    let width = columns / 3;
    if graph.matrix(cache) != (rows * most, 2 * width) || slot_rows != rows || width % heads != 0 {
        return Err(Error::failed(format!(
            "cached attention: qkv ({rows}, {columns}), slots ({slot_rows}, {most}), cache {:?}, {heads} heads",
            graph.shape(cache)
        )));
    }
    let out = graph.activation("attention", &[rows, width]);
    let stored = graph.in_place(cache);
    graph.push(CachedAttention { rows, most, width, heads }, &[qkv, slots, position], &[out, stored]);
    Ok(out)
}

#[derive(Debug)]
struct CachedAttention {
    rows: usize,
    most: usize,
    width: usize,
    heads: usize,
}

impl Op for CachedAttention {
    fn name(&self) -> &'static str {
        "cached attention"
    }

    fn workspace(&self) -> usize {
        self.rows * self.most * size_of::<f32>()
    }

    fn cost(&self) -> Cost {
        let seen = (self.rows * self.most * self.width) as f64;
        Cost { bytes: 8.0 * seen, flops: 4.0 * seen }
    }

    fn cpu(&self, args: &Args) {
        cpu::run(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(self, launch)
    }
}
