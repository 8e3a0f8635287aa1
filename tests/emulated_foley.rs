//! The foley model on the CUDA kernels, in the emulator, against the CPU: losses, gradients and streaming.
#![cfg(feature = "emulator")]

use evoke::config::foley::{Head, Preset, Recompute, Tokens};
use evoke::config::{self, Optimizer, SoundLoss};
use evoke::device::{Device, StepState};
use evoke::graph::plan::Region;
use evoke::models::engine::Engine;
use evoke::models::foley::{Ends, Foley, Purpose, START, earlier};
use evoke::ops::cases::random;
use evoke::ops::waveform::Codes;

const BATCH: usize = 2;
const ENDS: Ends = Ends {
    height: 8,
    width: 16,
    frames: 4,
    frame_rate: (25, 1),
    samples: 80,
    sample_rate: 500,
    classes: 256,
    codes: Codes::MuLaw,
};

fn small() -> config::Foley {
    config::Foley {
        width: 64,
        heads: 2,
        encoder_layers: 1,
        decoder_layers: 2,
        feed_forward: 96,
        patch: 8,
        window: 12,
        period: 128,
        ..config::Foley::default()
    }
}

fn engine(model: &Foley, device: Device, optimizer: Option<&Optimizer>) -> Engine {
    let mut engine = Engine::new(&model.parameters, device, optimizer).unwrap();
    engine.initialise(&model.parameters, 3);
    engine
}

fn shown(sound: &[u32]) -> Vec<u32> {
    sound
        .chunks(ENDS.samples)
        .flat_map(|clip| std::iter::once(START).chain(clip[..ENDS.samples - 1].iter().copied()))
        .collect()
}

/// The loss and the gradient of one step.
fn step(config: &config::Foley, terms: &SoundLoss, device: Device) -> (f32, Vec<f32>) {
    let model = Foley::new(config, ENDS).unwrap();
    let mut engine = engine(&model, device, Some(&Optimizer::default()));
    let mut graph = engine.graph();
    let step = model.step(&mut graph, BATCH, ENDS.samples, Purpose::training(terms)).unwrap();
    let planned = engine.planned(graph, step, Region::Work).unwrap();
    let program = &planned.program;
    let sound = random::tokens(5, BATCH * ENDS.samples, 256);
    let pixels = random::bytes(4, BATCH * ENDS.frames * ENDS.height * ENDS.width * 3);
    engine.memory.write(program, step.frames.unwrap(), &pixels);
    engine.memory.write(program, step.codes, &shown(&sound));
    engine.memory.write(program, step.targets, &sound);
    step.weigh(&mut engine.memory, program, terms, 1.0 / sound.len() as f32, sound.len());
    let state = StepState { seed: 9, pass: 1, step: 1, learning_rate: 1e-3 };
    engine.run(program, &state).unwrap();
    let gradient = engine.memory.flat(Region::Gradients).to_vec();
    (step.loss(&engine.memory, program), gradient)
}

/// Cosine of the angle between two gradients.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn training_steps_agree_with_the_cpu() {
    let codes = SoundLoss::default();
    let waves = SoundLoss { spectrogram: 0.5, multi_resolution: 0.5, ..SoundLoss::default() };
    let groups = config::Foley { head: Head::Groups, group: 16, ..small() };
    let cases = [
        ("band", small(), &codes),
        (
            "longformer, a token a frame",
            config::Foley { tokens: Tokens::Frame, preset: Preset::Longformer, ..small() },
            &codes,
        ),
        ("sparse", config::Foley { preset: Preset::SparseStrided, stride: 8, ..small() }, &waves),
        ("groups", groups, &waves),
    ];
    for (name, config, terms) in cases {
        let (exact, exact_gradient) = step(&config, terms, Device::Cpu);
        let (found, gradient) = step(&config, terms, Device::Emulated);
        assert!((found / exact - 1.0).abs() <= 0.01, "{name}: loss {found}, on the CPU {exact}");
        let agreement = cosine(&gradient, &exact_gradient);
        assert!(agreement >= 0.998, "{name}: the gradients' cosine is {agreement}");
        let again = config::Foley { recompute: Recompute::Layer, ..config.clone() };
        assert!(step(&again, terms, Device::Emulated) == (found, gradient), "{name}: recompute changes bits");
    }
}

