//! Tests of the model on the CPU: it learns, it looks where it should, and bad data are refused.

use super::{Ends, Foley, IGNORED, Purpose, START, Step, Whole};
use crate::config::foley::{Head, Preset, Table, Tokens};
use crate::config::{self, Optimizer, SoundLoss, Stem};
use crate::device::{Device, StepState};
use crate::graph::plan::Region;
use crate::models::engine::{Engine, Planned};
use crate::ops::cases::random;
use crate::ops::waveform::Codes;

pub(super) fn ends() -> Ends {
    Ends {
        height: 4,
        width: 8,
        frames: 3,
        frame_rate: (100, 1),
        samples: 48,
        sample_rate: 1600,
        classes: 256,
        codes: Codes::MuLaw,
    }
}

pub(super) fn small() -> config::Foley {
    config::Foley {
        width: 24,
        heads: 2,
        encoder_layers: 1,
        decoder_layers: 2,
        patch: 4,
        window: 6,
        period: 64,
        encoder_dropout: 0.0,
        ..config::Foley::default()
    }
}

/// A model with memory, trained or not.
pub(super) fn engine(model: &Foley, optimizer: Option<&Optimizer>) -> Engine {
    let mut engine = Engine::new(&model.parameters, Device::Cpu, optimizer).unwrap();
    engine.initialise(&model.parameters, 5);
    engine
}

/// Frames, codes in and codes out of `batch` clips whose sound follows from their frames.
fn clips(ends: Ends, batch: usize) -> (Vec<u8>, Vec<u32>, Vec<u32>) {
    let pixels = ends.frames * ends.height * ends.width * 3;
    let mut frames = Vec::new();
    let mut targets = Vec::new();
    for clip in 0..batch as u32 {
        for frame in 0..ends.frames.max(1) as u32 {
            let brightness = random::tokens(u64::from(clip * 31 + frame), 1, 200)[0];
            frames.resize(frames.len() + pixels / ends.frames.max(1), brightness as u8);
            let each = ends.samples / ends.frames.max(1);
            targets.extend((0..each as u32).map(|t| 28 + brightness + (t % 4) * (1 + clip)));
        }
    }
    let codes = targets
        .chunks_exact(ends.samples)
        .flat_map(|clip| std::iter::once(START).chain(clip[..ends.samples - 1].iter().copied()))
        .collect();
    (frames, codes, targets)
}

/// The loss of each of `steps` training steps over and over the same clips, and the nats a sample.
fn losses(config: &config::Foley, ends: Ends, steps: u64, terms: &SoundLoss) -> Vec<(f32, f32)> {
    let model = Foley::new(config, ends).unwrap();
    let optimizer = Optimizer { learning_rate: 3e-3, ..Optimizer::default() };
    let mut engine = engine(&model, Some(&optimizer));
    let batch = 2;
    let mut graph = engine.graph();
    let step = model.step(&mut graph, batch, ends.samples, Purpose::training(terms)).unwrap();
    let planned = engine.planned(graph, step, Region::Work).unwrap();
    let Planned { program, ends: step } = &*planned;
    let Step { frames, codes, targets, losses, .. } = step;
    let (pixels, inputs, outputs) = clips(ends, batch);
    let samples = outputs.len() as f32;
    (1..=steps)
        .map(|n| {
            if let Some(frames) = frames {
                engine.memory.write(program, *frames, &pixels);
            }
            engine.memory.write(program, *codes, &inputs);
            engine.memory.write(program, *targets, &outputs);
            step.weigh(&mut engine.memory, program, terms, samples.recip(), outputs.len());
            let state = StepState { step: n, learning_rate: 3e-3, ..StepState::default() };
            engine.run(program, &state).unwrap();
            let loss = step.loss(&engine.memory, program);
            let nats = losses.cross_entropy.map_or(0.0, |loss| engine.memory.read(program, loss.sums)[1]);
            assert!(engine.update(&state).unwrap().is_finite());
            (loss, nats / samples)
        })
        .collect()
}

