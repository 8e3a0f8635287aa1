//! Evaluation of the foley model: bits a sample with the clip's own video, with another's, and with none.
//!
//! If another's video is as good as the true one, the decoder only continues sound and ignores what it sees.

use serde::Serialize;

use super::batch::{Batch, gather};
use crate::Result;
use crate::config::SoundLoss;
use crate::data::sound::{Encoding, SoundSplit};
use crate::device::StepState;
use crate::eval::sound::bits::{Bits, bits_per_sample};
use crate::models::foley::{Purpose, Session};
use crate::train::task;

/// The pixel of the video "none": the middle of the range.
const GREY: u8 = 128;

/// What an evaluation found. Means over the clips looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub clips: usize,
    /// With `head = "groups"` the mean squared difference of spectrograms instead, as `unit` says.
    pub bits_per_sample: Bits,
    pub unit: &'static str,
    /// There are frames, so that there is something to ignore.
    pub pictures: bool,
}

impl task::Report for Report {
    fn line(&self) -> String {
        let bits = &self.bits_per_sample;
        if !self.pictures {
            return format!("{:.4} {} over {} clips", bits.own, self.unit, self.clips);
        }
        format!(
            "{:.4} {} (another's video {:+.4} \u{b1} {:.4}, none {:+.4}) over {} clips",
            bits.own,
            self.unit,
            bits.gain(),
            bits.ci95,
            bits.none - bits.own,
            self.clips
        )
    }

    fn judged(&self) -> f64 {
        self.bits_per_sample.own
    }

    fn warning(&self) -> Option<String> {
        let bits = &self.bits_per_sample;
        // Written so that a NaN warns too.
        if !self.pictures || self.clips < 2 || bits.video_helps() {
            return None;
        }
        Some(format!(
            "the decoder ignores the video: another's costs {:+.4} {}, which chance would explain (\u{b1} \
             {:.4}); train longer, or raise the frame rate of the data or model.cross_window",
            bits.gain(),
            self.unit,
            bits.ci95
        ))
    }

    fn curves(&self) -> Vec<(&'static str, f64)> {
        let bits = &self.bits_per_sample;
        vec![
            ("bits_true", bits.own),
            ("bits_other", bits.other),
            ("bits_none", bits.none),
            ("bits_ci95", bits.ci95),
        ]
    }
}

/// Evaluates `session` on these clips of the split, `batch` at a time.
///
/// # Errors
/// If a plan cannot be made.
pub fn evaluate(
    session: &mut Session,
    split: &SoundSplit,
    clips: &[usize],
    encoding: Encoding,
    batch: usize,
) -> Result<Report> {
    let pictures = session.model.ends.frames > 0;
    let mut nats: [Vec<f64>; 3] = Default::default();
    for (number, chunk) in clips.chunks(batch.max(1)).enumerate() {
        let own = gather(split, chunk, encoding);
        nats[0].extend(nats_of(session, &own, &own.frames)?);
        if !pictures {
            continue;
        }
        // Half of the set away, so that neighbours that look alike do not help.
        let first = number * batch.max(1);
        let other: Vec<u8> = (0..chunk.len())
            .flat_map(|i| split.frames(clips[(first + i + clips.len() / 2) % clips.len()]).to_vec())
            .collect();
        nats[1].extend(nats_of(session, &own, &other)?);
        nats[2].extend(nats_of(session, &own, &vec![GREY; own.frames.len()])?);
    }
    if !pictures {
        (nats[1], nats[2]) = (nats[0].clone(), nats[0].clone());
    }
    let bits_per_sample = bits_per_sample(&nats[0], &nats[1], &nats[2]);
    let unit = if session.model.groups() { "of spectrogram loss" } else { "bits a sample" };
    Ok(Report { clips: clips.len(), bits_per_sample, unit, pictures })
}

/// Mean nats a sample of each clip of a batch, seen with `frames`.
fn nats_of(session: &mut Session, batch: &Batch, frames: &[u8]) -> Result<Vec<f64>> {
    let samples = batch.samples();
    let purpose = Purpose::evaluation(session.model.config.head);
    let step = session.step(batch.batch, samples, purpose)?;
    let (program, ends) = (&step.program, step.ends);
    if let Some(id) = ends.frames {
        session.memory.write(program, id, frames);
    }
    let lags = session.model.config.lags;
    let shown = (batch.codes.as_slice(), batch.samples());
    ends.show(&mut session.memory, program, shown, lags, &batch.targets);
    let weights = SoundLoss { spectrogram: 1.0, ..SoundLoss::default() };
    ends.weigh(&mut session.memory, program, &weights, 1.0, samples);
    session.run(program, &StepState::default())?;
    let means = match (ends.losses.cross_entropy, ends.losses.spectrogram) {
        (Some(loss), _) => {
            let nats = session.memory.read(program, loss.nats);
            let sum = |clip: &[f32]| clip.iter().map(|&n| f64::from(n)).sum::<f64>();
            nats.chunks(samples).map(|clip| sum(clip) / samples as f64).collect()
        }
        // Groups have no probabilities: each clip's distance, in the unit that becomes 1 as bits.
        (None, Some((_, loss))) => {
            let distances = session.memory.read(program, loss.clips);
            distances.iter().map(|&distance| f64::from(distance) * std::f64::consts::LN_2).collect()
        }
        (None, None) => Vec::new(),
    };
    session.memory.check()?;
    Ok(means)
}
