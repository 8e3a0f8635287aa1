//! How far two sounds' spectra are apart: the multi-resolution STFT distance of Parallel WaveGAN (Yamamoto 2020).

use super::transform::Spectrum;

/// Transform size, hop and window of each resolution, in samples.
pub const RESOLUTIONS: [(usize, usize, usize); 3] = [(1024, 120, 600), (2048, 240, 1200), (512, 50, 240)];
/// Powers below this count as this, so that silence has a logarithm.
const FLOOR: f32 = 1e-7;

/// The mean over the [`RESOLUTIONS`] of `|Y - X|_F / |Y|_F + mean |ln Y - ln X|`, where Y are the magnitudes of
/// `truth` and X those of `other`. 0 for equal sounds.
///
/// A signal of N samples has ceil(N / hop) windows, the last ones filled up with zeros; the shorter of the two sounds is
/// filled up as well. Magnitudes are kept above the root of 1e-7; a silent truth has the norm of that floor.
pub fn spectral_distance(truth: &[f32], other: &[f32]) -> f64 {
    let length = truth.len().max(other.len());
    if length == 0 {
        return 0.0;
    }
    let sum: f64 = RESOLUTIONS.iter().map(|&resolution| one(truth, other, length, resolution)).sum();
    sum / RESOLUTIONS.len() as f64
}

fn one(truth: &[f32], other: &[f32], length: usize, (size, hop, window): (usize, usize, usize)) -> f64 {
    let mut spectrum = Spectrum::new(window, size);
    let (mut y, mut x) = (Vec::new(), Vec::new());
    let (mut gap, mut norm, mut logarithms) = (0.0f64, 0.0f64, 0.0f64);
    let frames = length.div_ceil(hop);
    for frame in 0..frames {
        let start = (frame * hop) as isize;
        spectrum.magnitudes(truth, start, &mut y);
        spectrum.magnitudes(other, start, &mut x);
        for (y, x) in y.iter().zip(&x) {
            let (y, x) = (y.max(FLOOR.sqrt()), x.max(FLOOR.sqrt()));
            gap += f64::from(y - x).powi(2);
            norm += f64::from(y).powi(2);
            logarithms += f64::from((y.ln() - x.ln()).abs());
        }
    }
    (gap / norm).sqrt() + logarithms / (frames * spectrum.bins()) as f64
}
