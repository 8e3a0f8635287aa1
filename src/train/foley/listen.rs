//! What a trained model makes of held-out clips, beside their own sound: onsets, pitch, spectra, and pages to hear both.

use serde::Serialize;

use crate::Result;
use crate::data::codes;
use crate::data::sound::{Encoding, SoundSplit};
use crate::decode::sampling::Sampling;
use crate::decode::{Request, Tick, sound};
use crate::eval::sound::{Judge, Verdict};
use crate::look::heard::Heard;
use crate::models::foley::{Ends, Session};
use crate::ops::patches::CHANNELS;

/// Sounds that were made for clips of a split.
#[derive(Debug)]
pub struct Listened {
    /// Each clip with both sounds, in the order of the clips.
    pub heard: Vec<Heard>,
    pub report: Report,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The same of the clips' own sounds dealt to other clips: what chance gives.
    pub onset_f1_dealt: f64,
    /// Of all clips side by side.
    pub samples_per_second: f64,
}

/// Makes the sound of these clips, all at once, and judges it.
///
/// # Errors
/// If a plan cannot be made.
pub fn listen(
    session: &mut Session,
    split: &SoundSplit,
    clips: &[usize],
    encoding: Encoding,
    sampling: Sampling,
    progress: &mut dyn FnMut(Tick),
) -> Result<Listened> {
    let ends = session.model.ends;
    let frames: Vec<u8> = clips.iter().flat_map(|&clip| split.frames(clip).to_vec()).collect();
    let request =
        Request { clips: clips.len(), frames: &frames, samples: ends.samples, prompt: &[], sampling };
    let made = sound(session, &request, progress)?;
    let rate = f64::from(ends.sample_rate);
    let (mut judge, mut chance) = (Judge::default(), Judge::default());
    let mut shown = Vec::new();
    for (place, (&clip, codes_of)) in clips.iter().zip(&made.codes).enumerate() {
        let truth = codes::decode_all(encoding, split.samples(clip));
        let model: Vec<f32> = codes_of.iter().map(|&code| codes::decode(encoding, code as u16)).collect();
        let strikes = split.strikes(clip);
        judge.hear(&truth, &model, rate, strikes);
        let other = clips[(place + clips.len() / 2) % clips.len()];
        chance.hear(&truth, &codes::decode_all(encoding, split.samples(other)), rate, strikes);
        shown.push(heard(ends, split, clip, encoding, codes_of));
    }
    let report = Report {
        verdict: judge.verdict(),
        onset_f1_dealt: chance.verdict().onset_f1,
        samples_per_second: made.samples_per_second,
    };
    Ok(Listened { heard: shown, report })
}

/// A clip with its own sound and what a model made of it, which may end earlier: then all of it ends there.
pub(super) fn heard(ends: Ends, split: &SoundSplit, clip: usize, encoding: Encoding, made: &[u32]) -> Heard {
    let samples = made.len().min(ends.samples);
    let seconds = samples as f64 / f64::from(ends.sample_rate);
    let frames = (ends.frames * samples).div_ceil(ends.samples.max(1));
    let (numerator, denominator) = ends.frame_rate;
    let strikes = split.strikes(clip).iter().map(|strike| f64::from(strike.seconds));
    Heard {
        key: split.key(clip).to_string(),
        frames: split.frames(clip)[..frames * ends.height * ends.width * CHANNELS].to_vec(),
        shape: (frames, ends.height, ends.width),
        frame_rate: f64::from(numerator) / f64::from(denominator),
        rate: ends.sample_rate,
        truth: codes::decode_all(encoding, &split.samples(clip)[..samples * encoding.bytes()]),
        model: made.iter().map(|&code| codes::decode(encoding, code as u16)).collect(),
        strikes: strikes.filter(|&second| second < seconds).collect(),
        note: String::new(),
    }
}
