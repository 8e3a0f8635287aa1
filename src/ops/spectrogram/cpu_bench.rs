//! Times of the spectrogram loss on the CPU, printed:
//! `cargo test --release --lib spectrogram_times -- --ignored --nocapture`. Best and median of many runs, so that other
//! load on the machine counts least. `benches/peers/spectrogram.py` does the same work in PyTorch.

use std::time::Instant;

use super::*;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph};

const CLIPS: usize = 16;
const SAMPLES: usize = 16_000;
/// Seconds that each is run for.
const SECONDS: f64 = 2.0;

/// Seconds of a run, sorted, and the sum of the losses.
fn times(settings: &[Settings], train: bool) -> (Vec<f64>, f32) {
    let mut graph = Graph::new();
    let predicted = graph.input_activation("predicted", &[CLIPS, SAMPLES]);
    graph.require_gradient(predicted);
    let target = graph.input("target", &[CLIPS, SAMPLES], DType::F32);
    let scale = graph.input("scale", &[1], DType::F32);
    let mut sums = Vec::new();
    for settings in settings {
        sums.push(spectrogram_loss(&mut graph, predicted, target, *settings, scale, train).unwrap().sums);
    }
    if train {
        graph.differentiate().unwrap();
        let gradient = graph.gradient(predicted).unwrap();
        graph.keep(gradient);
    }
    let program = Program::new(graph, Region::Work);
    let sizes = Sizes { trained: 16, constant: 0, training: true, average: false };
    let mut memory = Memory::new(Device::Cpu, sizes).unwrap();
    memory.reserve(&program).unwrap();
    let signal = |seed: usize| -> Vec<f32> {
        (0..CLIPS * SAMPLES).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 1000.0 - 0.5).collect()
    };
    memory.write(&program, predicted, &signal(1));
    memory.write(&program, target, &signal(2));
    memory.write(&program, scale, &[1.0f32]);
    let (mut seconds, start) = (Vec::new(), Instant::now());
    while start.elapsed().as_secs_f64() < SECONDS {
        let t = Instant::now();
        Device::Cpu.run(&program, &mut memory, &StepState::default()).unwrap();
        seconds.push(t.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    (seconds, sums.iter().map(|id| memory.read(&program, *id)[1]).sum())
}

#[test]
#[ignore = "a benchmark: prints times"]
fn spectrogram_times() {
    println!("{} threads", rayon::current_num_threads());
    let default = Settings::default();
    let measure = Measure::Convergence { floor: FLOOR };
    let three = RESOLUTIONS.map(|(fft, hop, window)| Settings { fft, window, hop, measure, joined: false });
    let mel = Measure::Mel(Mel { bands: 80, sample_rate: 16_000, low: 0.0, high: 8000.0 });
    for (name, settings) in [
        ("magnitude, window 512, hop 256", &[default][..]),
        ("log magnitude", &[Settings { measure: Measure::Log { floor: FLOOR }, ..default }]),
        ("80 mel bands", &[Settings { measure: mel, ..default }]),
        ("multi-resolution", &three),
    ] {
        for train in [false, true] {
            let (seconds, loss) = times(settings, train);
            println!(
                "{name:>31}, {}: best {:.3} ms, median {:.3} ms of {} runs, loss {loss:.6}",
                if train { "with gradient" } else { "loss alone" },
                seconds[0] * 1e3,
                seconds[seconds.len() / 2] * 1e3,
                seconds.len(),
            );
        }
    }
}
