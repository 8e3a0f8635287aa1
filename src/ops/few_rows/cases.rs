//! Cases of a few rows: alone and with each thing around it, odd widths, and rows of every tile.

use super::{Entering, Ring, Weights, few_rows};
use crate::config::Activation;
use crate::ops::attention::decode::Cache;
use crate::ops::cases::reference::{gelu, product};
use crate::ops::cases::{Case, Gradient, Input};
use crate::ops::norm::{Affine, EPSILON};

/// What stands around the layer.
#[derive(Debug, Clone, Copy)]
struct Around {
    rows: usize,
    inputs: usize,
    outputs: usize,
    branch: bool,
    norm: bool,
    norm_goes_on: bool,
    activation: Option<Activation>,
    /// Rows of the ring, those that stay, keys so far: of the outputs two thirds are stored.
    ring: Option<(usize, usize, u32)>,
}

const PLAIN: Around = Around {
    rows: 1,
    inputs: 32,
    outputs: 24,
    branch: false,
    norm: false,
    norm_goes_on: false,
    activation: None,
    ring: None,
};

/// Rows, inputs and outputs; odd ones on purpose, and more steps than the warps of a block have.
const SIZES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (1, 64, 48),
    (3, 33, 9),
    (3, 40, 15),
    (16, 1288, 24),
    (17, 72, 33),
    (40, 96, 12),
    (64, 31, 21),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, (rows, inputs, outputs)) in SIZES.into_iter().enumerate() {
        let plain = Around { rows, inputs, outputs, ..PLAIN };
        let normed = Around { norm: true, ..plain };
        let joined = Around { branch: true, ..normed };
        let activation = [Some(Activation::Gelu), Some(Activation::Relu)][number % 2];
        cases.extend([
            Around { activation, ..plain },
            normed,
            Around { activation, ..joined },
            Around { norm_goes_on: true, ..joined },
        ]);
        let (of_ring, pinned, keys) = [(3, 0, 1), (5, 1, 1), (5, 2, 9), (7, 1, 8)][number % 4];
        let ring = Some((of_ring, pinned, keys));
        let outputs = 3 * outputs;
        cases.push(Around { outputs, ring, ..if number % 2 == 0 { joined } else { plain } });
    }
    let mut cases: Vec<Case> = cases.into_iter().map(checked).collect();
    // Foley's at width 512, one clip and 16: the projection, and both halves of the feed-forward.
    for rows in [1, 16] {
        let wide = Around { rows, inputs: 512, norm: true, branch: true, ..PLAIN };
        cases.push(case(Around { outputs: 1536, ..wide }));
        cases.push(case(Around { outputs: 2048, activation: Some(Activation::Gelu), ..wide }));
        cases.push(case(Around { rows, inputs: 2048, outputs: 512, ..PLAIN }));
    }
    cases
}

fn case(around: Around) -> Case {
    let Around { rows, inputs, outputs, branch, norm, norm_goes_on, activation, ring } = around;
    let mut operands = vec![
        Input::activation(&[rows, inputs], 1.5),
        Input::weight(&[outputs, inputs], (inputs as f32).sqrt().recip()),
        Input::weight(&[outputs], 0.5),
    ];
    if branch {
        operands.push(Input::activation(&[rows, inputs], 1.0));
    }
    if norm {
        operands.extend([Input::weight(&[inputs], 1.0), Input::weight(&[inputs], 0.5)]);
    }
    let kept = outputs - ring.map_or(0, |_| outputs / 3 * 2);
    if let Some((capacity, _, keys)) = ring {
        operands.push(Input::activation(&[rows * capacity, outputs - kept], 1.0));
        operands.push(Input::tokens(&[1], vec![keys]));
    }
    let mut name = format!("{rows} x {inputs} -> {outputs}");
    for (there, what) in [
        (branch, "sum"),
        (norm, "norm"),
        (norm_goes_on, "which goes on"),
        (activation == Some(Activation::Gelu), "gelu"),
        (activation == Some(Activation::Relu), "relu"),
    ] {
        name.push_str(if there { ", " } else { "" });
        name.push_str(if there { what } else { "" });
    }
    if let Some((capacity, pinned, keys)) = ring {
        name.push_str(&format!(", key {keys} of a ring of {capacity}, {pinned} pinned"));
    }
    Case::new("few rows", name, operands, move |g, x| {
        let [gamma, cache] = around.places();
        let ring = ring.map(|(capacity, pinned, _)| {
            let sizes = Cache { batch: rows, heads: 1, capacity, pinned };
            Ring { cache: x[cache], count: x[cache + 1], sizes }
        });
        let entering = Entering {
            x: x[0],
            branch: branch.then(|| x[3]),
            norm: norm.then(|| Affine { gamma: x[gamma], beta: x[gamma + 1] }),
            norm_goes_on,
        };
        let layer = Weights { weight: x[1], bias: Some(x[2]), activation };
        let made = few_rows(g, entering, layer, ring)?;
        let stream = (made.stream != x[0]).then_some(made.stream);
        Ok(std::iter::once(made.y).chain(stream).chain(made.cache).collect())
    })
    .gradient(Gradient::None)
}

