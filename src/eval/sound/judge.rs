//! All that is said of a model's sounds for scenes, over many clips.

use serde::Serialize;

use super::bits::Mean;
use super::distance::spectral_distance;
use super::onsets::{Matches, TOLERANCE, match_times, onsets};
use super::pitch::{Pitches, pitches};
use crate::data::sound::Strike;

/// What was heard in one clip, or in several added up.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    onsets: Matches,
    pitches: Pitches,
    distances: Vec<f64>,
}

/// The figures of a [`Judge`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verdict {
    /// Clips.
    pub clips: usize,
    /// Of onsets within 50 ms of the strikes, over all clips together. These and the pitch are no numbers (NaN, in JSON
    /// null) where no strike is known, as of films.
    pub onset_f1: f64,
    pub onset_precision: f64,
    pub onset_recall: f64,
    /// The share of the strikes that sound, within half a semitone, at their pitch.
    pub pitch_right: f64,
    /// The multi-resolution STFT distance to the true sound, the mean over the clips.
    pub spectral_distance: Mean,
}

impl Verdict {
    /// Whether there were strikes to be judged by.
    pub fn knows_strikes(&self) -> bool {
        !self.onset_f1.is_nan()
    }
}

impl Judge {
    /// Listens to a clip: the true sound, the model's, and what strikes there are.
    pub fn hear(&mut self, truth: &[f32], model: &[f32], rate: f64, strikes: &[Strike]) {
        let found = onsets(model, rate);
        let times: Vec<f64> = strikes.iter().map(|strike| f64::from(strike.seconds)).collect();
        self.onsets += match_times(&found, &times, TOLERANCE);
        let strikes: Vec<(f64, f64)> =
            strikes.iter().map(|strike| (f64::from(strike.seconds), f64::from(strike.hertz))).collect();
        self.pitches += pitches(model, rate, &found, &strikes, TOLERANCE);
        self.distances.push(spectral_distance(truth, model));
    }

    pub fn verdict(&self) -> Verdict {
        let known = |share: f64| if self.onsets.truth == 0 { f64::NAN } else { share };
        Verdict {
            clips: self.distances.len(),
            onset_f1: known(self.onsets.f1()),
            onset_precision: known(self.onsets.precision()),
            onset_recall: known(self.onsets.recall()),
            pitch_right: known(self.pitches.share()),
            spectral_distance: Mean::of(&self.distances),
        }
    }
}
