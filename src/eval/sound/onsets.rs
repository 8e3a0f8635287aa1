//! When something begins to sound: spectral flux with a threshold that follows the sound.

use super::transform::Spectrum;

/// Two onsets are the same within this many seconds.
pub const TOLERANCE: f64 = 0.05;

/// Seconds of a window and from one to the next: short enough to place an onset within a few milliseconds, long enough
/// to tell partials 125 Hz apart.
const WINDOW: f64 = 0.016;
const HOP: f64 = 0.004;
/// Rises are measured over this many hops, about half a window.
const LAG: usize = 2;
/// Above this many hertz strikes have no strong partials, and noise has most of its bins.
const HIGHEST: f64 = 2000.0;
/// How loud something must be to count: amplitudes far below 1 / COMPRESSION hardly do.
const COMPRESSION: f32 = 20.0;
/// The least flux of an onset: about that of a sine that starts with an amplitude of 0.04.
const LEAST: f32 = 1.5;
/// An onset's flux is at least this many times the mean flux around it.
const STANDS_OUT: f32 = 1.6;
/// Hops on each side that "around" means.
const AROUND: usize = 25;
/// Onsets closer than this many seconds are one; its flux is the largest among them.
const MERGE: f64 = 0.032;

/// The times in seconds at which sounds begin, in ascending order.
///
/// With A the amplitudes of a short-time Fourier transform (16 ms Hann windows every 4 ms, up to 2 kHz), the flux of a
/// window is `sum_k max(0, ln(1 + 20 A_k(t)) - ln(1 + 20 A_k(t - 8 ms)))`. An onset is a window whose flux is the largest
/// within 32 ms on both sides, is at least 1.5, and at least 1.6 times the mean over 100 ms on both sides; its time is
/// the middle of its window.
pub fn onsets(signal: &[f32], rate: f64) -> Vec<f64> {
    let window = ((WINDOW * rate).round() as usize).max(4);
    let hop = HOP * rate;
    let flux = flux(signal, rate, window);
    let near = (MERGE / HOP).round() as usize;
    let mut times = Vec::new();
    for (t, &value) in flux.iter().enumerate() {
        let span = |reach: usize| t.saturating_sub(reach)..(t + reach + 1).min(flux.len());
        let mean = flux[span(AROUND)].iter().sum::<f32>() / (2 * AROUND + 1) as f32;
        // The first of equal ones.
        let largest = flux[span(near)].iter().enumerate().all(|(i, &other)| {
            let earlier = t.saturating_sub(near) + i < t;
            if earlier { other < value } else { other <= value }
        });
        if value >= LEAST && value >= STANDS_OUT * mean && largest {
            let middle = start(t, hop, window) as f64 + window as f64 / 2.0;
            times.push((middle / rate).max(0.0));
        }
    }
    times
}

/// Where window t begins. The last window ends with the signal: a sound that is cut off there is no onset. The first ones lie before the signal, so that a sound at its very start rises as well.
fn start(t: usize, hop: f64, window: usize) -> isize {
    (t as f64 * hop).round() as isize - window as isize
}

/// The flux of each window.
fn flux(signal: &[f32], rate: f64, window: usize) -> Vec<f32> {
    let hop = HOP * rate;
    let mut spectrum = Spectrum::new(window, window);
    let scale = COMPRESSION * 2.0 / spectrum.weight();
    let bins = spectrum.bins().min((HIGHEST * window as f64 / rate).floor() as usize + 1);
    let count = (signal.len() as f64 / hop) as usize + 1;
    let mut magnitudes = Vec::new();
    let mut before: Vec<Vec<f32>> = vec![vec![0.0; bins]; LAG];
    let mut flux = Vec::with_capacity(count);
    for t in 0..count {
        spectrum.magnitudes(signal, start(t, hop, window), &mut magnitudes);
        let now: Vec<f32> = magnitudes[..bins].iter().map(|value| (value * scale).ln_1p()).collect();
        let then = &mut before[t % LAG];
        flux.push(now.iter().zip(then.iter()).map(|(now, then)| (now - then).max(0.0)).sum());
        *then = now;
    }
    flux
}

/// How many onsets were found, of how many that are there. Counts of several clips add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Matches {
    /// Found ones that have a true one of their own within the tolerance.
    pub hits: usize,
    pub found: usize,
    pub truth: usize,
}

impl Matches {
    /// The share of the found ones that are true; 1 where none was found.
    pub fn precision(&self) -> f64 {
        share(self.hits, self.found)
    }

    /// The share of the true ones that were found; 1 where there is none.
    pub fn recall(&self) -> f64 {
        share(self.hits, self.truth)
    }

    /// `2 hits / (found + truth)`, the harmonic mean of precision and recall; 1 where there is nothing to find and
    /// nothing was found.
    pub fn f1(&self) -> f64 {
        share(2 * self.hits, self.found + self.truth)
    }
}

impl std::ops::AddAssign for Matches {
    fn add_assign(&mut self, other: Matches) {
        self.hits += other.hits;
        self.found += other.found;
        self.truth += other.truth;
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Pairs found times with true ones, each at most once, at most `tolerance` seconds apart. Both ascend; walking along
/// them and pairing the first two that are near enough gives the most pairs there can be.
pub fn match_times(found: &[f64], truth: &[f64], tolerance: f64) -> Matches {
    let (mut i, mut j, mut hits) = (0, 0, 0);
    while i < found.len() && j < truth.len() {
        let gap = found[i] - truth[j];
        if gap.abs() <= tolerance {
            (i, j, hits) = (i + 1, j + 1, hits + 1);
        } else if gap < 0.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    Matches { hits, found: found.len(), truth: truth.len() }
}