#[test]
fn every_shape_of_the_model_learns() {
    let learned = |config: &config::Foley, ends: Ends| {
        let losses = losses(config, ends, 60, &SoundLoss::default());
        let (first, last) = (losses[0].1, losses.last().unwrap().1);
        assert!((losses[0].0 - first).abs() < 1e-4 * first, "the loss is the nats alone");
        assert!(first > 4.5 && first < 7.5, "begins near ln 256: {first}");
        assert!(last < 0.5 * first, "{first} to {last}: {config:?}");
    };
    learned(&small(), ends());
    let whole = config::Foley { tokens: Tokens::Frame, preset: Preset::Longformer, ..small() };
    learned(&whole, ends());
    learned(&config::Foley { stem: Stem::Convolution, tie_embeddings: true, ..whole.clone() }, ends());
    learned(&config::Foley { stem: Stem::Convolution, cross_every: 2, ..small() }, ends());
    let other = config::Foley {
        preset: Preset::SparseFixed,
        stride: 16,
        norm: config::NormOrder::Post,
        frame_positions: Table::Learned,
        sample_positions: Table::Learned,
        encoder_window: 1,
        ..small()
    };
    learned(&other, ends());
    let blind = Ends { frames: 0, height: 0, width: 0, frame_rate: (0, 1), ..ends() };
    learned(&config::Foley { preset: Preset::SparseStrided, ..small() }, blind);
}

/// Each logit against a change of one sample and of one frame: what a sample sees is what its patterns say.
#[test]
fn a_sample_sees_its_window_and_no_later_sample() {
    let config = config::Foley { decoder_layers: 1, ..small() };
    let model = Foley::new(&config, ends()).unwrap();
    let mut engine = engine(&model, None);
    let mut graph = engine.graph();
    let samples = 48;
    let ends_of = model.predict(&mut graph, 1, samples).unwrap();
    let planned = engine.planned(graph, ends_of, Region::Work).unwrap();
    let Whole { frames, codes, made: logits, .. } = planned.ends;
    let (pixels, inputs, _) = clips(ends(), 1);
    let mut run = |pixels: &[u8], inputs: &[u32]| {
        engine.memory.write(&planned.program, frames.unwrap(), pixels);
        engine.memory.write(&planned.program, codes, inputs);
        engine.run(&planned.program, &StepState::default()).unwrap();
        engine.memory.read(&planned.program, logits).into_owned()
    };
    let differs = |a: &[f32], b: &[f32]| -> Vec<usize> {
        let rows = a.chunks_exact(256).zip(b.chunks_exact(256)).enumerate();
        rows.filter(|(_, (a, b))| a != b).map(|(row, _)| row).collect()
    };
    let plain = run(&pixels, &inputs);
    let mut changed = inputs.clone();
    changed[20] = 7;
    assert_eq!(differs(&plain, &run(&pixels, &changed)), (20..=26).collect::<Vec<_>>());
    let mut brighter = pixels.clone();
    brighter[0] ^= 255;
    assert!(differs(&plain, &run(&brighter, &inputs)).contains(&0), "the first frame is heard");
}

