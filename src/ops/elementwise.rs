//! The sum of two tensors: how contributions to one gradient meet.

use super::{Cost, Op};
use crate::device::cpu::{self, parallel};

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
}
