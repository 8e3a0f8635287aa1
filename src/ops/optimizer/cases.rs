//! Cases of the update: norm, clip and AdamW in f64, from random weights, gradients and moments.

use super::{AdamW, Segment, update};
use crate::ops::cases::{Case, Gradient, Input};

const SETTINGS: AdamW = AdamW { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, clip: 1.0, average: 0.0 };

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (len, clip) in [(16, 0.0), (48, 1.0), (40_000, 1.0)] {
        cases.push(norm_case(len, clip).against(move |x| {
            let norm = x[0].iter().map(|v| v * v).sum::<f64>().sqrt();
            let factor = if clip > 0.0 && norm > f64::from(clip) { f64::from(clip) / norm } else { 1.0 };
            vec![vec![norm, factor]]
        }));
    }
    cases.push(update_case(10_000_000));
    cases
}

/// The gradient's norm and what clips it.
fn norm_case(len: usize, clip: f32) -> Case {
    Case::new(
        "gradient norm",
        format!("{len} gradients, clip {clip}"),
        vec![Input::activation(&[len], 0.3)],
        move |g, x| {
            let norm = g.activation_f32("norm", &[2]);
            g.push(super::GradientNorm { len, clip }, &[x[0]], &[norm]);
            Ok(vec![norm])
        },
    )
    .gradient(Gradient::None)
}

/// The whole update, timed.
fn update_case(len: usize) -> Case {
    let segment = Segment { start: 0, len, learning_rate: 1.0, weight_decay: 0.1 };
    Case::new("adamw", format!("{len} parameters"), vec![Input::weight(&[len], 0.1)], move |g, _| {
        Ok(vec![update(g, len, SETTINGS, &[segment])])
    })
    .gradient(Gradient::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Memory, Sizes};
    use crate::graph::Graph;
    use crate::graph::plan::{Program, Region};
    use crate::ops::cases::check::STATE;
    use crate::ops::cases::random::normal;

    fn run(
        len: usize,
        gradients: &[f32],
        settings: AdamW,
        segments: &[Segment],
    ) -> (Memory, [Vec<f32>; 3], f32) {
        let mut graph = Graph::new();
        let norm = update(&mut graph, len, settings, segments);
        let program = Program::new(graph, Region::Work);
        let sizes = Sizes { trained: len, constant: 0, training: true, average: settings.average > 0.0 };
        let mut memory = Memory::new(Device::Cpu, sizes).unwrap();
        memory.reserve(&program).unwrap();
        let start =
            [normal(1, len, 1.0), normal(2, len, 0.1), normal(3, len, 0.1).iter().map(|v| v * v).collect()];
        memory.set_flat(Region::Weights, 0, &start[0]);
        memory.set_flat(Region::FirstMoment, 0, &start[1]);
        memory.set_flat(Region::SecondMoment, 0, &start[2]);
        memory.set_flat(Region::Gradients, 0, gradients);
        Device::Cpu.run(&program, &mut memory, &STATE).unwrap();
        let found = memory.read(&program, norm)[0];
        (memory, start, found)
    }

    #[test]
    fn update_is_adamw_with_clipping_by_segment() {
        let len = 100_037;
        let gradients = normal(4, len, 0.5);
        let cut = 1000;
        let segments = [
            Segment { start: 0, len: cut, learning_rate: 1.0, weight_decay: 0.1 },
            Segment { start: cut, len: len - cut, learning_rate: 0.5, weight_decay: 0.0 },
        ];
        let settings = AdamW { average: 0.75, ..SETTINGS };
        let (memory, [w, m, v], norm) = run(len, &gradients, settings, &segments);
        let exact = gradients.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(norm) / exact - 1.0).abs() <= 1e-6);
        for i in 0..len {
            let segment = &segments[usize::from(i >= cut)];
            let g = f64::from(gradients[i]) / exact.max(1.0);
            let (b1, b2) = (f64::from(SETTINGS.beta1), f64::from(SETTINGS.beta2));
            let m = b1 * f64::from(m[i]) + (1.0 - b1) * g;
            let v = b2 * f64::from(v[i]) + (1.0 - b2) * g * g;
            let (step, rate) = (STATE.step as i32, f64::from(STATE.learning_rate * segment.learning_rate));
            let (m_hat, v_hat) = (m / (1.0 - b1.powi(step)), v / (1.0 - b2.powi(step)));
            let old = f64::from(w[i]);
            let decayed = old * (1.0 - rate * f64::from(segment.weight_decay));
            let expected = decayed - rate * m_hat / (v_hat.sqrt() + f64::from(SETTINGS.epsilon));
            let error = (f64::from(memory.flat(Region::Weights)[i]) - expected).abs();
            assert!(error <= 2e-6 * old.abs().max(1.0), "weight {i} is off by {error}");
            let average = 0.25 * expected;
            let error = (f64::from(memory.flat(Region::Average)[i]) - average).abs();
            assert!(error <= 2e-6 * old.abs().max(1.0), "average {i} is off by {error}");
        }
        assert!(memory.flat(Region::Gradients).iter().all(|g| *g == 0.0), "the gradient is cleared");
    }

    #[test]
    fn a_gradient_that_is_not_finite_never_reaches_the_weights() {
        for poison in [f32::NAN, f32::INFINITY, f32::MAX] {
            let len = 5000;
            let mut gradients = normal(4, len, 0.5);
            gradients[len - 1] = poison;
            let segment = Segment { start: 0, len, learning_rate: 1.0, weight_decay: 0.1 };
            let (memory, [w, m, v], norm) = run(len, &gradients, SETTINGS, &[segment]);
            assert!(!norm.is_finite());
            assert_eq!(memory.flat(Region::Weights), w);
            assert_eq!(memory.flat(Region::FirstMoment), m);
            assert_eq!(memory.flat(Region::SecondMoment), v);
            assert!(memory.flat(Region::Gradients).iter().all(|g| *g == 0.0));
        }
    }
}
