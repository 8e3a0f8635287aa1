//! The loss in f64, by the definition: sums of products with cosines and sines, bin by bin.

use std::f64::consts::TAU;

use super::{Measure, Settings};

/// `[scale * share * loss, loss]`, then each clip's loss.
pub(in crate::ops) fn loss(
    settings: &Settings,
    clips: usize,
    predicted: &[f64],
    target: &[f64],
    factor: f64,
) -> Vec<Vec<f64>> {
    let samples = target.len() / clips;
    let of_clips: Vec<f64> = predicted
        .chunks_exact(samples)
        .zip(target.chunks_exact(samples))
        .map(|(predicted, target)| {
            of_clip(settings, &magnitudes(settings, predicted), &magnitudes(settings, target))
        })
        .collect();
    let mean = of_clips.iter().sum::<f64>() / clips as f64;
    vec![vec![mean * factor, mean], of_clips]
}

fn of_clip(settings: &Settings, predicted: &[f64], target: &[f64]) -> f64 {
    let mean = |values: &dyn Fn(f64, f64) -> f64| {
        predicted.iter().zip(target).map(|(s, t)| values(*s, *t)).sum::<f64>() / predicted.len() as f64
    };
    let log = |s: f64, floor: f32| 0.5 * (s * s + f64::from(floor)).ln();
    match settings.measure {
        Measure::Magnitude => mean(&|s, t| (s - t).powi(2)),
        Measure::Power => mean(&|s, t| (s * s - t * t).powi(2)),
        Measure::Log { floor } => mean(&|s, t| (log(s, floor) - log(t, floor)).powi(2)),
        Measure::Mel(mel) => {
            let (borders, bins) = (mel.borders(settings.fft), settings.bins());
            let band = |frame: &[f64], i: usize| -> f64 {
                let weight = |k: usize| {
                    let rise = (k as f64 - borders[i]) / (borders[i + 1] - borders[i]);
                    let fall = (borders[i + 2] - k as f64) / (borders[i + 2] - borders[i + 1]);
                    rise.min(fall).max(0.0)
                };
                frame.iter().enumerate().map(|(k, s)| weight(k) * s).sum()
            };
            let frames = predicted.chunks_exact(bins).zip(target.chunks_exact(bins));
            let squares =
                frames.map(|(s, t)| (0..mel.bands).map(|i| (band(s, i) - band(t, i)).powi(2)).sum::<f64>());
            squares.sum::<f64>() / (predicted.len() / bins * mel.bands) as f64
        }
        Measure::Convergence { floor } => {
            let log = mean(&|s, t| (log(s, floor) - log(t, floor)).abs());
            let (squares, power) = (mean(&|s, t| (s - t).powi(2)), mean(&|_, t| t * t));
            if power <= f64::from(floor) { log } else { (squares / power).sqrt() + log }
        }
    }
}

/// (frames, bins)
fn magnitudes(settings: &Settings, signal: &[f64]) -> Vec<f64> {
    let Settings { fft, hop, .. } = *settings;
    let window = settings.hann();
    let circle: Vec<(f64, f64)> = (0..fft).map(|i| (TAU * i as f64 / fft as f64).sin_cos()).collect();
    let mut out = Vec::new();
    for frame in 0..settings.frames(signal.len()) {
        let windowed: Vec<f64> = signal[frame * hop..].iter().zip(&window).map(|(x, w)| x * w).collect();
        for bin in 0..settings.bins() {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, x) in windowed.iter().enumerate() {
                let (sin, cos) = circle[n * bin % fft];
                re += x * cos;
                im -= x * sin;
            }
            out.push((re * re + im * im).sqrt());
        }
    }
    out
}
