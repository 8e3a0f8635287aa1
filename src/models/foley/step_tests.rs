//! What a training step takes: recompute changes no bit, and the time and memory of the step that PyTorch is timed on.

use std::time::Instant;

use super::tests::{ends, engine, small};
use super::{Ends, Foley, Purpose};
use crate::config::foley::Recompute;
use crate::config::{self, Optimizer, SoundLoss};
use crate::device::StepState;
use crate::graph::plan::Region;
use crate::ops::cases::random;

/// A training step's gradient, loss, and bytes of the arena.
fn gradient(config: &config::Foley) -> (Vec<u32>, u32, usize) {
    let model = Foley::new(config, ends()).unwrap();
    let mut engine = engine(&model, Some(&Optimizer::default()));
    let (batch, samples) = (2, 48);
    let mut graph = engine.graph();
    let purpose = Purpose::training(&SoundLoss::default());
    let step = model.step(&mut graph, batch, samples, purpose).unwrap();
    let planned = engine.planned(graph, step, Region::Work).unwrap();
    let program = &planned.program;
    engine.memory.write(program, step.frames.unwrap(), &random::bytes(1, batch * 3 * 4 * 8 * 3));
    engine.memory.write(program, step.codes, &random::tokens(2, batch * samples, 256));
    engine.memory.write(program, step.targets, &random::tokens(3, batch * samples, 256));
    engine.memory.write(program, step.scale, &[1.0 / 96.0]);
    let state = StepState { seed: 3, pass: 2, step: 1, ..StepState::default() };
    engine.run(program, &state).unwrap();
    let gradient = engine.memory.flat(Region::Gradients).iter().map(|v| v.to_bits()).collect();
    (gradient, step.loss(&engine.memory, program).to_bits(), program.arena)
}

#[test]
fn recompute_changes_no_bit_and_takes_less() {
    let kept = config::Foley { decoder_dropout: 0.1, encoder_dropout: 0.1, decoder_layers: 4, ..small() };
    let (plain, mut before) = (gradient(&kept), usize::MAX);
    assert!(plain.0.iter().filter(|&&bits| bits != 0).count() > 10_000);
    for recompute in [Recompute::None, Recompute::FeedForward, Recompute::Layer] {
        let again = gradient(&config::Foley { recompute, ..kept.clone() });
        assert!(plain.0 == again.0, "the gradients differ: {recompute:?}");
        assert_eq!(plain.1, again.1);
        assert!(again.2 < before, "{recompute:?}: {} bytes after {before}", again.2);
        before = again.2;
    }
    assert!(before * 3 < plain.2 * 2, "{before} bytes instead of {}", plain.2);
}

/// `cargo test --release -- --ignored --nocapture a_step_of_16000_samples`: milliseconds and bytes, with and without
/// recompute.
#[test]
#[ignore = "measures; takes seconds, and says something on an idle machine alone"]
fn a_step_of_16000_samples() {
    let samples = 16_000;
    let ends = Ends { height: 0, width: 0, frames: 0, samples, sample_rate: 16_000, ..ends() };
    for recompute in [Recompute::None, Recompute::FeedForward, Recompute::Layer] {
        let config = config::Foley { decoder_dropout: 0.0, recompute, ..config::Foley::default() };
        let model = Foley::new(&config, ends).unwrap();
        let mut engine = engine(&model, Some(&Optimizer::default()));
        let mut graph = engine.graph();
        let purpose = Purpose::training(&SoundLoss::default());
        let step = model.step(&mut graph, 1, samples, purpose).unwrap();
        let planned = engine.planned(graph, step, Region::Work).unwrap();
        let program = &planned.program;
        engine.memory.write(program, step.codes, &random::tokens(2, samples, 256));
        engine.memory.write(program, step.targets, &random::tokens(3, samples, 256));
        engine.memory.write(program, step.scale, &[1.0 / samples as f32]);
        let mut times: Vec<f64> = (1..=6)
            .map(|n| {
                let start = Instant::now();
                let state = StepState { step: n, learning_rate: 1e-3, ..StepState::default() };
                engine.run(program, &state).unwrap();
                engine.update(&state).unwrap();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.remove(0);
        times.sort_by(f64::total_cmp);
        let parameters = model.parameters.trained() + model.parameters.constant();
        let bytes = program.arena + 4 * (parameters + 3 * model.parameters.trained());
        println!("recompute {recompute:?}: {times:.0?} ms, {} MB, {:?}", bytes / 1_000_000, program.usage);
        let mut by_op = std::collections::BTreeMap::<&str, f64>::new();
        for (index, node) in program.nodes.iter().enumerate() {
            let start = Instant::now();
            let device = engine.device();
            device.run_nodes(program, index..index + 1, &mut engine.memory, &StepState::default()).unwrap();
            *by_op.entry(node.op.name()).or_default() += start.elapsed().as_secs_f64() * 1e3;
        }
        println!("{by_op:.0?}");
        if recompute != Recompute::None {
            assert!(bytes <= 450_000_000, "{bytes} bytes");
        }
    }
}
