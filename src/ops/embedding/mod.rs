//! Word embedding: row `token` of a table, times `scale`, plus the position's row, then dropout.
//!
//! `y[b, t] = dropout(table[token[b, t]] * scale + positions[t mod period])`; tokens (batch * length) u32, table (words,
//! width), positions (period, width), y (batch * length, width): sequences may be longer than the table of positions,
//! which then begins anew. The scale is sqrt(width) in *Attention Is All You
//! Need*, where the same matrix serves as the output layer.

pub mod cases;
mod cpu;
mod cuda;

use super::{Cost, Dropout, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Traces the embedding of `length` tokens for each of a batch of sequences.
///
/// # Errors
/// If the table and the positions are not equally wide, or there is no position.
pub fn embedding(
    graph: &mut Graph,
    tokens: Id,
    length: usize,
    table: Id,
    positions: Id,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Id> {
    let rows = graph.tensor(tokens).len();
    let ((words, width), (period, positions_width)) = (graph.matrix(table), graph.matrix(positions));
    if width != positions_width || period == 0 || !rows.is_multiple_of(length.max(1)) {
        return Err(Error::failed(format!(
            "embedding: {rows} tokens in sequences of {length}, a table of ({words}, {width}), positions of \
             ({period}, {positions_width})"
        )));
    }
    let y = graph.activation("embedding", &[rows, width]);
    let op = Embedding { rows, length, period, words, width, scale, dropout, at: false };
    graph.push(op, &[tokens, table, positions], &[y]);
    Ok(y)
}

/// Traces the embedding of one token a row, all at the position that `position` (1) u32 holds, modulo the number of
/// positions: a step of decoding.
///
/// # Errors
/// If the table and the positions are not equally wide, or there is no position.
pub fn embedding_at(
    graph: &mut Graph,
    tokens: Id,
    position: Id,
    table: Id,
    positions: Id,
    scale: f32,
) -> Result<Id> {
    let rows = graph.tensor(tokens).len();
    let ((words, width), (period, positions_width)) = (graph.matrix(table), graph.matrix(positions));
    if width != positions_width || period == 0 {
        return Err(Error::failed(format!(
            "embedding: a table {width} wide, positions of ({period}, {positions_width})"
        )));
    }
    let y = graph.activation("embedding", &[rows, width]);
    let op = Embedding { rows, length: 1, period, words, width, scale, dropout: None, at: true };
    graph.push(op, &[tokens, table, positions, position], &[y]);
    Ok(y)
}

#[derive(Debug, Clone, Copy)]
struct Embedding {
    rows: usize,
    length: usize,
    /// Rows of the positions.
    period: usize,
    words: usize,
    width: usize,
    scale: f32,
    dropout: Option<Dropout>,
    /// A fourth input holds the position of all rows.
    at: bool,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn differentiable(&self) -> bool {
        true
    }

    fn backward(&self, graph: &mut Graph, inputs: &[Id], outputs: &[Id]) -> Result<()> {
        let Some(dy) = graph.gradient(outputs[0]) else { return Ok(()) };
        let table = graph.gradient_slot(inputs[1]);
        let positions = graph.gradient_slot(inputs[2]);
        let results: Vec<Id> = table.into_iter().chain(positions).collect();
        let op = EmbeddingBackward { forward: *self, table: table.is_some(), positions: positions.is_some() };
        graph.push(op, &[dy, inputs[0]], &results);
        Ok(())
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * self.width) as f64;
        Cost { bytes: 12.0 * elements, flops: 2.0 * elements }
    }

    fn cpu(&self, args: &Args) {
        cpu::forward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::forward(self, launch)
    }
}

/// d table[token] += dy * scale; d positions[t] += dy. Rows of one token are added in the order of the batch.
#[derive(Debug)]
struct EmbeddingBackward {
    forward: Embedding,
    table: bool,
    positions: bool,
}

impl Op for EmbeddingBackward {
    fn name(&self) -> &'static str {
        "embedding backward"
    }

    fn workspace(&self) -> usize {
        self.forward.rows * self.forward.width * size_of::<f32>()
    }

    fn cost(&self) -> Cost {
        let elements = (self.forward.rows * self.forward.width) as f64;
        Cost { bytes: 12.0 * elements, flops: 2.0 * elements }
    }

    fn cpu(&self, args: &Args) {
        cpu::backward(self, args);
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::backward(self, launch)
    }

    fn cuda_workspace(&self) -> usize {
        cuda::workspace(self)
    }
}
