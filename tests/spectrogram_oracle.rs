//! The spectrogram loss and its gradient equal PyTorch's `torch.stft` in double precision.
//!
//! What PyTorch found stands in `fixtures/stft.json`, which `oracles/stft.py` writes; the signals are a formula, here and
//! there the same.

use evoke::device::{Device, Memory, Sizes, StepState};
use evoke::graph::plan::{Program, Region};
use evoke::graph::{DType, Graph};
use evoke::ops::spectrogram::{Measure, Settings, spectrogram_loss};
use serde_json::Value;

/// Relative to the value, or to the gradient's largest element.
const TOLERANCE: f64 = 1e-5;
/// Beside |log T - log S| a quiet bin's gradient is 1 / |S|, which makes much of f32's roundings of S, down to the floor:
/// there the gradient may be off by twice what PyTorch's own is in f32.
const TIMES_PEER: f64 = 2.0;

/// Squares modulo a prime, exact in f32; seed 0 is silence.
fn signal(seed: u64, samples: usize) -> Vec<f32> {
    let value = |i: u64| ((i * i * (seed + 2) + i * 7919 + seed * 131) % 4093) as f32 - 2046.0;
    (1..=samples as u64).map(|i| if seed == 0 { 0.0 } else { value(i) / 4096.0 }).collect()
}

/// The loss, and its gradient.
fn ours(settings: Settings, clips: usize, samples: usize, seeds: [u64; 2]) -> (f32, Vec<f32>) {
    let mut graph = Graph::new();
    let predicted = graph.input_activation("predicted", &[clips, samples]);
    graph.require_gradient(predicted);
    let target = graph.input("target", &[clips, samples], DType::F32);
    let scale = graph.input("scale", &[1], DType::F32);
    let loss = spectrogram_loss(&mut graph, predicted, target, settings, scale, true).unwrap();
    graph.differentiate().unwrap();
    let gradient = graph.gradient(predicted).unwrap();
    graph.keep(gradient);
    let program = Program::new(graph, Region::Work);
    let sizes = Sizes { trained: 16, constant: 0, training: true, average: false };
    let mut memory = Memory::new(Device::Cpu, sizes).unwrap();
    memory.reserve(&program).unwrap();
    memory.poison(Region::Work);
    memory.write(&program, predicted, &signal(seeds[0], clips * samples));
    memory.write(&program, target, &signal(seeds[1], clips * samples));
    memory.write(&program, scale, &[1.0f32]);
    Device::Cpu.run(&program, &mut memory, &StepState::default()).unwrap();
    (memory.read(&program, loss.sums)[0], memory.read(&program, gradient).to_vec())
}

#[test]
fn values_and_gradients_equal_torch_stft() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/stft.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let floor = |name: &str| fixture[name].as_f64().unwrap() as f32;
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 20);
    let mut failed = Vec::new();
    for case in cases {
        let number = |name: &str| case[name].as_f64().unwrap();
        let size = |name: &str| number(name) as usize;
        let measure = match case["measure"].as_str().unwrap() {
            "magnitude" => Measure::Magnitude,
            "power" => Measure::Power,
            "log" => Measure::Log { floor: floor("high_floor") },
            "convergence" => Measure::Convergence { floor: floor("floor") },
            other => panic!("{other}"),
        };
        let settings =
            Settings { fft: size("fft"), window: size("window"), hop: size("hop"), measure, joined: false };
        let seeds = [0, 1].map(|i| case["seeds"][i].as_u64().unwrap());
        let (loss, gradient) = ours(settings, size("clips"), size("samples"), seeds);
        let of_loss = (f64::from(loss) - number("loss")).abs() / number("loss").max(f64::MIN_POSITIVE);
        let theirs = case["gradient"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let errors = gradient.iter().step_by(size("every")).zip(theirs).map(|(ours, theirs)| {
            let error = (f64::from(*ours) - theirs).abs() / number("largest").max(f64::MIN_POSITIVE);
            if error.is_nan() { f64::INFINITY } else { error }
        });
        let of_gradient = errors.fold(0.0, f64::max);
        let peer = number("error_in_f32");
        println!(
            "loss {of_loss:.1e}, gradient {of_gradient:.1e} (PyTorch in f32 {peer:.1e}): {settings:?} {seeds:?}"
        );
        let peer = if let Measure::Convergence { .. } = measure { peer } else { 0.0 };
        if !(of_loss <= TOLERANCE && of_gradient <= TOLERANCE.max(TIMES_PEER * peer)) {
            failed.push(format!("loss {of_loss:.1e}, gradient {of_gradient:.1e}: {case}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
