//! Cases of the update: norm, clip and AdamW in f64, from random weights, gradients and moments.

use super::{AdamW, Segment, update};
use crate::ops::cases::{Case, Gradient, Input, random};

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
        // f32 on every device, as parameters' gradients are.
        vec![Input::fixed(&[len], random::normal(11, len, 0.3))],
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
        Ok(vec![update(g, len, SETTINGS, &[segment], false)])
    })
    .gradient(Gradient::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::numbers::{rounded, widen};
    use crate::device::{Device, Memory, Sizes};
    use crate::graph::Graph;
    use crate::graph::plan::{Program, Region};
    use crate::ops::cases::check::STATE;
    use crate::ops::cases::random::normal;

    const DEVICES: &[Device] = &[
        Device::Cpu,
        #[cfg(feature = "emulator")]
        Device::Emulated,
    ];

    struct Ran {
        memory: Memory,
        /// Weights and moments before the update.
        start: [Vec<f32>; 3],
        norm: f32,
        /// What products read of the weights, where the device has a copy.
        copy: Vec<f32>,
    }

    fn run(device: Device, len: usize, gradients: &[f32], settings: AdamW, segments: &[Segment]) -> Ran {
        let mut graph = Graph::storing(device.storage());
        let norm = update(&mut graph, len, settings, segments, false);
        let program = Program::new(graph, Region::Work);
        let sizes = Sizes { trained: len, constant: 0, training: true, average: settings.average > 0.0 };
        let mut memory = Memory::new(device, sizes).unwrap();
        memory.reserve(&program).unwrap();
        let start =
            [normal(1, len, 1.0), normal(2, len, 0.1), normal(3, len, 0.1).iter().map(|v| v * v).collect()];
        memory.set_flat(Region::Weights, 0, &start[0]);
        memory.set_flat(Region::FirstMoment, 0, &start[1]);
        memory.set_flat(Region::SecondMoment, 0, &start[2]);
        memory.set_flat(Region::Gradients, 0, gradients);
        device.run(&program, &mut memory, &STATE).unwrap();
        let copy = memory.region(Region::Copy).bytes();
        let copy = if copy.is_empty() { Vec::new() } else { widen(device.storage(), copy).into_owned() };
        let norm = memory.read(&program, norm)[0];
        Ran { memory, start, norm, copy }
    }

    /// The weights, rounded as the device stores them: what its copy must hold.
    fn assert_copy_is_new(ran: &Ran, device: Device) {
        if !ran.copy.is_empty() {
            let weights = ran.memory.flat(Region::Weights);
            assert_eq!(ran.copy, rounded(device.storage(), &weights), "the copy of the weights is old");
        }
    }

    /// Segments that end at `ends`, with other settings each.
    fn segments_to(ends: &[usize]) -> Vec<Segment> {
        let mut start = 0;
        let mut segments = Vec::new();
        for (i, &end) in ends.iter().enumerate() {
            let (learning_rate, weight_decay) = (1.0 / (1 + i) as f32, if i % 2 == 0 { 0.1 } else { 0.0 });
            segments.push(Segment { start, len: end - start, learning_rate, weight_decay });
            start = end;
        }
        segments
    }

    fn assert_update_is_adamw(device: Device, segments: &[Segment], average: f32) {
        let len = segments.iter().map(|s| s.len).sum();
        let gradients = normal(4, len, 0.5);
        let ran = run(device, len, &gradients, AdamW { average, ..SETTINGS }, segments);
        let Ran { memory, start: [w, m, v], norm, .. } = &ran;
        let exact = gradients.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(*norm) / exact - 1.0).abs() <= 1e-6);
        let (weights, averages) = (memory.flat(Region::Weights), memory.flat(Region::Average));
        for i in 0..len {
            let segment = segments.iter().rfind(|s| s.start <= i && s.len > 0).unwrap();
            let g = f64::from(gradients[i]) / exact.max(1.0);
            let (b1, b2) = (f64::from(SETTINGS.beta1), f64::from(SETTINGS.beta2));
            let m = b1 * f64::from(m[i]) + (1.0 - b1) * g;
            let v = b2 * f64::from(v[i]) + (1.0 - b2) * g * g;
            let (step, rate) = (STATE.step as i32, f64::from(STATE.learning_rate * segment.learning_rate));
            let (m_hat, v_hat) = (m / (1.0 - b1.powi(step)), v / (1.0 - b2.powi(step)));
            let old = f64::from(w[i]);
            let decayed = old * (1.0 - rate * f64::from(segment.weight_decay));
            let expected = decayed - rate * m_hat / (v_hat.sqrt() + f64::from(SETTINGS.epsilon));
            let error = (f64::from(weights[i]) - expected).abs();
            assert!(error <= 2e-6 * old.abs().max(1.0), "{device:?}: weight {i} is off by {error}");
            if average > 0.0 {
                let error = (f64::from(averages[i]) - (1.0 - f64::from(average)) * expected).abs();
                assert!(error <= 2e-6 * old.abs().max(1.0), "{device:?}: average {i} is off by {error}");
            }
        }
        assert!(memory.flat(Region::Gradients).iter().all(|g| *g == 0.0), "the gradient is cleared");
        assert_copy_is_new(&ran, device);
    }

    #[test]
    fn update_is_adamw_with_clipping_by_segment() {
        for &device in DEVICES {
            assert_update_is_adamw(device, &segments_to(&[1000, 100_037]), 0.75);
        }
    }

    #[test]
    fn segments_may_be_many_short_and_empty() {
        let ends = [1, 2, 2, 7, 8, 15, 33, 33, 39, 1024, 1030, 1031, 1031, 1500, 1501, 1502, 1503, 1505];
        for &device in DEVICES {
            assert_update_is_adamw(device, &segments_to(&ends), 0.0);
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_never_reaches_the_weights() {
        for (&device, poison) in
            DEVICES.iter().flat_map(|d| [f32::NAN, f32::INFINITY, f32::MAX].map(|p| (d, p)))
        {
            let len = 5003;
            let mut gradients = normal(4, len, 0.5);
            gradients[len - 1] = poison;
            let segment = Segment { start: 0, len, learning_rate: 1.0, weight_decay: 0.1 };
            let ran = run(device, len, &gradients, SETTINGS, &[segment]);
            let Ran { memory, start: [w, m, v], norm, .. } = &ran;
            assert!(!norm.is_finite());
            assert_eq!(memory.flat(Region::Weights), *w);
            assert_eq!(memory.flat(Region::FirstMoment), *m);
            assert_eq!(memory.flat(Region::SecondMoment), *v);
            assert!(memory.flat(Region::Gradients).iter().all(|g| *g == 0.0));
            assert_copy_is_new(&ran, device);
        }
    }
}
