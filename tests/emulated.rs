//! The kernels, proven without a GPU: every case under several thread orders, and whole training steps and decoding of a
//! small captioner against the CPU.
#![cfg(feature = "emulator")]

use evoke::config::{Captioner as Shape, NormOrder, Optimizer, Positions, Stem};
use evoke::decode::{Method, caption};
use evoke::device::{Device, StepState};
use evoke::graph::plan::Region;
use evoke::models::captioner::{Captioner, Ends, Purpose, Session};
use evoke::ops::cases::check::check_under;
use evoke::ops::cases::{all, random};

/// Thread orders; each check runs under the one after it too, and compares bit for bit.
const SCHEDULES: [u64; 3] = [1, 1001, 2001];

const ENDS: Ends = Ends { height: 16, width: 24, vocabulary: 29 };
const BATCH: usize = 3;
const WORDS: usize = 7;

#[test]
fn every_case_agrees_with_double_precision_under_every_schedule() {
    let mut failed = Vec::new();
    let mut checked = 0;
    let cases = all();
    for case in cases.iter().filter(|c| c.reference.is_some() && c.storage(Device::Emulated).is_some()) {
        for outcome in check_under(case, Device::Emulated, &SCHEDULES.map(|order| (order, false))).unwrap() {
            checked += 1;
            if !outcome.ok {
                failed.push(outcome);
            }
        }
    }
    assert!(checked > 400, "only {checked} checks");
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A linear layer's bias, ReLU and bias gradient, by the products' epilogues.
#[test]
fn epilogues_agree_with_double_precision() {
    let (mut checked, mut failed) = (0, Vec::new());
    for case in all().iter().filter(|c| c.op.starts_with("linear") && c.reference.is_some()) {
        let outcome = check_under(case, Device::Emulated, &[(1, true)]).unwrap().remove(0);
        checked += 1;
        if !outcome.ok {
            failed.push(outcome);
        }
    }
    assert!(checked >= 21, "only {checked} checks");
    assert!(failed.is_empty(), "{failed:#?}");
}

fn small() -> Shape {
    Shape {
        width: 64,
        heads: 2,
        encoder_layers: 2,
        decoder_layers: 2,
        feed_forward: 96,
        patch: 8,
        max_words: 9,
        ..Shape::default()
    }
}

/// One step after another on the same batch; the losses, and the gradient of the first step.
fn train(shape: &Shape, device: Device, steps: u64, schedule: u64) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let optimizer = Optimizer { average: 0.5, ..Optimizer::default() };
    let mut session = Session::new(Captioner::new(shape, ENDS).unwrap(), device, Some(&optimizer)).unwrap();
    session.memory.schedule = schedule;
    session.initialise(3);
    let targets: Vec<u32> =
        random::tokens(5, BATCH * WORDS, ENDS.vocabulary as u32 - 5).iter().map(|t| t + 5).collect();
    let mut words = vec![evoke::data::vocabulary::START; BATCH * WORDS];
    for row in 0..BATCH {
        words[row * WORDS + 1..(row + 1) * WORDS]
            .copy_from_slice(&targets[row * WORDS..(row + 1) * WORDS - 1]);
    }
    let pixels = random::bytes(4, BATCH * ENDS.height * ENDS.width * 3);
    let purpose = Purpose { train: true, both_ways: false, label_smoothing: 0.1 };
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for step in 1..=steps {
        let state = StepState { seed: 9, pass: step, step, learning_rate: 3e-3 };
        let planned = session.step(BATCH, WORDS, purpose).unwrap();
        let ends = planned.ends;
        session.memory.write(&planned.program, ends.pixels, &pixels);
        session.memory.write(&planned.program, ends.words, &words);
        session.memory.write(&planned.program, ends.targets, &targets);
        session.memory.write(&planned.program, ends.scale, &[1.0 / (BATCH * WORDS) as f32]);
        session.run(&planned.program, &state).unwrap();
        losses.push(session.memory.read(&planned.program, ends.loss.sums)[0]);
        if step == 1 {
            gradient = session.memory.flat(Region::Gradients).to_vec();
        }
        assert!(session.update(&state).unwrap().is_finite());
    }
    let weights = session.memory.flat(Region::Weights).to_vec();
    (losses, gradient, weights)
}

/// Cosine of the angle between two gradients.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Dropout draws the same bits on both devices, so the losses must agree to what bf16 rounds away.
#[test]
fn training_steps_agree_with_the_cpu() {
    let shapes = [
        ("defaults", small()),
        ("post-norm", Shape { norm: NormOrder::Post, ..small() }),
        ("convolution", Shape { stem: Stem::Convolution, ..small() }),
        (
            "learned positions, untied",
            Shape {
                positions: Positions::Learned,
                word_positions: Positions::Learned,
                tie_embeddings: false,
                ..small()
            },
        ),
    ];
    for (name, shape) in shapes {
        let steps = if name == "defaults" { 6 } else { 2 };
        let (exact, exact_gradient, _) = train(&shape, Device::Cpu, steps, 1);
        let (losses, gradient, weights) = train(&shape, Device::Emulated, steps, 1);
        for (step, (found, expected)) in losses.iter().zip(&exact).enumerate() {
            let error = (found / expected - 1.0).abs();
            assert!(error <= 0.01, "{name}, step {step}: loss {found}, on the CPU {expected}");
        }
        let agreement = cosine(&gradient, &exact_gradient);
        assert!(agreement >= 0.999, "{name}: the gradients' cosine is {agreement}");
        if name == "defaults" {
            let again = train(&shape, Device::Emulated, steps, 77);
            assert_eq!((losses, weights), (again.0, again.2), "another thread order changes bits");
        }
    }
}

#[test]
fn decoding_and_looking_run_on_kernels() {
    let mut sessions = [Device::Cpu, Device::Emulated].map(|device| {
        let mut session = Session::new(Captioner::new(&small(), ENDS).unwrap(), device, None).unwrap();
        session.initialise(3);
        session
    });
    let pixels = random::bytes(4, 2 * ENDS.height * ENDS.width * 3);
    let [exact, found] = sessions.each_mut().map(|session| {
        let method = Method::Beam { width: 3, alpha: 0.6 };
        let captions = caption(session, &pixels, method).unwrap();
        captions.iter().map(|c| c.log_probability).collect::<Vec<f32>>()
    });
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found - exact).abs() <= 0.05 * exact.abs(), "{found}, on the CPU {exact}");
    }
    let [exact, found] = sessions.each_mut().map(|session| {
        let looker = session.looker(1, 3).unwrap();
        session.memory.write(&looker.program, looker.ends.pixels, &pixels[..ENDS.height * ENDS.width * 3]);
        session.memory.write(&looker.program, looker.ends.words, &[1u32, 7, 9]);
        session.run(&looker.program, &StepState::default()).unwrap();
        session.memory.read(&looker.program, looker.ends.weights).to_vec()
    });
    assert_eq!(found.len(), exact.len());
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found - exact).abs() <= 0.01, "{found}, on the CPU {exact}");
    }
}
