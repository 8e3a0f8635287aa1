//! What a spectrogram is made of: frames, window, transform, and what is compared.

use std::f64::consts::PI;

use crate::{Error, Result};

/// Lengths of a transform, powers of two: the smallest and the largest that kernels are made for.
pub const SMALLEST: usize = 64;
pub const LARGEST: usize = 4096;
/// Most mel bands: their borders travel to the kernel by value.
pub const MOST_BANDS: usize = 128;

/// Below this power a bin is as good as silent: logarithms are of |S|^2 + floor (Parallel WaveGAN cuts there too).
pub const FLOOR: f32 = 1e-7;

/// What is compared, bin by bin, of |S| of the prediction and |T| of the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// Mean of (|S| - |T|)^2.
    Magnitude,
    /// Mean of (|S|^2 - |T|^2)^2.
    Power,
    /// Mean of (log S - log T)^2, where log S = 1/2 ln(|S|^2 + floor): smooth, so silence has the gradient 0.
    Log { floor: f32 },
    /// Mean of (mel S - mel T)^2 over bands of magnitudes.
    Mel(Mel),
    /// One resolution of the multi-resolution loss (Yamamoto 2020): by clip |T - S|_F / |T|_F + mean |log T - log S|, and
    /// the mean over the clips. The first term is left out for a clip whose target's mean power is at most the floor:
    /// beside silence a ratio says nothing.
    Convergence { floor: f32 },
}

/// Triangles on the mel scale (HTK: 2595 log10(1 + hertz / 700)), each 1 at its centre and 0 at its neighbours' centres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mel {
    pub bands: usize,
    /// Samples a second.
    pub sample_rate: u32,
    /// Hertz: where the first triangle begins, and where the last one ends.
    pub low: f32,
    pub high: f32,
}

impl Mel {
    /// The `bands + 2` borders of the triangles, in bins of a transform of `fft` samples: triangle `i` rises from border
    /// `i` to `i + 1` and falls to `i + 2`.
    pub fn borders(&self, fft: usize) -> Vec<f64> {
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let (low, high) = (mel(f64::from(self.low)), mel(f64::from(self.high)));
        let step = (high - low) / (self.bands + 1) as f64;
        (0..self.bands + 2)
            .map(|i| {
                let hertz = 700.0 * (10f64.powf((low + step * i as f64) / 2595.0) - 1.0);
                hertz * fft as f64 / f64::from(self.sample_rate)
            })
            .collect()
    }
}

/// A spectrogram loss. Frame `f` is samples `f * hop .. f * hop + window` (tf.signal), zeros beyond the end, under a
/// periodic Hann window, zero-padded to `fft`; a clip has ceil(samples / hop) frames of fft / 2 + 1 bins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub fft: usize,
    pub window: usize,
    pub hop: usize,
    pub measure: Measure,
    /// The batch is one signal, its clips end to end, as in this project's ancestor.
    pub joined: bool,
}

impl Default for Settings {
    /// The ancestor's: window 512, hop 256, squared differences of magnitudes.
    fn default() -> Self {
        Settings { fft: 512, window: 512, hop: 256, measure: Measure::Magnitude, joined: false }
    }
}

/// The three resolutions of the multi-resolution loss (Yamamoto 2020): transform, hop, window.
pub const RESOLUTIONS: [(usize, usize, usize); 3] = [(1024, 120, 600), (2048, 240, 1200), (512, 50, 240)];

impl Settings {
    /// # Errors
    /// If a length is not one that works; the line says which are.
    pub fn check(&self) -> Result<()> {
        let Settings { fft, window, hop, .. } = *self;
        let wrong = |line: String| Err(Error::usage(format!("spectrogram: {line}")));
        if !fft.is_power_of_two() || !(SMALLEST..=LARGEST).contains(&fft) {
            return wrong(format!(
                "a transform of {fft}, but it must be a power of two, {SMALLEST} to {LARGEST}"
            ));
        }
        if window == 0 || window > fft {
            return wrong(format!("a window of {window}, but it must be 1 to the transform's {fft}"));
        }
        if hop == 0 {
            return wrong("a hop of 0, but it must be at least 1".into());
        }
        match self.measure {
            Measure::Log { floor } | Measure::Convergence { floor }
                if !(floor > 0.0 && floor.is_finite()) =>
            {
                wrong(format!("a floor of {floor}, but it must be above 0"))
            }
            Measure::Mel(Mel { bands, .. }) if bands == 0 || bands > MOST_BANDS => {
                wrong(format!("{bands} mel bands, but there must be 1 to {MOST_BANDS}"))
            }
            Measure::Mel(Mel { sample_rate, low, high, .. })
                if !(low >= 0.0 && high > low && f64::from(high) <= f64::from(sample_rate) / 2.0) =>
            {
                wrong(format!(
                    "mel bands from {low} to {high} Hz, but they must rise from 0 to half of {sample_rate}"
                ))
            }
            _ => Ok(()),
        }
    }

    pub fn bins(&self) -> usize {
        self.fft / 2 + 1
    }

    /// Frames of a signal of `samples`.
    pub fn frames(&self, samples: usize) -> usize {
        samples.div_ceil(self.hop)
    }

    /// Numbers that a frame's mean is over: bins, or mel bands.
    pub fn entries(&self) -> usize {
        match self.measure {
            Measure::Mel(mel) => mel.bands,
            _ => self.bins(),
        }
    }

    /// The periodic Hann window.
    pub fn hann(&self) -> Vec<f64> {
        hann(self.window)
    }
}

/// The periodic Hann window, `0.5 - 0.5 cos(2 pi n / length)`.
pub fn hann(length: usize) -> Vec<f64> {
    (0..length).map(|n| 0.5 - 0.5 * (2.0 * PI * n as f64 / length as f64).cos()).collect()
}
