//! What is kept of an evaluation: a few held-out clips as the model makes them sound, beside their own sound.

use super::listen::heard;
use crate::Result;
use crate::data::sound::{Encoding, SoundSplit};
use crate::decode::sampling::Sampling;
use crate::decode::{Request, sound};
use crate::look::heard::page;
use crate::look::spectrogram::spectrograms;
use crate::look::wav::playable_wav;
use crate::models::foley::Session;
use crate::train::record::Record;

/// Which clips are made to sound, and how much of each.
#[derive(Debug)]
pub(super) struct Samples {
    pub clips: Vec<usize>,
    /// Samples of each.
    pub length: usize,
    /// The same in every evaluation, so that only the model differs from one to the next.
    pub seed: u64,
}

impl Samples {
    /// Makes the sounds and keeps them; returns a line that says so, where there are any.
    ///
    /// # Errors
    /// If a plan cannot be made, or a file cannot be written.
    pub(super) fn keep(
        &self,
        record: &mut Record,
        step: u64,
        session: &mut Session,
        split: &SoundSplit,
        encoding: Encoding,
    ) -> Result<Option<String>> {
        if self.clips.is_empty() || self.length == 0 {
            return Ok(None);
        }
        let ends = session.model.ends;
        let frames: Vec<u8> = self.clips.iter().flat_map(|&clip| split.frames(clip).to_vec()).collect();
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: self.seed };
        let request =
            Request { clips: self.clips.len(), frames: &frames, samples: self.length, prompt: &[], sampling };
        let made = sound(session, &request, &mut |_| {})?;
        let mut shown = Vec::new();
        for (number, (&clip, codes)) in self.clips.iter().zip(&made.codes).enumerate() {
            let heard = heard(ends, split, clip, encoding, codes);
            let number = number + 1;
            for (name, wave) in [("truth", &heard.truth), ("model", &heard.model)] {
                record.sample(step, &format!("-{number}-{name}.wav"), &playable_wav(wave, heard.rate)?)?;
            }
            let sounds = [("Truth", heard.truth.as_slice()), ("Model", heard.model.as_slice())];
            let picture = spectrograms(&sounds, f64::from(heard.rate), &heard.strikes)?;
            let tag = format!("sound/{number}");
            record.image(&tag, step, &picture.png()?, picture.height, picture.width)?;
            shown.push(heard);
        }
        let title = format!("Evoke: what the model hears at step {step}");
        record.sample(step, ".html", page(&title, &[], &shown)?.as_bytes())?;
        Ok(Some(format!(
            "{} clips made to sound, {:.2} s each at {:.0} samples/s: samples/step-{step:08}.html",
            shown.len(),
            self.length as f64 / f64::from(ends.sample_rate),
            made.samples_per_second
        )))
    }
}
