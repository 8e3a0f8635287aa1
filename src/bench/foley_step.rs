//! A foley model's training step on random sound without pictures.

use super::step::{StepTime, Steps};
use crate::config::Model;
use crate::config::foley::{Foley as Shape, Recompute};
use crate::config::{SoundLoss, Train};
use crate::device::Device;
use crate::models::foley::{Ends, Foley, Purpose, START, Session};
use crate::ops::cases::random;
use crate::ops::waveform::{CODES, Codes};
use crate::train::foley::{Config, budget};
use crate::{Error, Result};

/// Samples of a clip: a second.
pub const SAMPLES: usize = 16_000;
/// The same on a GPU: four seconds.
pub const SAMPLES_ON_A_GPU: usize = 64_000;

/// What is timed on a device unless settings say otherwise: the step of `benches/peers/banded.py`; on a GPU a larger one.
pub fn setting(device: Device) -> Config {
    let model = match device {
        Device::Cuda(_) => Shape { decoder_layers: 8, width: 512, heads: 8, window: 512, ..Shape::default() },
        _ => Shape { recompute: Recompute::FeedForward, ..Shape::default() },
    };
    let (optimizer, schedule, train) = Shape::defaults();
    let train = Train { batch: 1, ..train };
    Config { model, loss: SoundLoss::default(), optimizer, schedule, train }
}

/// Samples of a clip on this device.
pub fn samples(device: Device) -> usize {
    if matches!(device, Device::Cuda(_)) { SAMPLES_ON_A_GPU } else { SAMPLES }
}

/// Times `steps` steps on clips of `samples` samples.
///
/// # Errors
/// If the sizes do not fit, spectrogram losses are asked for, or the device fails.
pub fn run(config: &Config, samples: usize, steps: usize, device: Device) -> Result<StepTime> {
    let ends = Ends {
        height: 0,
        width: 0,
        frames: 0,
        frame_rate: (0, 1),
        samples,
        sample_rate: 16_000,
        classes: CODES,
        codes: Codes::MuLaw,
    };
    let model = Foley::new(&config.model, ends)?;
    let planned_bytes = budget(&model, config, device)?.total;
    let mut session = Session::new(model, device, Some(&config.optimizer))?;
    session.initialise(1);
    let (batch, purpose) = (config.train.batch, Purpose::training(&config.loss));
    let step = session.step(batch, samples, purpose)?;
    let [loss] = step.ends.losses.terms()[..] else {
        return Err(Error::usage("bench foley-step times one loss: leave the others' weights at 0"));
    };
    let targets = random::tokens(3, batch * samples, CODES as u32);
    let mut shown = Vec::with_capacity(targets.len());
    for clip in targets.chunks(samples) {
        shown.push(START);
        shown.extend(&clip[..samples - 1]);
    }
    let (ends, lags, weights) = (step.ends, config.model.lags, config.loss.clone());
    Steps {
        session: &mut session,
        program: step.program.clone(),
        loss,
        samples: batch * samples,
        planned_bytes,
        learning_rate: config.optimizer.learning_rate,
    }
    .timed(steps, |memory, program| {
        ends.show(memory, program, (&shown, samples), lags, &targets);
        ends.weigh(memory, program, &weights, 1.0 / (batch * samples) as f32, batch * samples);
    })
}
