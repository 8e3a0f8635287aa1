//! Short-time Fourier magnitudes, for judging and for pictures.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::ops::spectrogram::hann;

/// Magnitudes of windowed stretches of a signal.
pub struct Spectrum {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    stretch: Vec<f32>,
    bins: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Spectrum {
    /// For a window of this many samples in a transform of `size` samples, at least as many and at least 2.
    pub fn new(window: usize, size: usize) -> Spectrum {
        let size = size.max(window).max(2);
        let transform = RealFftPlanner::new().plan_fft_forward(size);
        let (stretch, bins) = (transform.make_input_vec(), transform.make_output_vec());
        let scratch = transform.make_scratch_vec();
        Spectrum {
            transform,
            window: hann(window).into_iter().map(|value| value as f32).collect(),
            stretch,
            bins,
            scratch,
        }
    }

    /// Values of one spectrum.
    pub fn bins(&self) -> usize {
        self.bins.len()
    }

    /// The sum of the window: a sine of amplitude 1 has the magnitude of half of it.
    pub fn weight(&self) -> f32 {
        self.window.iter().sum()
    }

    /// The magnitudes `|sum_n window[n] signal[start + n] e^(-2 pi i k n / size)|`, `[bins]`; beyond the signal's ends
    /// are zeros.
    pub fn magnitudes(&mut self, signal: &[f32], start: isize, out: &mut Vec<f32>) {
        out.clear();
        self.stretch.fill(0.0);
        for (n, (sample, weight)) in self.stretch.iter_mut().zip(&self.window).enumerate() {
            let value = usize::try_from(start + n as isize).ok().and_then(|place| signal.get(place));
            *sample = value.map_or(0.0, |value| value * weight);
        }
        let (stretch, bins, scratch) = (&mut self.stretch, &mut self.bins, &mut self.scratch);
        // The buffers come from the transform itself: their lengths fit.
        if self.transform.process_with_scratch(stretch, bins, scratch).is_ok() {
            out.extend(bins.iter().map(|bin| bin.norm()));
        } else {
            out.resize(bins.len(), 0.0);
        }
    }
}
