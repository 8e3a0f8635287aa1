//! Cases of the expected waveform, alone and beside a cross-entropy of the same logits.

use super::{CODES, Codes, expected_waveform};
use crate::ops::cases::reference::{row, softmax};
use crate::ops::cases::{Case, Gradient, Input, random};
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::spectrogram::{Settings, spectrogram_loss};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for codes in [Codes::MuLaw, Codes::Linear] {
        for (rows, deviation) in [(1, 1.0), (9, 2.0), (70, 1.0)] {
            cases.push(case(rows, codes, deviation).against(move |x| vec![wave(&x[0], codes)]));
        }
    }
    // Logits that overflow an exponential which does not subtract the largest first.
    cases.push(case(5, Codes::MuLaw, 300.0).against(|x| vec![wave(&x[0], Codes::MuLaw)]));
    cases.push(case(16_000, Codes::MuLaw, 1.0));
    cases.push(both());
    cases
}

fn case(rows: usize, codes: Codes, deviation: f32) -> Case {
    let name = format!("{rows} rows, {codes:?}, logits of {deviation}");
    Case::new("expected waveform", name, vec![Input::activation(&[rows, CODES], deviation)], move |g, x| {
        Ok(vec![expected_waveform(g, x[0], codes, true)?])
    })
}

/// Logits with two readers: the gradient is that of both losses, of which the case's first output is the sum.
fn both() -> Case {
    const CLIPS: usize = 2;
    const SAMPLES: usize = 70;
    const ROWS: usize = CLIPS * SAMPLES;
    const SCALES: [f32; 2] = [1.0 / ROWS as f32, 0.5];
    let settings = Settings { fft: 64, window: 64, hop: 32, ..Settings::default() };
    let inputs = vec![
        Input::activation(&[ROWS, CODES], 1.0),
        Input::tokens(&[ROWS], random::tokens(4, ROWS, CODES as u32 - 1).iter().map(|t| t + 1).collect()),
        Input::fixed(&[1], vec![SCALES[0]]),
        Input::fixed(&[CLIPS, SAMPLES], random::normal(5, ROWS, 0.3)),
        Input::fixed(&[1], vec![SCALES[1]]),
    ];
    Case::new("expected waveform", "beside cross-entropy", inputs, move |g, x| {
        let wave = expected_waveform(g, x[0], Codes::MuLaw, true)?;
        let spectra = spectrogram_loss(g, wave, x[3], settings, x[4], true)?;
        let words = cross_entropy(g, x[0], x[1], x[2], 0.0, true)?;
        // Both losses of the step in one number, which is what the gradient is checked against.
        let total = g.activation_f32("total", &[2]);
        g.push(crate::ops::elementwise::Add { len: 2 }, &[spectra.sums, words.sums], &[total]);
        Ok(vec![total])
    })
    .gradient(Gradient::Loss)
    .against(move |x| {
        let spectra = crate::ops::spectrogram::reference_loss(
            &settings,
            CLIPS,
            &wave(&x[0], Codes::MuLaw),
            &x[3],
            f64::from(SCALES[1]),
        );
        let nats: f64 = x[1]
            .iter()
            .enumerate()
            .map(|(i, code)| -softmax(row(&x[0], i, CODES))[*code as usize].ln())
            .sum();
        vec![vec![spectra[0][0] + nats * f64::from(SCALES[0]), spectra[0][1] + nats]]
    })
}

fn wave(logits: &[f64], codes: Codes) -> Vec<f64> {
    let values = codes.values();
    logits.chunks_exact(CODES).map(|row| softmax(row).iter().zip(values).map(|(p, v)| p * v).sum()).collect()
}
