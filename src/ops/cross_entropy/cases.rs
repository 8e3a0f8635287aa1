//! Cases of the loss: the gradient that the op itself writes is checked against differences of the loss.

use super::{cross_entropy, cross_entropy_without};
use crate::data::vocabulary::PAD;
use crate::ops::cases::reference::{product, row};
use crate::ops::cases::{Case, Gradient, Input, random};
use crate::ops::linear;

const SCALE: f32 = 0.125;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Small and large vocabularies, whose rows are multiples of a wide load or not.
    for (rows, words) in [(1, 2), (3, 7), (65, 33), (20, 1001), (9, 64), (5, 1031), (4, 4104)] {
        for smoothing in [0.0, 0.1] {
            cases.push(
                case(rows, words, smoothing, 2.0, PAD)
                    .against(move |x| reference(x, words, f64::from(smoothing), PAD)),
            );
        }
    }
    // Logits that overflow an exponential which does not subtract the largest first.
    cases.push(case(5, 33, 0.1, 400.0, PAD).against(|x| reference(x, 33, f64::from(0.1f32), PAD)));
    // Where 0 is a class like any other: the loudest code of a sample.
    cases.push(case(9, 256, 0.0, 2.0, u32::MAX).against(|x| reference(x, 256, 0.0, u32::MAX)));
    // Of a product, whose rows lie in whole lines: shorter than a wide load, a multiple of one, beyond a line and a warp.
    for sizes in [(3, 16, 5), (4, 8, 40), (9, 16, 129), (20, 24, 1003), (6, 8, 1031)] {
        cases.push(projected(sizes, 0.1).against(move |x| {
            let logits = vec![product(&x[0], &x[1], sizes.1), x[2].clone(), x[3].clone()];
            reference(&logits, sizes.2, f64::from(0.1f32), PAD)
        }));
    }
    cases.push(case(320, 10_000, 0.1, 1.0, PAD));
    cases
}

fn targets(rows: usize, words: usize, ignored: u32) -> Vec<u32> {
    let mut targets = random::tokens(4, rows, words as u32);
    if rows > 2 {
        targets[1] = ignored;
        targets[2] = words as u32 - 1;
    }
    targets[0] = if ignored == PAD { targets[0].max(1) } else { 0 };
    targets
}

/// Logits as a model makes them: (rows, inputs) by a table (words, inputs).
fn projected((rows, inputs, words): (usize, usize, usize), smoothing: f32) -> Case {
    let operands = vec![
        Input::activation(&[rows, inputs], 1.0),
        Input::weight(&[words, inputs], (inputs as f32).sqrt().recip()),
        Input::tokens(&[rows], targets(rows, words, PAD)),
        Input::fixed(&[1], vec![SCALE]),
    ];
    let name = format!("{rows} x {words} of a product over {inputs}, smoothing {smoothing}");
    Case::new("cross-entropy", name, operands, move |g, x| {
        let logits = linear::logits(g, x[0], x[1])?;
        let loss = cross_entropy(g, logits, x[2], x[3], smoothing, true)?;
        Ok(vec![loss.sums, loss.nats])
    })
    .gradient(Gradient::Loss)
}

fn case(rows: usize, words: usize, smoothing: f32, deviation: f32, ignored: u32) -> Case {
    let inputs = vec![
        Input::activation(&[rows, words], deviation),
        Input::tokens(&[rows], targets(rows, words, ignored)),
        Input::fixed(&[1], vec![SCALE]),
    ];
    let name = format!("{rows} x {words} without {ignored}, smoothing {smoothing}, logits of {deviation}");
    Case::new("cross-entropy", name, inputs, move |g, x| {
        let loss = cross_entropy_without(g, x[0], x[1], x[2], smoothing, true, ignored)?;
        Ok(vec![loss.sums, loss.nats])
    })
    .gradient(Gradient::Loss)
}

fn reference(x: &[Vec<f64>], words: usize, smoothing: f64, ignored: u32) -> Vec<Vec<f64>> {
    let (mut smoothed, mut nats) = (0.0, Vec::new());
    for (i, target) in x[1].iter().enumerate() {
        if *target == f64::from(ignored) {
            nats.push(0.0);
            continue;
        }
        let logits = row(&x[0], i, words);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = max + logits.iter().map(|v| (v - max).exp()).sum::<f64>().ln();
        let own = log_sum - logits[*target as usize];
        let mean = log_sum - logits.iter().sum::<f64>() / words as f64;
        smoothed += (1.0 - smoothing) * own + smoothing * mean;
        nats.push(own);
    }
    vec![vec![smoothed * x[2][0], nats.iter().sum()], nats]
}
