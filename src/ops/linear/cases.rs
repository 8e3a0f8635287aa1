//! Cases of the linear layer.

use super::{linear, logits};
use crate::config::Activation;
use crate::ops::cases::reference::{gelu, product};
use crate::ops::cases::{Case, Input};

/// (rows, inputs, outputs), checked; odd sizes on purpose, several tiles of columns, many pieces of rows.
const CHECKED: [(usize, usize, usize); 7] =
    [(1, 1, 1), (3, 5, 7), (65, 17, 33), (64, 32, 48), (130, 96, 20), (70, 24, 264), (1100, 3, 8)];
/// The captioner's at width 256: projection, feed-forward, vocabulary.
const TIMED: [(usize, usize, usize); 3] = [(3136, 256, 256), (3136, 256, 1024), (320, 256, 10_000)];
/// As many words as no product likes; with rows one after another and in lines.
const ODD_VOCABULARY: (usize, usize, usize) = (320, 256, 10_003);

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for activation in [None, Some(Activation::Gelu), Some(Activation::Relu)] {
        for sizes in CHECKED {
            let exact = move |x: &[Vec<f64>]| vec![reference(x, sizes, activation, &|v| v)];
            // What is stored between: the product, with the bias the activation's argument, the result.
            let plain = move |x: &[Vec<f64>], round: &dyn Fn(f64) -> f64| {
                vec![reference(x, sizes, activation, round)]
            };
            cases.push(case(sizes, activation).against(exact).plain(plain));
        }
    }
    // Shorter than a line, and longer.
    for sizes in [(65, 16, 33), (3, 8, 131)] {
        cases.push(in_lines(sizes).against(move |x| vec![product(&x[0], &x[1], sizes.1)]));
    }
    for sizes in TIMED {
        cases.push(case(sizes, None));
    }
    cases.push(case(ODD_VOCABULARY, None));
    cases.push(in_lines(ODD_VOCABULARY));
    cases.push(case(TIMED[1], Some(Activation::Gelu)));
    cases
}

fn case((rows, inputs, outputs): (usize, usize, usize), activation: Option<Activation>) -> Case {
    let op = match activation {
        None => "linear",
        Some(Activation::Gelu) => "linear gelu",
        Some(Activation::Relu) => "linear relu",
    };
    let deviation = (inputs as f32).sqrt().recip();
    let operands = vec![
        Input::activation(&[rows, inputs], 1.0),
        Input::weight(&[outputs, inputs], deviation),
        Input::weight(&[outputs], 0.5),
    ];
    Case::new(op, format!("{rows} x {inputs} -> {outputs}"), operands, move |g, x| {
        Ok(vec![linear(g, x[0], x[1], Some(x[2]), activation)?])
    })
}

/// A product whose rows lie in whole lines where kernels run.
fn in_lines((rows, inputs, outputs): (usize, usize, usize)) -> Case {
    let deviation = (inputs as f32).sqrt().recip();
    let operands =
        vec![Input::activation(&[rows, inputs], 1.0), Input::weight(&[outputs, inputs], deviation)];
    Case::new("linear", format!("{rows} x {inputs} -> {outputs} in lines"), operands, |g, x| {
        Ok(vec![logits(g, x[0], x[1])?])
    })
}

fn reference(
    x: &[Vec<f64>],
    (_, inputs, outputs): (usize, usize, usize),
    activation: Option<Activation>,
    round: &dyn Fn(f64) -> f64,
) -> Vec<f64> {
    let mut y = product(&x[0], &x[1], inputs);
    for (i, v) in y.iter_mut().enumerate() {
        let argument = round(round(*v) + x[2][i % outputs]);
        *v = round(match activation {
            None => argument,
            Some(Activation::Gelu) => gelu(argument),
            Some(Activation::Relu) => argument.max(0.0),
        });
    }
    y
}
