//! A whole training step of a captioner: forward, backward, clip and AdamW, on random pictures and words.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::{Spread, spread};
use crate::Result;
use crate::config::{Captioner as Shape, Optimizer};
use crate::device::{Device, StepState};
use crate::models::captioner::{Captioner, Ends, Purpose, Session};
use crate::ops::cases::random;

/// What is timed. The default is the step that `benches/peers/captioner_cpu.py` times in PyTorch and JAX.
#[derive(Debug, Clone)]
pub struct Setting {
    pub shape: Shape,
    pub ends: Ends,
    pub batch: usize,
    pub words: usize,
    pub steps: usize,
}

impl Default for Setting {
    fn default() -> Self {
        let shape = Shape { encoder_dropout: 0.0, decoder_dropout: 0.0, ..Shape::default() };
        let ends = Ends { height: 224, width: 224, vocabulary: 10_000 };
        Setting { shape, ends, batch: 16, words: 20, steps: 20 }
    }
}

impl Setting {
    /// What is timed on a device: on a GPU a larger model and batch, the one of `benches/peers/captioner_gpu.py`.
    pub fn of(device: Device) -> Setting {
        let base = Setting::default();
        if !matches!(device, Device::Cuda(_)) {
            return base;
        }
        let (width, heads, feed_forward) = (512, 8, 2048);
        let layers = 6;
        let shape = Shape {
            width,
            heads,
            feed_forward,
            encoder_layers: layers,
            decoder_layers: layers,
            max_words: 33,
            ..base.shape
        };
        Setting { shape, batch: 256, words: 32, ..base }
    }
}

/// Time of one kind of op in a step.
#[derive(Debug, Clone, Serialize)]
pub struct OpTime {
    pub op: &'static str,
    pub ms: f64,
    pub gflops: f64,
}

/// What the steps came to.
#[derive(Debug, Clone, Serialize)]
pub struct StepTime {
    #[serde(flatten)]
    pub spread: Spread,
    pub samples_per_second: f64,
    pub parameters: usize,
    pub first_loss: f32,
    pub last_loss: f32,
    pub peak_bytes: Option<usize>,
    pub ops: Vec<OpTime>,
}

/// Steps that are not counted.
const WARM_UP: usize = 3;

/// Runs the steps.
///
/// # Errors
/// If the sizes do not fit.
pub fn run(setting: &Setting, device: Device) -> Result<StepTime> {
    let model = Captioner::new(&setting.shape, setting.ends)?;
    let parameters = model.parameters.count();
    let mut session = Session::new(model, device, Some(&Optimizer::default()))?;
    session.initialise(1);
    let purpose = Purpose { train: true, both_ways: false, label_smoothing: 0.1 };
    let step = session.step(setting.batch, setting.words, purpose)?;
    let rows = setting.batch * setting.words;
    let pixels = random::bytes(1, setting.batch * setting.ends.height * setting.ends.width * 3);
    // Words above the special tokens.
    let words = |seed| -> Vec<u32> {
        random::tokens(seed, rows, setting.ends.vocabulary as u32 - 5).iter().map(|t| t + 5).collect()
    };
    let (shown, targets) = (words(2), words(3));
    let mut losses = Vec::new();
    let mut times = Vec::new();
    for n in 0..WARM_UP + setting.steps {
        let start = Instant::now();
        let state = StepState { seed: 1, pass: n as u64, step: n as u64 + 1, learning_rate: 3e-4 };
        let queues = device.queues();
        if queues {
            session.begin_step()?;
            session.memory.begin_pass(0, &state)?;
        }
        // The picture goes in as bytes each step, as in training.
        session.memory.write(&step.program, step.ends.pixels, &pixels);
        session.memory.write(&step.program, step.ends.words, &shown);
        session.memory.write(&step.program, step.ends.targets, &targets);
        session.memory.write(&step.program, step.ends.scale, &[1.0 / rows as f32]);
        if queues {
            // As in training: the step before is read while this one runs.
            session.queue(std::slice::from_ref(&step.program))?;
            if n > 0 {
                losses.push(session.memory.collect()?.loss);
            }
        } else {
            session.run(&step.program, &state)?;
            losses.push(session.memory.read(&step.program, step.ends.loss.sums)[0]);
            session.memory.check()?;
            session.update(&state)?;
        }
        if n >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    if device.queues() {
        losses.push(session.memory.collect()?.loss);
    }
    let peak_bytes = crate::train::budget::peak_memory();
    let mut by_op: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    // The ops' own times are taken where a clock around a node measures it: on a GPU it would measure its launch.
    let timed = if device == Device::Cpu {
        session.watch();
        session.run(&step.program, &StepState::default())?;
        session.watch()
    } else {
        Vec::new()
    };
    for timed in timed {
        let entry = by_op.entry(timed.op).or_default();
        *entry = (entry.0 + timed.seconds, entry.1 + timed.flops);
    }
    let spread = spread(times);
    Ok(StepTime {
        spread,
        samples_per_second: setting.batch as f64 / (spread.median_ms * 1e-3),
        parameters,
        first_loss: losses[0],
        last_loss: losses[losses.len() - 1],
        peak_bytes,
        ops: by_op
            .into_iter()
            .map(|(op, (seconds, flops))| OpTime { op, ms: seconds * 1e3, gflops: flops / seconds * 1e-9 })
            .collect(),
    })
}
