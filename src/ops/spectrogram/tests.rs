//! What the cases cannot say: thread counts, silence to the bit, and errors.

use super::cases::cases;
use super::*;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph};
use crate::ops::cases::check::check;
use crate::ops::cases::random;

#[test]
fn cases_agree_with_double_precision_on_the_cpu() {
    let mut checked = 0;
    for case in cases().iter().filter(|case| case.reference.is_some()) {
        let outcome = check(case, Device::Cpu, 1).unwrap();
        println!("{:.1e} {}", outcome.error, outcome.name);
        assert!(outcome.ok, "{outcome:?}");
        checked += 1;
    }
    assert!(checked > 25, "only {checked} cases");
}

/// Sums and gradient of 3 clips of 2,500 samples, predicted as rows of 500: a regression head's shape.
fn run(settings: Settings, predicted: &[f32], device: Device) -> (Vec<f32>, Vec<f32>) {
    run_with(settings, predicted, device, true)
}

/// As [`run`]; without `train` there is no gradient.
fn run_with(settings: Settings, predicted: &[f32], device: Device, train: bool) -> (Vec<f32>, Vec<f32>) {
    const CLIPS: usize = 3;
    const SAMPLES: usize = 2500;
    let mut graph = Graph::storing(device.storage());
    let rows = graph.input_activation("predicted", &[CLIPS * SAMPLES / 500, 500]);
    graph.require_gradient(rows);
    let target = graph.input("target", &[CLIPS, SAMPLES], DType::F32);
    let scale = graph.input("scale", &[1], DType::F32);
    let loss = spectrogram_loss(&mut graph, rows, target, settings, scale, train).unwrap();
    graph.differentiate().unwrap();
    let gradient = graph.gradient(rows);
    gradient.iter().for_each(|id| graph.keep(*id));
    let program = Program::new(graph, Region::Work);
    let sizes = Sizes { trained: 16, constant: 0, training: true, average: false };
    let mut memory = Memory::new(device, sizes).unwrap();
    memory.reserve(&program).unwrap();
    memory.poison(Region::Work);
    memory.write(&program, rows, predicted);
    memory.write(&program, target, &random::normal(3, CLIPS * SAMPLES, 0.3));
    memory.write(&program, scale, &[1.0f32]);
    device.run(&program, &mut memory, &StepState::default()).unwrap();
    let gradient = gradient.map_or(Vec::new(), |id| memory.read(&program, id).to_vec());
    (memory.read(&program, loss.sums).to_vec(), gradient)
}

const MEASURES: [Measure; 5] = [
    Measure::Magnitude,
    Measure::Power,
    Measure::Log { floor: FLOOR },
    Measure::Mel(Mel { bands: 20, sample_rate: 16_000, low: 0.0, high: 8000.0 }),
    Measure::Convergence { floor: FLOOR },
];

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let predicted = random::normal(2, 7500, 0.3);
    for measure in MEASURES {
        let settings = Settings { fft: 64, window: 50, hop: 17, measure, joined: false };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (sums, gradient) = pool.install(|| run(settings, &predicted, Device::Cpu));
            sums.into_iter().chain(gradient).map(f32::to_bits).collect::<Vec<u32>>()
        };
        let one = on(1);
        assert_eq!(one, on(2), "{measure:?}");
        assert_eq!(one, on(5), "{measure:?}");
    }
}

/// Of a silent prediction beside a loud target, in one clip of three.
fn silence_has_no_gradient(device: Device) {
    let mut predicted = random::normal(2, 7500, 0.3);
    predicted[2500..5000].fill(0.0);
    for measure in MEASURES {
        let settings = Settings { fft: 128, window: 100, hop: 64, measure, joined: false };
        let (sums, gradient) = run(settings, &predicted, device);
        assert!(sums.iter().all(|v| v.is_finite()), "{measure:?} {sums:?}");
        assert!(gradient[2500..5000].iter().all(|v| *v == 0.0), "{measure:?}");
        assert!(gradient[..2500].iter().chain(&gradient[5000..]).any(|v| *v != 0.0), "{measure:?}");
    }
}

#[test]
fn silence_has_no_gradient_to_the_bit_on_the_cpu() {
    silence_has_no_gradient(Device::Cpu);
}

#[cfg(feature = "emulator")]
#[test]
fn silence_has_no_gradient_to_the_bit_in_the_kernels() {
    silence_has_no_gradient(Device::Emulated);
}

#[cfg(feature = "emulator")]
#[test]
fn cases_agree_with_double_precision_in_the_emulator() {
    for case in cases().iter().filter(|case| case.reference.is_some()) {
        let outcome = check(case, Device::Emulated, 1).unwrap();
        println!("{:.1e} {}", outcome.error, outcome.name);
        assert!(outcome.ok, "{outcome:?}");
    }
}

#[test]
fn wrong_settings_are_told_in_one_line() {
    let mel = |low, high, bands| Measure::Mel(Mel { bands, sample_rate: 16_000, low, high });
    let right = Settings::default();
    assert!(right.check().is_ok());
    for (wrong, part) in [
        (Settings { fft: 500, ..right }, "a power of two"),
        (Settings { fft: 32, window: 32, ..right }, "a power of two, 64 to 4096"),
        (Settings { fft: 8192, ..right }, "a power of two"),
        (Settings { window: 0, ..right }, "a window of 0"),
        (Settings { window: 513, ..right }, "1 to the transform's 512"),
        (Settings { hop: 0, ..right }, "a hop of 0"),
        (Settings { measure: Measure::Log { floor: 0.0 }, ..right }, "a floor of 0"),
        (Settings { measure: Measure::Log { floor: f32::NAN }, ..right }, "a floor of NaN"),
        (Settings { measure: mel(0.0, 8000.0, 0), ..right }, "0 mel bands"),
        (Settings { measure: mel(0.0, 8000.0, 200), ..right }, "200 mel bands"),
        (Settings { measure: mel(0.0, 9000.0, 20), ..right }, "half of 16000"),
        (Settings { measure: mel(500.0, 400.0, 20), ..right }, "rise"),
    ] {
        let error = wrong.check().unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn predictions_of_another_size_are_refused() {
    let mut graph = Graph::new();
    let predicted = graph.input_activation("predicted", &[4, 10]);
    let target = graph.input("target", &[2, 30], DType::F32);
    let scale = graph.input("scale", &[1], DType::F32);
    let error =
        spectrogram_loss(&mut graph, predicted, target, Settings::default(), scale, true).unwrap_err();
    assert!(error.to_string().contains("40 predicted samples for 2 clips of 30"), "{error}");
}

/// Nothing is written but the loss: a run of its own must find the same.
fn the_loss_alone_is_the_same(device: Device) {
    let predicted = random::normal(2, 7500, 0.3);
    for measure in MEASURES {
        let settings = Settings { fft: 128, window: 128, hop: 50, measure, joined: false };
        let (with, _) = run(settings, &predicted, device);
        let (alone, gradient) = run_with(settings, &predicted, device, false);
        assert!(gradient.is_empty());
        for (with, alone) in with.iter().zip(&alone) {
            assert!((with - alone).abs() <= 1e-6 * with.abs(), "{measure:?}: {with} and {alone}");
        }
    }
}

#[test]
fn the_loss_alone_is_the_same_on_the_cpu() {
    the_loss_alone_is_the_same(Device::Cpu);
}

#[cfg(feature = "emulator")]
#[test]
fn the_loss_alone_is_the_same_in_the_kernels() {
    the_loss_alone_is_the_same(Device::Emulated);
}