/// The waves of `groups` groups of each clip: as the training program makes them of the whole sound, and streamed.
fn waves(model: &Foley, device: Device, sound: &[u32], pixels: &[u8]) -> [Vec<f32>; 2] {
    let group = model.config.group;
    let mut engine = engine(model, device, None);
    let mut graph = engine.graph();
    let whole = model.predict(&mut graph, BATCH, ENDS.samples).unwrap();
    let planned = engine.planned(graph, whole, Region::Work).unwrap();
    engine.memory.write(&planned.program, whole.codes, sound);
    engine.memory.write(&planned.program, whole.frames.unwrap(), pixels);
    engine.run(&planned.program, &StepState::default()).unwrap();
    engine.memory.check().unwrap();
    let made = engine.memory.read(&planned.program, whole.made).into_owned();

    let mut graph = engine.graph();
    let seen = model.encode(&mut graph, BATCH).unwrap().unwrap();
    let encoder = engine.planned(graph, seen, Region::Work).unwrap();
    let mut graph = engine.graph();
    let next = model.extend(&mut graph, BATCH, ENDS.samples / group).unwrap();
    let planned = engine.planned(graph, next, Region::Decode).unwrap();
    engine.memory.write(&encoder.program, seen.0, pixels);
    engine.run(&encoder.program, &StepState::default()).unwrap();
    engine.memory.copy((&encoder.program, seen.1), (&planned.program, next.memory.unwrap()));
    let mut streamed = vec![0.0; made.len()];
    for t in 0..ENDS.samples / group {
        let last: Vec<u32> = sound
            .chunks(ENDS.samples)
            .flat_map(
                |clip| if t == 0 { vec![START; group] } else { clip[(t - 1) * group..][..group].to_vec() },
            )
            .collect();
        engine.memory.write(&planned.program, next.codes, &last);
        engine.memory.write(&planned.program, next.position, &[t as u32]);
        engine.memory.write(&planned.program, next.count, &[t as u32 + 1]);
        engine.memory.write(&planned.program, next.moment, &[t as u32]);
        engine.run(&planned.program, &StepState::default()).unwrap();
        engine.memory.check().unwrap();
        let found = engine.memory.read(&planned.program, next.made);
        for clip in 0..BATCH {
            let at = clip * ENDS.samples + t * group;
            streamed[at..at + group].copy_from_slice(&found[clip * group..][..group]);
        }
    }
    [made, streamed]
}

#[test]
fn streamed_groups_are_those_of_the_training_program() {
    let config = config::Foley { head: Head::Groups, group: 8, window: 4, ..small() };
    let model = Foley::new(&config, ENDS).unwrap();
    let sound = random::tokens(6, BATCH * ENDS.samples, 256);
    let pixels = random::bytes(4, BATCH * ENDS.frames * ENDS.height * ENDS.width * 3);
    let [exact, cached] = waves(&model, Device::Cpu, &sound, &pixels);
    let [whole, streamed] = waves(&model, Device::Emulated, &sound, &pixels);
    let size = exact.iter().fold(0.0f32, |size, v| size.max(v.abs()));
    let furthest =
        |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(furthest(&exact, &cached) <= 1e-5 * size, "on the CPU {} of {size}", furthest(&exact, &cached));
    // Stored with 8 bits of mantissa; sums meet in other orders, and attention's weights are rounded in one of them.
    let (between, rounding) = (furthest(&whole, &streamed), furthest(&exact, &whole));
    println!("emulated: {between} between whole and streamed, {rounding} from f32, of {size}");
    assert!(between <= 0.01 * size, "emulated: {between} of {size}");
    assert!(cosine(&exact, &streamed) >= 0.9995 && cosine(&whole, &streamed) >= 0.9999);
}

/// The logits of the first samples, streamed.
fn logits(model: &Foley, device: Device, codes: &[u32], pixels: &[u8]) -> Vec<f32> {
    let mut engine = engine(model, device, None);
    let mut graph = engine.graph();
    let seen = model.encode(&mut graph, BATCH).unwrap().unwrap();
    let encoder = engine.planned(graph, seen, Region::Work).unwrap();
    let mut graph = engine.graph();
    let next = model.extend(&mut graph, BATCH, ENDS.samples).unwrap();
    let planned = engine.planned(graph, next, Region::Decode).unwrap();
    engine.memory.write(&encoder.program, seen.0, pixels);
    engine.run(&encoder.program, &StepState::default()).unwrap();
    engine.memory.copy((&encoder.program, seen.1), (&planned.program, next.memory.unwrap()));
    let more = model.config.lags - 1;
    let before = earlier(codes, ENDS.samples, model.config.lags);
    let mut logits = Vec::new();
    // Longer than the rings of the first layer, and through a border of blocks.
    for t in 0..40 {
        let last: Vec<u32> = codes.chunks(ENDS.samples).map(|clip| clip[t]).collect();
        engine.memory.write(&planned.program, next.codes, &last);
        if let Some(id) = next.earlier {
            let of = |clip: usize| before[(clip * ENDS.samples + t) * more..][..more].to_vec();
            engine.memory.write(&planned.program, id, &(0..BATCH).flat_map(of).collect::<Vec<u32>>());
        }
        engine.memory.write(&planned.program, next.position, &[t as u32]);
        engine.memory.write(&planned.program, next.count, &[t as u32 + 1]);
        engine.memory.write(&planned.program, next.moment, &[t as u32]);
        engine.run(&planned.program, &StepState::default()).unwrap();
        engine.memory.check().unwrap();
        logits.extend_from_slice(&engine.memory.read(&planned.program, next.made));
    }
    logits
}

#[test]
fn streaming_agrees_with_the_cpu() {
    let texts = ["dilated:3:5 band:4+prefix:1", "fixed:16:2"].map(String::from);
    let plain = config::Foley { patterns: texts.into(), ..small() };
    let (norm, activation) = (config::NormOrder::Post, config::Activation::Relu);
    let other = config::Foley { norm, activation, lags: 3, cross_every: 2, ..plain.clone() };
    for config in [plain, other] {
        let model = Foley::new(&config, ENDS).unwrap();
        let codes = shown(&random::tokens(6, BATCH * ENDS.samples, 256));
        let pixels = random::bytes(4, BATCH * ENDS.frames * ENDS.height * ENDS.width * 3);
        let [exact, found] =
            [Device::Cpu, Device::Emulated].map(|device| logits(&model, device, &codes, &pixels));
        let agreement = cosine(&exact, &found);
        assert!(agreement >= 0.9995, "the logits' cosine is {agreement}: {config:?}");
    }
}
