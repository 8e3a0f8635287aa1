//! The pitch of a strike: the strongest frequency that it adds to what sounded before.

use super::transform::Spectrum;

/// Seconds of the windows before and after a strike, and how long after it the second one begins.
const WINDOW: f64 = 0.04;
const AFTER: f64 = 0.002;
/// Hertz among which a pitch is looked for.
const LOWEST: f64 = 100.0;
/// Zeros fill the windows up to this many times their length: bins are then about 3 Hz apart.
const FILL: usize = 8;
/// Softer than this, as an amplitude, is no strike.
const SILENT: f32 = 0.005;

/// The pitch in hertz of a sound that starts `seconds` into the signal; `None` where nothing starts.
///
/// It is the largest peak of `|S after| - |S before|`, the magnitudes over 40 ms with a Hann window after and before the
/// strike, from 100 Hz up, placed between the bins by the parabola through the peak and its neighbours.
pub fn strike_pitch(signal: &[f32], rate: f64, seconds: f64) -> Option<f64> {
    let window = ((WINDOW * rate).round() as usize).max(8);
    let size = (window * FILL).next_power_of_two();
    let mut spectrum = Spectrum::new(window, size);
    let at = (seconds * rate).round() as isize;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    spectrum.magnitudes(signal, at - window as isize, &mut before);
    spectrum.magnitudes(signal, at + (AFTER * rate).round() as isize, &mut after);
    let added: Vec<f32> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let lowest = ((LOWEST * size as f64 / rate).ceil() as usize).max(1);
    let inner = lowest..added.len().saturating_sub(1).max(lowest);
    let peak = inner.max_by(|&a, &b| added[a].total_cmp(&added[b]))?;
    if added[peak] * 2.0 / spectrum.weight() < SILENT {
        return None;
    }
    let (low, middle, high) = (added[peak - 1], added[peak], added[peak + 1]);
    let bend = low - 2.0 * middle + high;
    let shift = if bend < 0.0 { (0.5 * (low - high) / bend).clamp(-0.5, 0.5) } else { 0.0 };
    Some((peak as f64 + f64::from(shift)) * rate / size as f64)
}

/// How many strikes sound at their pitch. Counts of several clips add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Pitches {
    pub right: usize,
    pub strikes: usize,
}

impl Pitches {
    /// The share that is right; 1 where there are no strikes.
    pub fn share(&self) -> f64 {
        if self.strikes == 0 { 1.0 } else { self.right as f64 / self.strikes as f64 }
    }
}

impl std::ops::AddAssign for Pitches {
    fn add_assign(&mut self, other: Pitches) {
        self.right += other.right;
        self.strikes += other.strikes;
    }
}

/// Listens at the found onset that is nearest to each true strike `(seconds, hertz)`, within `tolerance`; a strike that
/// was not found, or that sounds half a semitone (3 %) or more from its pitch, is wrong.
pub fn pitches(signal: &[f32], rate: f64, found: &[f64], strikes: &[(f64, f64)], tolerance: f64) -> Pitches {
    let right = strikes.iter().filter(|&&(seconds, hertz)| {
        let nearest =
            found.iter().copied().min_by(|a, b| (a - seconds).abs().total_cmp(&(b - seconds).abs()));
        nearest
            .filter(|onset| (onset - seconds).abs() <= tolerance)
            .and_then(|onset| strike_pitch(signal, rate, onset))
            .is_some_and(|heard| 12.0 * (heard / hertz).log2().abs() < 0.5)
    });
    Pitches { right: right.count(), strikes: strikes.len() }
}