#[test]
fn each_term_of_waveforms_is_learned_by_codes_and_by_groups() {
    // Windows of 512 samples want a longer clip.
    let ends = Ends { samples: 1200, ..ends() };
    let alone = |spectrogram: f32, multi_resolution: f32| SoundLoss {
        cross_entropy: 0.0,
        spectrogram,
        multi_resolution,
        ..SoundLoss::default()
    };
    let groups = config::Foley { head: Head::Groups, group: 50, ..small() };
    for (config, terms, share) in [
        (small(), alone(1.0, 0.0), 0.7),
        (small(), alone(0.0, 1.0), 0.9),
        (groups.clone(), alone(1.0, 0.0), 0.7),
        (groups.clone(), alone(0.5, 0.5), 0.9),
        (groups, SoundLoss { joined: true, ..alone(1.0, 0.0) }, 0.7),
    ] {
        let losses = losses(&config, ends, 40, &terms);
        let (first, last) = (losses[0].0, losses.last().unwrap().0);
        assert!(first > 0.0 && last < share * first, "{first} to {last}: {terms:?} {:?}", config.head);
    }
    // Both terms at once are the sum of both.
    let both = SoundLoss { spectrogram: 2.0, ..SoundLoss::default() };
    let (loss, nats) = losses(&small(), ends, 1, &both)[0];
    let single = losses(&small(), ends, 1, &alone(2.0, 0.0))[0].0;
    assert!((loss - nats - single).abs() < 1e-4 * loss, "{loss} is not {nats} + {single}");
}

#[test]
fn a_group_hears_the_groups_before_it_alone() {
    let config = config::Foley { head: Head::Groups, group: 8, decoder_layers: 1, window: 2, ..small() };
    let model = Foley::new(&config, ends()).unwrap();
    let mut engine = engine(&model, None);
    let mut graph = engine.graph();
    let ends_of = model.predict(&mut graph, 1, 48).unwrap();
    let planned = engine.planned(graph, ends_of, Region::Work).unwrap();
    let Whole { frames, codes, made: waves, .. } = planned.ends;
    let (pixels, _, sound) = clips(ends(), 1);
    let mut run = |sound: &[u32]| {
        engine.memory.write(&planned.program, frames.unwrap(), &pixels);
        engine.memory.write(&planned.program, codes, sound);
        engine.run(&planned.program, &StepState::default()).unwrap();
        engine.memory.read(&planned.program, waves).into_owned()
    };
    let plain = run(&sound);
    let mut changed = sound.clone();
    changed[19] = 3; // in group 2
    let differ: Vec<bool> = plain.chunks(8).zip(run(&changed).chunks(8)).map(|(a, b)| a != b).collect();
    assert_eq!(differ, [false, false, false, true, true, true]);
}

#[test]
fn targets_that_are_none_do_not_count() {
    let model = Foley::new(&small(), ends()).unwrap();
    let mut engine = engine(&model, None);
    let mut graph = engine.graph();
    let purpose = Purpose::evaluation(Head::Classes);
    let step = model.step(&mut graph, 1, 48, purpose).unwrap();
    let planned = engine.planned(graph, step, Region::Work).unwrap();
    let (pixels, inputs, mut targets) = clips(ends(), 1);
    targets[5..].fill(IGNORED);
    // The loudest code is a class like any other.
    targets[0] = 0;
    let memory = &mut engine.memory;
    memory.write(&planned.program, step.frames.unwrap(), &pixels);
    memory.write(&planned.program, step.codes, &inputs);
    memory.write(&planned.program, step.targets, &targets);
    memory.write(&planned.program, step.scale, &[0.2]);
    engine.run(&planned.program, &StepState::default()).unwrap();
    let nats = engine.memory.read(&planned.program, step.losses.cross_entropy.unwrap().nats);
    assert!(nats[..5].iter().all(|&n| n > 0.0) && nats[5..].iter().all(|&n| n == 0.0), "{nats:?}");
}

#[test]
fn what_does_not_fit_the_data_is_one_line() {
    let refused = |config: config::Foley, ends: Ends| Foley::new(&config, ends).unwrap_err().to_string();
    assert!(refused(config::Foley { patch: 3, ..small() }, ends()).contains("divides both"));
    assert!(refused(config::Foley { heads: 5, ..small() }, ends()).contains("model.heads"));
    let groups = config::Foley { head: Head::Groups, group: 500, ..small() };
    assert!(refused(groups, ends()).contains("model.group is 500"));
    assert!(refused(small(), Ends { samples: 0, ..ends() }).contains("without a sample"));
    assert!(refused(small(), Ends { height: 0, ..ends() }).contains("without a pixel"));
}