impl Around {
    /// Which input gamma is, and which the cache; the branch is the fourth.
    fn places(&self) -> [usize; 2] {
        let gamma = 3 + usize::from(self.branch);
        [gamma, gamma + 2 * usize::from(self.norm)]
    }
}

fn checked(around: Around) -> Case {
    let exact = move |x: &[Vec<f64>]| reference(x, around, &|v| v);
    let plain = move |x: &[Vec<f64>], round: &dyn Fn(f64) -> f64| reference(x, around, round);
    case(around).against(exact).plain(plain)
}

/// One operation after another, rounding what each stores.
fn reference(x: &[Vec<f64>], around: Around, round: &dyn Fn(f64) -> f64) -> Vec<Vec<f64>> {
    let Around { rows, inputs, outputs, branch, norm, norm_goes_on, activation, ring } = around;
    let [gamma, cache] = around.places();
    let mut sum = x[0].clone();
    if branch {
        sum.iter_mut().zip(&x[3]).for_each(|(sum, branch)| *sum += branch);
    }
    let mut entering = sum.clone();
    if norm {
        let (gamma, beta) = (&x[gamma], &x[gamma + 1]);
        for row in entering.chunks_exact_mut(inputs) {
            let mean = row.iter().sum::<f64>() / inputs as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / inputs as f64;
            let scale = 1.0 / (variance + f64::from(EPSILON)).sqrt();
            for (i, v) in row.iter_mut().enumerate() {
                *v = round((*v - mean) * scale * gamma[i] + beta[i]);
            }
        }
    }
    let mut y = product(&entering, &x[1], inputs);
    for (i, v) in y.iter_mut().enumerate() {
        let argument = round(*v + x[2][i % outputs]);
        *v = round(match activation {
            None => argument,
            Some(Activation::Gelu) => gelu(argument),
            Some(Activation::Relu) => argument.max(0.0),
        });
    }
    let stored = ring.map_or(0, |_| outputs / 3 * 2);
    let kept = outputs - stored;
    let mut made = vec![y.chunks_exact(outputs).flat_map(|row| row[..kept].to_vec()).collect()];
    if norm && (branch || norm_goes_on) {
        made.push(if norm_goes_on { entering } else { sum.iter().map(|&v| round(v)).collect() });
    }
    if let Some((capacity, pinned, keys)) = ring {
        let mut cache = x[cache].clone();
        // The keys in order, each on the oldest row that is not pinned.
        let mut order: Vec<usize> = (0..capacity).collect();
        for _ in 1..keys {
            let row = order.remove(0);
            order.extend((row >= pinned).then_some(row));
        }
        for row in 0..rows {
            cache[(row * capacity + order[0]) * stored..][..stored]
                .copy_from_slice(&y[row * outputs + kept..][..stored]);
        }
        made.push(cache);
    }
    made
}
