//! Attention over every pattern of [`pattern`], on strided views of packed projections (Vaswani 2017).
//!
//! `out = softmax(q k^T / sqrt(head_dim)) v` for each head, over the pairs that the pattern shows. q is
//! (batch * queries, heads * head_dim), k and v (batch * keys, heads * head_dim); each may be columns of a wider
//! tensor, so a packed projection needs no copy. Nothing of the size queries x keys is stored: backward computes the
//! probabilities again from the log-sum-exp (batch, heads, queries) (Dao 2022).

mod blocks;
pub mod cases;
pub mod cpu;
mod cpu_backward;
mod cpu_backward_step;
mod cpu_block;
mod cpu_decode;
mod cpu_forward;
mod cpu_packed;
mod cpu_rows;
mod cpu_tile;
mod cuda;
pub mod decode;
mod decode_cases;
mod launch_cpu;
pub mod pattern;
mod pattern_class;
mod pattern_text;
mod pattern_words;
pub mod work;

use self::blocks::Blocks;
use self::pattern::Pattern;
use super::{Cost, Dropout, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// How many sequences, heads and tokens take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
}

/// Traces attention. `patterns` is one for all heads or one for each; `key_lengths` (batch) u32 are the keys of each
/// sequence that are real, absent: all. A query that sees no key gives 0.
///
/// # Errors
/// If the shapes do not fit, or a pattern is impossible.
#[allow(clippy::too_many_arguments)] // the operands of the formula
pub fn attention(
    graph: &mut Graph,
    q: Id,
    k: Id,
    v: Id,
    heads: Heads,
    patterns: &[Pattern],
    key_lengths: Option<Id>,
    dropout: Option<Dropout>,
) -> Result<Id> {
    let (patterns, has_lengths) = (patterns.to_vec(), key_lengths.is_some());
    let op = Attention { heads, head_dim: 0, patterns, has_lengths, dropout, blocks: None };
    op.traced(graph, [q, k, v], key_lengths)
}

/// Traces the attention weights alone, for pictures: (batch, heads, queries, keys).
///
/// # Errors
/// If the shapes do not fit, or a pattern is impossible.
pub fn weights(graph: &mut Graph, q: Id, k: Id, heads: Heads, patterns: &[Pattern]) -> Result<Id> {
    let head_dim = check(graph, q, k, heads)?;
    check_patterns(graph, head_dim, heads.heads, patterns)?;
    let out =
        graph.activation_f32("attention weights", &[heads.batch, heads.heads, heads.queries, heads.keys]);
    let patterns = patterns.to_vec();
    let op = Attention { heads, head_dim, patterns, has_lengths: false, dropout: None, blocks: None };
    graph.push(Weights(op), &[q, k], &[out]);
    Ok(out)
}

/// Refuses what no device, or not this one, can do.
fn check_patterns(graph: &Graph, head_dim: usize, heads: usize, patterns: &[Pattern]) -> Result<()> {
    if patterns.len() != 1 && patterns.len() != heads {
        return Err(Error::usage(format!(
            "attention: {} patterns for {heads} heads; give one for all or one for each",
            patterns.len()
        )));
    }
    patterns.iter().try_for_each(|pattern| pattern.check())?;
    cuda::check(graph, head_dim, heads, patterns)
}

/// Returns the channels of a head.
fn check(graph: &Graph, q: Id, k: Id, heads: Heads) -> Result<usize> {
    let (q_shape, k_shape) = (graph.matrix(q), graph.matrix(k));
    let fits = q_shape.0 == heads.batch * heads.queries
        && k_shape == (heads.batch * heads.keys, q_shape.1)
        && heads.heads > 0
        && q_shape.1 % heads.heads == 0;
    if !fits {
        return Err(Error::failed(format!("attention: queries {q_shape:?}, keys {k_shape:?}, {heads:?}")));
    }
    Ok(q_shape.1 / heads.heads)
}

