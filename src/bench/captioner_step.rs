//! A captioner's training step on random pictures and words.

use super::step::{StepTime, Steps};
use crate::Result;
use crate::config::{Captioner as Shape, Config, Loss, Optimizer, Train};
use crate::device::Device;
use crate::models::captioner::{Captioner, Ends, Purpose, Session};
use crate::ops::cases::random;
use crate::train::captioner::budget;

/// The picture's size and the vocabulary.
const ENDS: Ends = Ends { height: 224, width: 224, vocabulary: 10_000 };
/// Special tokens, which random words leave out.
const SPECIAL: u32 = 5;

/// What is timed on a device unless settings say otherwise: the step of `benches/peers/captioner_cpu.py`; on a GPU the
/// larger model and batch of `benches/peers/captioner_gpu.py`.
pub fn setting(device: Device) -> Config {
    let shape = Shape { encoder_dropout: 0.0, decoder_dropout: 0.0, max_words: 21, ..Shape::default() };
    let (model, batch) = match device {
        Device::Cuda(_) => {
            let large = Shape {
                width: 512,
                heads: 8,
                feed_forward: 2048,
                encoder_layers: 6,
                decoder_layers: 6,
                max_words: 33,
                ..shape
            };
            (large, 256)
        }
        _ => (shape, 16),
    };
    Config {
        model,
        loss: Loss { label_smoothing: 0.1, ..Loss::default() },
        optimizer: Optimizer { learning_rate: 3e-4, ..Optimizer::default() },
        train: Train { batch, ..Train::default() },
        ..Config::default()
    }
}

/// Times `steps` steps; captions are as long as `model.max_words` allows.
///
/// # Errors
/// If the sizes do not fit, or the device fails.
pub fn run(config: &Config, steps: usize, device: Device) -> Result<StepTime> {
    let model = Captioner::new(&config.model, ENDS)?;
    let planned_bytes = budget(&model, config, device)?.total;
    let mut session = Session::new(model, device, Some(&config.optimizer))?;
    session.initialise(1);
    // A caption goes in without its last token and comes out without its first.
    let (batch, words) = (config.train.batch, config.model.max_words - 1);
    let purpose = Purpose { train: true, both_ways: false, label_smoothing: config.loss.label_smoothing };
    let step = session.step(batch, words, purpose)?;
    let rows = batch * words;
    let pixels = random::bytes(1, batch * ENDS.height * ENDS.width * 3);
    let words = |seed| -> Vec<u32> {
        random::tokens(seed, rows, ENDS.vocabulary as u32 - SPECIAL).iter().map(|t| t + SPECIAL).collect()
    };
    let (shown, targets) = (words(2), words(3));
    let ends = step.ends;
    Steps {
        session: &mut session,
        program: step.program.clone(),
        loss: ends.loss.sums,
        samples: batch,
        planned_bytes,
        learning_rate: config.optimizer.learning_rate,
    }
    .timed(steps, |memory, program| {
        // The picture goes in as bytes each step, as in training.
        memory.write(program, ends.pixels, &pixels);
        memory.write(program, ends.words, &shown);
        memory.write(program, ends.targets, &targets);
        memory.write(program, ends.scale, &[1.0 / rows as f32]);
    })
}
