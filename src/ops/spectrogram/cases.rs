//! Cases of the spectrogram loss: the gradient that the op itself writes is checked against differences of the loss.

use super::{FLOOR, Measure, Mel, RESOLUTIONS, Settings, multi_resolution_loss, reference, spectrogram_loss};
use crate::ops::cases::{Case, Gradient, Input, random};
use crate::ops::elementwise::Add;

const SCALE: f32 = 0.75;
/// Signals are about as loud as speech.
const LOUDNESS: f32 = 0.3;
/// A floor that does not make a quiet bin's logarithm rule the gradient: f32's roundings would be seen there alone.
const HIGH_FLOOR: f32 = 1e-2;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let magnitude = Settings::default();
    let small = Settings { fft: 64, window: 64, hop: 32, ..magnitude };
    // One sample, and lengths around a hop and around a window.
    for samples in [1, 255, 256, 257, 1000] {
        cases.push(case(2, samples, magnitude, LOUDNESS));
    }
    // A hop that does not divide the window, one above it, one of 1; windows below the transform, odd ones, one of 1.
    for (fft, window, hop) in
        [(64, 64, 7), (64, 64, 100), (64, 5, 1), (128, 127, 50), (256, 100, 64), (512, 240, 50), (64, 1, 3)]
    {
        cases.push(case(3, 300, Settings { fft, window, hop, ..magnitude }, LOUDNESS));
    }
    // The largest transforms, and one whose length is an odd power of two.
    for (fft, window) in [(1024, 600), (2048, 300), (4096, 100)] {
        cases.push(case(1, 700, Settings { fft, window, hop: 240, ..magnitude }, LOUDNESS));
    }
    // More than one piece of a clip on either device.
    cases.push(case(1, 2500, Settings { hop: 40, ..small }, LOUDNESS));
    let mel = Measure::Mel(Mel { bands: 10, sample_rate: 16_000, low: 200.0, high: 7000.0 });
    let convergence = Measure::Convergence { floor: HIGH_FLOOR };
    for measure in [Measure::Power, Measure::Log { floor: HIGH_FLOOR }, mel, convergence] {
        cases.push(case(3, 257, Settings { measure, ..small }, LOUDNESS));
        cases.push(case(
            2,
            500,
            Settings { measure, fft: 512, window: 240, hop: 50, joined: false },
            LOUDNESS,
        ));
    }
    cases.push(case(4, 75, Settings { joined: true, ..small }, LOUDNESS));
    // Digital silence predicted: the gradient is 0 and not NaN.
    for measure in [Measure::Magnitude, Measure::Power, Measure::Log { floor: FLOOR }, mel, convergence] {
        cases.push(case(2, 257, Settings { measure, ..small }, 0.0));
    }
    cases.push(three_resolutions());
    cases.extend(timed());
    cases
}

/// The multi-resolution loss: three contributions to one gradient.
fn three_resolutions() -> Case {
    const CLIPS: usize = 2;
    const SAMPLES: usize = 130;
    let inputs = vec![
        Input::activation(&[CLIPS, SAMPLES], LOUDNESS),
        Input::fixed(&[CLIPS, SAMPLES], random::normal(77, CLIPS * SAMPLES, LOUDNESS)),
        Input::fixed(&[1], vec![SCALE]),
    ];
    Case::new("spectrogram loss", "three resolutions", inputs, |g, x| {
        let [a, b, c] = multi_resolution_loss(g, x[0], x[1], x[2], HIGH_FLOOR, true)?;
        let mut total = a.sums;
        for other in [b.sums, c.sums] {
            let sum = g.activation_f32("total", &[2]);
            g.push(Add { len: 2 }, &[total, other], &[sum]);
            total = sum;
        }
        Ok(vec![total])
    })
    .gradient(Gradient::Loss)
    .against(|x| {
        let mut total = vec![0.0, 0.0];
        for (fft, hop, window) in RESOLUTIONS {
            let measure = Measure::Convergence { floor: HIGH_FLOOR };
            let settings = Settings { fft, window, hop, measure, joined: false };
            let loss = &reference::loss(&settings, CLIPS, &x[0], &x[1], f64::from(SCALE) / 3.0)[0];
            total.iter_mut().zip(loss).for_each(|(total, loss)| *total += loss);
        }
        vec![total]
    })
}

/// The ancestor's settings at the size of a training step, on the CPU and on a GPU, and the three resolutions.
fn timed() -> Vec<Case> {
    let convergence = Measure::Convergence { floor: FLOOR };
    let mut settings = vec![Settings::default()];
    settings.extend(super::RESOLUTIONS.map(|(fft, hop, window)| Settings {
        fft,
        window,
        hop,
        measure: convergence,
        joined: false,
    }));
    let mut cases: Vec<Case> =
        settings.into_iter().map(|settings| traced(16, 16_000, settings, LOUDNESS)).collect();
    cases.push(traced(64, 16_000, Settings::default(), LOUDNESS));
    cases
}

fn case(clips: usize, samples: usize, settings: Settings, loudness: f32) -> Case {
    let signals = if settings.joined { 1 } else { clips };
    traced(clips, samples, settings, loudness)
        .against(move |x| reference::loss(&settings, signals, &x[0], &x[1], f64::from(SCALE)))
}

fn traced(clips: usize, samples: usize, settings: Settings, loudness: f32) -> Case {
    let Settings { fft, window, hop, measure, joined } = settings;
    let mut target = random::normal(77, clips * samples, LOUDNESS);
    if clips > 2 {
        target[..samples].fill(0.0); // a silent clip
    }
    let inputs = vec![
        Input::activation(&[clips, samples], loudness),
        Input::fixed(&[clips, samples], target),
        Input::fixed(&[1], vec![SCALE]),
    ];
    let measured = match measure {
        Measure::Magnitude => "magnitude".into(),
        Measure::Power => "power".into(),
        Measure::Log { .. } => "log".into(),
        Measure::Mel(mel) => format!("{} mel bands", mel.bands),
        Measure::Convergence { .. } => "convergence".to_string(),
    };
    let name = format!(
        "{}{clips} x {samples}{}, {measured}, transform {fft}, window {window}, hop {hop}",
        if loudness == 0.0 { "silence, " } else { "" },
        if joined { " joined" } else { "" },
    );
    Case::new("spectrogram loss", name, inputs, move |g, x| {
        let loss = spectrogram_loss(g, x[0], x[1], settings, x[2], true)?;
        Ok(vec![loss.sums, loss.clips])
    })
    .gradient(Gradient::Loss)
}
