//! What is compared of two spectra, and the slope that turns one into the gradient's spectrum: the CPU's form.
//!
//! The gradient's spectrum is `slope * S` with slope = (dg/d|S|) / |S|, which every measure writes so that it is finite,
//! and 0 where |S| is. A slope here is half of that: the inverse transform counts all but the first and the last bin twice.

use realfft::num_complex::Complex;

use super::settings::Mel;
use super::{Measure, SpectrogramLoss};
use crate::device::cpu::{math, parallel};

/// Sums of a clip: squared differences; of convergence also the target's power and the logarithms' differences.
pub(super) const TERMS: usize = 3;
/// Independent sums of one frame, so that additions overlap in a fixed order.
const LANES: usize = 16;

/// What the slopes of one clip's bins are multiplied by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slopes {
    /// Of the squared differences, or of the convergence.
    linear: f32,
    /// Of the logarithms' differences beside the convergence.
    log: f32,
}

impl SpectrogramLoss {
    /// Numbers of one clip that its mean is over.
    pub(super) fn entries(&self) -> f64 {
        (self.settings.entries() * self.settings.frames(self.samples)) as f64
    }

    /// A clip's loss from its sums.
    pub(super) fn loss_of_clip(&self, sums: &[f64; TERMS]) -> f64 {
        match self.settings.measure {
            Measure::Convergence { floor } => {
                let log = sums[2] / self.entries();
                if self.silent(sums, floor) { log } else { (sums[0] / sums[1]).sqrt() + log }
            }
            _ => sums[0] / self.entries(),
        }
    }

    /// What a clip's slopes share; `factor` is scale over clips. The sums are read by the convergence alone.
    pub(super) fn slopes(&self, sums: &[f64; TERMS], factor: f32) -> Slopes {
        let mean = f64::from(factor) / self.entries();
        match self.settings.measure {
            Measure::Magnitude | Measure::Mel(_) | Measure::Log { .. } => {
                Slopes { linear: mean as f32, log: 0.0 }
            }
            Measure::Power => Slopes { linear: 2.0 * mean as f32, log: 0.0 },
            Measure::Convergence { floor } => {
                let norms = (sums[0] * sums[1]).sqrt();
                let linear = if self.silent(sums, floor) || norms == 0.0 {
                    0.0
                } else {
                    0.5 * f64::from(factor) / norms
                };
                Slopes { linear: linear as f32, log: 0.5 * mean as f32 }
            }
        }
    }

    fn silent(&self, sums: &[f64; TERMS], floor: f32) -> bool {
        sums[1] <= self.entries() * f64::from(floor)
    }
}

/// A frame's sums; with `train`, `predicted` becomes slope * S. Convergence sums in the first round alone.
pub(super) fn compare(
    measure: Measure,
    predicted: &mut [Complex<f32>],
    target: &[Complex<f32>],
    slopes: &Slopes,
    train: bool,
) -> [f32; TERMS] {
    parallel::vectorized(
        #[inline(always)]
        || {
            if train {
                measured::<true>(measure, predicted, target, slopes)
            } else {
                measured::<false>(measure, predicted, target, slopes)
            }
        },
    )
}

/// Of a bin of magnitude s; nothing is divided by silence.
#[inline(always)]
fn slope_of(linear: f32, s: f32, difference: f32) -> f32 {
    if s > 0.0 { linear * difference / s } else { 0.0 }
}

#[inline(always)]
fn measured<const TRAIN: bool>(
    measure: Measure,
    predicted: &mut [Complex<f32>],
    target: &[Complex<f32>],
    slopes: &Slopes,
) -> [f32; TERMS] {
    let Slopes { linear, log } = *slopes;
    let [squares] = match measure {
        Measure::Magnitude | Measure::Mel(_) => each::<1, TRAIN>(
            predicted,
            target,
            #[inline(always)]
            |p, q| {
                let s = p.sqrt();
                let difference = s - q.sqrt();
                ([difference * difference], slope_of(linear, s, difference))
            },
        ),
        Measure::Power => each::<1, TRAIN>(
            predicted,
            target,
            #[inline(always)]
            |p, q| ([(p - q) * (p - q)], linear * (p - q)),
        ),
        Measure::Log { floor } => each::<1, TRAIN>(
            predicted,
            target,
            #[inline(always)]
            |p, q| {
                let difference = 0.5 * math::ln((p + floor) / (q + floor));
                ([difference * difference], linear * difference / (p + floor))
            },
        ),
        Measure::Convergence { floor } if TRAIN => {
            each::<0, true>(
                predicted,
                target,
                #[inline(always)]
                |p, q| {
                    let s = p.sqrt();
                    let sign = if p > q { log } else { -log };
                    let sign = if p + floor == q + floor { 0.0 } else { sign };
                    ([], slope_of(linear, s, s - q.sqrt()) + sign / (p + floor))
                },
            );
            return [0.0; TERMS];
        }
        Measure::Convergence { floor } => {
            return each::<TERMS, false>(
                predicted,
                target,
                #[inline(always)]
                |p, q| {
                    let difference = p.sqrt() - q.sqrt();
                    let logs = (0.5 * math::ln((p + floor) / (q + floor))).abs();
                    ([difference * difference, q, logs], 0.0)
                },
            );
        }
    };
    [squares, 0.0, 0.0]
}

