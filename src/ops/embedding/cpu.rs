//! Embedding on the CPU; bound by memory. Backward shares the table's rows among cores, and each adds in
//! the order of the batch, so sums repeat bit for bit on any number of cores.

use rayon::prelude::*;

use super::{Embedding, EmbeddingBackward};
use crate::device::cpu::{Args, parallel};
use crate::ops::dropout::Mask;

pub(super) fn forward(op: &Embedding, args: &Args) {
    let Embedding { width, length, period, words, scale, .. } = *op;
    let tokens: &[u32] = args.input(0);
    let (table, positions): (&[f32], &[f32]) = (args.input(1), args.input(2));
    let first_position = if op.at { args.input::<u32>(3)[0] as usize } else { 0 };
    let mask = Mask::new(op.dropout, &args.state);
    parallel::rows(
        args.output(0),
        width,
        #[inline(always)]
        |first, out| {
            for (i, y) in out.chunks_exact_mut(width).enumerate() {
                let row = first + i;
                let token = tokens[row] as usize;
                assert!(token < words, "token {token} of {words}");
                let word = &table[token * width..(token + 1) * width];
                let position = &positions[(first_position + row % length) % period * width..][..width];
                for ((y, word), position) in y.iter_mut().zip(word).zip(position) {
                    *y = word * scale + position;
                }
                if let Some(mask) = &mask {
                    mask.in_place(row * width, y);
                }
            }
        },
    );
}

pub(super) fn backward(op: &EmbeddingBackward, args: &Args) {
    let Embedding { rows, width, length, period, scale, .. } = op.forward;
    let (dy, tokens): (&[f32], &[u32]) = (args.input(0), args.input(1));
    let dy: &[f32] = match Mask::new(op.forward.dropout, &args.state) {
        None => dy,
        Some(mask) => {
            let masked = &mut args.workspace()[..rows * width];
            parallel::rows(
                masked,
                width,
                #[inline(always)]
                |first, out| {
                    let start = first * width;
                    mask.scaled(start, &dy[start..start + out.len()], out);
                },
            );
            masked
        }
    };
    if op.table {
        add_rows(args.output(0), dy, width, scale, |row| tokens[row] as usize);
    }
    if op.positions {
        add_rows(args.output(usize::from(op.table)), dy, width, 1.0, |row| row % length % period);
    }
}

/// out[target(row)] += dy[row] * scale, rows in order; each core owns a range of targets.
fn add_rows(out: &mut [f32], dy: &[f32], width: usize, scale: f32, target: impl Fn(usize) -> usize + Sync) {
    let targets = out.len() / width;
    let share = targets.div_ceil(rayon::current_num_threads()).max(1);
    out.par_chunks_mut(share * width).enumerate().for_each(|(piece, out)| {
        let own = piece * share..piece * share + out.len() / width;
        for (row, dy) in dy.chunks_exact(width).enumerate() {
            let to = target(row);
            if own.contains(&to) {
                let start = (to - own.start) * width;
                for (out, dy) in out[start..start + width].iter_mut().zip(dy) {
                    *out += dy * scale;
                }
            }
        }
    });
}
