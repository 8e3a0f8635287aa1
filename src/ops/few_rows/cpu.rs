//! Few rows on the CPU: the operations one after another. Models take those themselves there; this is what the kernels are
//! compared with, and what a graph for kernels runs on where there are none.

use super::FewRows;
use crate::config::Activation;
use crate::device::cpu::gemm::{Matrix, Write, product};
use crate::device::cpu::{Args, math};
use crate::ops::norm::EPSILON;

pub(super) fn run(op: &FewRows, args: &Args) {
    let FewRows { rows, inputs, outputs, kept, .. } = *op;
    let places = op.places();
    let (entering, z) = args.workspace().split_at_mut(rows * inputs);
    let mut stream: Option<&mut [f32]> = places.stream.map(|i| args.output(i));
    let factors: Option<[&[f32]; 2]> =
        places.gamma.zip(places.beta).map(|(g, b)| [args.input(g), args.input(b)]);
    let x = args.input_columns(0);
    for row in 0..rows {
        let e = &mut entering[row * inputs..][..inputs];
        e.copy_from_slice(x.row(row, 0, inputs));
        if let Some(branch) = places.branch {
            let branch: &[f32] = args.input(branch);
            e.iter_mut().zip(&branch[row * inputs..]).for_each(|(e, branch)| *e += branch);
        }
        let goes_on = |stream: &mut Option<&mut [f32]>, e: &[f32]| {
            if let Some(stream) = stream {
                stream[row * inputs..][..inputs].copy_from_slice(e);
            }
        };
        if !op.norm_goes_on {
            goes_on(&mut stream, e);
        }
        if let Some([gamma, beta]) = factors {
            let mean = e.iter().sum::<f32>() / inputs as f32;
            let variance = e.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / inputs as f32;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            for ((e, gamma), beta) in e.iter_mut().zip(gamma).zip(beta) {
                *e = (*e - mean) * scale * gamma + beta;
            }
        }
        if op.norm_goes_on {
            goes_on(&mut stream, e);
        }
    }
    let z = &mut z[..rows * outputs];
    let weight = Matrix::new(args.input(1), outputs, inputs).transposed();
    product(z, Write::Set, Matrix::new(entering, rows, inputs), weight);
    let bias: &[f32] = places.bias.map_or(&[], |bias| args.input(bias));
    for row in z.chunks_exact_mut(outputs) {
        row.iter_mut().zip(bias).for_each(|(z, bias)| *z += bias);
        match op.activation {
            None => {}
            Some(Activation::Gelu) => row.iter_mut().for_each(|z| *z = math::gelu(*z)),
            Some(Activation::Relu) => row.iter_mut().for_each(|z| *z = z.max(0.0)),
        }
    }
    let y: &mut [f32] = args.output(0);
    for (y, z) in y.chunks_exact_mut(kept).zip(z.chunks_exact(outputs)) {
        y.copy_from_slice(&z[..kept]);
    }
    if let (Some((capacity, pinned)), Some(count), Some(cache)) = (op.ring, places.count, places.cache) {
        let newest = args.input::<u32>(count)[0] as usize - 1;
        let slot = if newest < pinned { newest } else { pinned + (newest - pinned) % (capacity - pinned) };
        let (cache, width): (&mut [f32], usize) = (args.output(cache), outputs - kept);
        for (row, z) in z.chunks_exact(outputs).enumerate() {
            cache[(row * capacity + slot) * width..][..width].copy_from_slice(&z[kept..]);
        }
    }
}