/// Calls `bin(|S|^2, |T|^2)` for its terms and its slope, bin by bin, in `LANES` interleaved streams.
#[inline(always)]
fn each<const N: usize, const TRAIN: bool>(
    predicted: &mut [Complex<f32>],
    target: &[Complex<f32>],
    bin: impl Fn(f32, f32) -> ([f32; N], f32),
) -> [f32; N] {
    let mut lanes = [[0.0f32; LANES]; N];
    let whole = predicted.len() / LANES * LANES;
    let (body, rest) = predicted.split_at_mut(whole);
    for (predicted, target) in body.chunks_exact_mut(LANES).zip(target.chunks_exact(LANES)) {
        let mut slopes = [0.0f32; LANES];
        for lane in 0..LANES {
            let (terms, slope) = bin(predicted[lane].norm_sqr(), target[lane].norm_sqr());
            slopes[lane] = slope;
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[lane] += term;
            }
        }
        if TRAIN {
            for (value, slope) in predicted.iter_mut().zip(slopes) {
                *value *= slope;
            }
        }
    }
    for (predicted, target) in rest.iter_mut().zip(&target[whole..]) {
        let (terms, slope) = bin(predicted.norm_sqr(), target.norm_sqr());
        for (lanes, term) in lanes.iter_mut().zip(terms) {
            lanes[0] += term;
        }
        if TRAIN {
            *predicted *= slope;
        }
    }
    lanes.map(|lanes| lanes.iter().sum())
}

/// Mel bands by bin: bin k adds `rise[k]` of its magnitude to band `band[k]`, and the rest of it to the band before.
#[derive(Debug)]
pub(super) struct Bands {
    count: usize,
    /// The bins that belong to any band.
    first: usize,
    band: Vec<usize>,
    rise: Vec<f32>,
}

/// Magnitudes of the prediction, and both signals' bands, one more on either side of the first and the last.
#[derive(Debug)]
pub(super) struct BandScratch {
    magnitudes: Vec<f32>,
    differences: Vec<f32>,
}

impl BandScratch {
    pub(super) fn new(bands: Option<&Bands>, bins: usize) -> BandScratch {
        let (bins, count) = bands.map_or((0, 0), |bands| (bins, bands.count + 2));
        BandScratch { magnitudes: vec![0.0; bins], differences: vec![0.0; count] }
    }
}

impl Bands {
    pub(super) fn new(mel: Mel, fft: usize) -> Bands {
        let borders = mel.borders(fft);
        let first = borders[0].ceil() as usize;
        let bins = (first..=fft / 2).take_while(|&k| (k as f64) < borders[mel.bands + 1]);
        let (band, rise) = bins
            .map(|k| {
                let above = borders.partition_point(|border| *border <= k as f64);
                let (low, high) = (borders[above - 1], borders[above]);
                (above - 1, ((k as f64 - low) / (high - low)) as f32)
            })
            .unzip();
        Bands { count: mel.bands, first, band, rise }
    }

    /// As [`compare`].
    pub(super) fn compare(
        &self,
        predicted: &mut [Complex<f32>],
        target: &[Complex<f32>],
        scratch: &mut BandScratch,
        slopes: &Slopes,
        train: bool,
    ) -> [f32; TERMS] {
        let BandScratch { magnitudes, differences } = scratch;
        differences.fill(0.0);
        let own = self.first..self.first + self.band.len();
        let spectra = predicted[own.clone()].iter().zip(&target[own.clone()]);
        for (((s, t), magnitude), (&band, rise)) in
            spectra.zip(&mut *magnitudes).zip(self.band.iter().zip(&self.rise))
        {
            *magnitude = s.norm_sqr().sqrt();
            let difference = *magnitude - t.norm_sqr().sqrt();
            // Band i stands at i + 1.
            differences[band + 1] += rise * difference;
            differences[band] += (1.0 - rise) * difference;
        }
        // The triangles beside the first and the last band are none.
        differences[0] = 0.0;
        differences[self.count + 1] = 0.0;
        if train {
            predicted[..own.start].fill(Complex::default());
            predicted[own.end..].fill(Complex::default());
            let bands = self.band.iter().zip(&self.rise);
            for ((s, magnitude), (&band, rise)) in predicted[own].iter_mut().zip(&*magnitudes).zip(bands) {
                let slope = rise * differences[band + 1] + (1.0 - rise) * differences[band];
                *s *= if *magnitude > 0.0 { slopes.linear * slope / magnitude } else { 0.0 };
            }
        }
        [differences.iter().map(|d| d * d).sum(), 0.0, 0.0]
    }
}
