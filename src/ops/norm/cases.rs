//! Cases of the residual norm.

use super::{Affine, EPSILON, add_norm, norm};
use crate::ops::cases::{Case, Input};
use crate::ops::{Dropout, dropout};

/// Above 128 columns: one width for each step of the ladder of kernels, none of them whole.
const CHECKED: [(usize, usize); 9] =
    [(1, 2), (3, 7), (65, 33), (64, 64), (129, 96), (33, 264), (34, 520), (35, 1032), (2, 2056)];
/// The captioner's encoder at width 256 and 512.
const TIMED: [(usize, usize); 2] = [(3136, 256), (3136, 512)];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sizes in CHECKED {
        cases.push(alone(sizes).against(move |x| vec![normalised(&x[0], &x[1], &x[2], sizes.1)]));
        for rate in [0.0, 0.25] {
            cases.push(joined(sizes, rate).against(move |x| reference(x, sizes.1, rate)));
        }
    }
    for sizes in TIMED {
        cases.push(joined(sizes, 0.0));
        cases.push(joined(sizes, 0.1));
    }
    cases
}

fn operands((rows, width): (usize, usize)) -> Vec<Input> {
    vec![Input::activation(&[rows, width], 1.5), Input::weight(&[width], 1.0), Input::weight(&[width], 0.5)]
}

fn alone(sizes: (usize, usize)) -> Case {
    Case::new("norm", format!("{} x {}", sizes.0, sizes.1), operands(sizes), |g, x| {
        Ok(vec![norm(g, x[0], Affine { gamma: x[1], beta: x[2] })?])
    })
}

fn joined(sizes: (usize, usize), rate: f32) -> Case {
    let mut inputs = operands(sizes);
    inputs.push(Input::activation(&[sizes.0, sizes.1], 1.0));
    let name = format!("{} x {}, dropout {rate}", sizes.0, sizes.1);
    Case::new("residual norm", name, inputs, move |g, x| {
        let affine = Affine { gamma: x[1], beta: x[2] };
        let (sum, y) = add_norm(g, x[0], x[3], affine, Dropout::new(rate, 5))?;
        Ok(vec![y, sum])
    })
}

fn reference(x: &[Vec<f64>], width: usize, rate: f32) -> Vec<Vec<f64>> {
    let kept = dropout::reference(Dropout::new(rate, 5), x[0].len());
    let sum: Vec<f64> = x[0].iter().zip(&x[3]).zip(&kept).map(|((a, b), k)| a + b * k).collect();
    vec![normalised(&sum, &x[1], &x[2], width), sum]
}

fn normalised(x: &[f64], gamma: &[f64], beta: &[f64], width: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + f64::from(EPSILON)).sqrt();
        y.extend(row.iter().zip(gamma).zip(beta).map(|((v, g), b)| (v - mean) * scale * g + b));
    }
    y
}