#[derive(Debug, Clone)]
struct Attention {
    heads: Heads,
    head_dim: usize,
    /// One for all heads, or one for each.
    patterns: Vec<Pattern>,
    /// Whether the last input is the key lengths.
    has_lengths: bool,
    dropout: Option<Dropout>,
    /// The blocks that kernels work in, where a test asks for some; else they follow from the shape.
    blocks: Option<Blocks>,
}

impl Attention {
    /// Checks and records it; the channels of a head follow from the operands q, k and v.
    fn traced(mut self, graph: &mut Graph, [q, k, v]: [Id; 3], key_lengths: Option<Id>) -> Result<Id> {
        let heads = self.heads;
        self.head_dim = check(graph, q, k, heads)?;
        check(graph, q, v, heads)?;
        check_patterns(graph, self.head_dim, heads.heads, &self.patterns)?;
        if let Some(lengths) = key_lengths.map(|id| graph.tensor(id).len())
            && lengths != heads.batch
        {
            return Err(Error::failed(format!(
                "attention: {lengths} key lengths for {} sequences; there must be one for each",
                heads.batch
            )));
        }
        let out = graph.activation("attention", &[heads.batch * heads.queries, heads.heads * self.head_dim]);
        let log_sum_exp = graph.activation_f32("log-sum-exp", &[heads.batch, heads.heads, heads.queries]);
        let operands: Vec<Id> = [q, k, v].into_iter().chain(key_lengths).collect();
        graph.push(self, &operands, &[out, log_sum_exp]);
        Ok(out)
    }

    /// Multiply-adds count as two; only visible pairs count, those with padded keys among them.
    fn flops(&self) -> f64 {
        let Heads { batch, heads, queries, keys } = self.heads;
        let pairs: u64 = self.patterns.iter().map(|p| p.visible_pairs(queries, keys, keys)).sum();
        4.0 * (batch * (heads / self.patterns.len()) * self.head_dim) as f64 * pairs as f64
    }

    /// Bytes of q, k, v and out.
    fn bytes(&self) -> f64 {
        let Heads { batch, heads, queries, keys } = self.heads;
        8.0 * (batch * heads * self.head_dim * (queries + keys)) as f64
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn differentiable(&self) -> bool {
        true
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let Some(dout) = graph.gradient(outputs[0]) else { return Ok(()) };
        let mut slot = |id| {
            graph
                .gradient_slot(id)
                .ok_or_else(|| Error::failed("queries, keys and values must all be trained"))
        };
        let results = [slot(inputs[0])?, slot(inputs[1])?, slot(inputs[2])?];
        let operands = [inputs[0], inputs[1], inputs[2], outputs[0], dout, outputs[1]];
        let operands: Vec<Id> = operands.iter().chain(&inputs[3..]).copied().collect();
        graph.push(AttentionBackward(self.clone()), &operands, &results);
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost { bytes: self.bytes(), flops: self.flops() }
    }

    fn cpu(&self, args: &Args) {
        launch_cpu::forward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::forward(self, launch)
    }
}

/// Inputs q, k, v, out, dout, log-sum-exp, and the key lengths if there are; outputs dq, dk, dv.
#[derive(Debug)]
struct AttentionBackward(Attention);

impl Op for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention backward"
    }

    fn cost(&self) -> Cost {
        Cost { bytes: 2.0 * self.0.bytes(), flops: 2.5 * self.0.flops() }
    }

    fn cpu(&self, args: &Args) {
        launch_cpu::backward(&self.0, args);
    }

    fn cuda_workspace(&self) -> usize {
        cuda::backward_workspace(&self.0)
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::backward(&self.0, launch)
    }
}

/// Inputs q, k; output the weights.
#[derive(Debug)]
struct Weights(Attention);

impl Op for Weights {
    fn name(&self) -> &'static str {
        "attention weights"
    }

    fn cost(&self) -> Cost {
        let Heads { batch, heads, queries, keys } = self.0.heads;
        Cost {
            bytes: self.0.bytes() / 2.0 + 4.0 * (batch * heads * queries * keys) as f64,
            flops: self.0.flops() / 2.0,
        }
    }

    fn cpu(&self, args: &Args) {
        launch_cpu::weights(&self.0, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::weights(&self.0, launch)
    }
}
