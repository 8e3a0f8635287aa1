//! From a node of the graph to the attention kernels of the CPU.

use super::cpu::{self, Problem, View};
use super::{Attention, Heads};
use crate::device::cpu::Args;
use crate::ops::dropout;

impl Attention {
    /// The kernels' description of this op in this step; input `lengths` is the key lengths, where there are any.
    fn problem<'a>(&'a self, args: &'a Args, lengths: usize) -> Problem<'a> {
        let Heads { batch, heads, queries, keys } = self.heads;
        Problem {
            batch,
            heads,
            head_dim: self.head_dim,
            queries,
            keys,
            scale: (self.head_dim as f32).sqrt().recip(),
            patterns: &self.patterns,
            key_lengths: self.has_lengths.then(|| args.input(lengths)),
            dropout: self.dropout.map(|d| {
                let (key, stream) = dropout::keys(d, &args.state);
                cpu::Dropout { rate: d.rate, key, stream }
            }),
        }
    }

    fn width(&self) -> usize {
        self.heads.heads * self.head_dim
    }
}

pub(super) fn forward(op: &Attention, args: &Args) {
    let (q, k, v) = (args.input_columns(0), args.input_columns(1), args.input_columns(2));
    cpu::forward(args.output_columns(0), args.output(1), q, k, v, &op.problem(args, 3));
}

pub(super) fn backward(op: &Attention, args: &Args) {
    let (q, k, v) = (args.input_columns(0), args.input_columns(1), args.input_columns(2));
    let rows = |i: usize| View { data: args.input(i), row_stride: op.width() };
    let (dq, dk, dv) = (args.output_columns(0), args.output_columns(1), args.output_columns(2));
    cpu::backward(dq, dk, dv, rows(3), rows(4), args.input(5), q, k, v, &op.problem(args, 6));
}

pub(super) fn weights(op: &Attention, args: &Args) {
    let Heads { batch, heads, queries, keys } = op.heads;
    let (q, k) = (args.input_columns(0), args.input_columns(1));
    let out: &mut [f32] = args.output(0);
    for (picture, out) in out.chunks_exact_mut(heads * queries * keys).enumerate().take(batch) {
        cpu::weights(out, q, k, picture, &op.problem(args, 2));
    }
}
