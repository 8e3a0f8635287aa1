//! The sum of two tensors: how contributions to one gradient meet.

use super::cases::{Case, Gradient, Input};
use super::{Cost, Op};
use crate::Result;
use crate::device::cpu::{self, parallel};
use crate::device::gpu::Launcher;

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
        Case::new("add", len.to_string(), inputs, move |g, x| {
            let out = g.activation("sum", &[len]);
            g.push(Add { len }, &[x[0], x[1]], &[out]);
            Ok(vec![out])
        })
        .gradient(Gradient::None)
    };
    let checked = [1, 17, 40_000]
        .map(|len| case(len).against(|x| vec![x[0].iter().zip(&x[1]).map(|(a, b)| a + b).collect()]));
    checked.into_iter().chain([case(1 << 22)]).collect()
}
