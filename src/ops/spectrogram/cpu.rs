//! The spectrogram loss on the CPU: real transforms by the crate realfft, frame by frame, both signals and the gradient
//! while the frame is in the first cache. Bound by the transforms' arithmetic.
//!
//! A piece of a clip's samples is one core's. It sums the losses of the frames that begin in it, and writes the gradient
//! of its own samples from every frame that touches them: the few that reach over its start are computed twice rather
//! than added by two cores. Pieces have a fixed length and are summed in order, in f64, so everything repeats bit for bit
//! on any number of cores. Plans, window and scratch are made once.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::cpu_bins::{self, Bands, Slopes, TERMS};
use super::{Measure, Settings, SpectrogramLoss};
use crate::device::cpu::{Args, parallel};

/// A piece is this many windows or hops, whichever are longer: what is computed twice is then a few percent.
const PIECE_FRAMES: usize = 16;

/// What transforms need and steps share.
pub(super) struct Plans {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
    bands: Option<Bands>,
    /// Scratch that no core uses at the moment.
    idle: Mutex<Vec<Scratch>>,
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "transforms of {}", self.forward.len())
    }
}

impl Plans {
    pub(super) fn new(settings: &Settings) -> Plans {
        let mut planner = RealFftPlanner::new();
        Plans {
            forward: planner.plan_fft_forward(settings.fft),
            inverse: planner.plan_fft_inverse(settings.fft),
            window: settings.hann().iter().map(|w| *w as f32).collect(),
            bands: match settings.measure {
                Measure::Mel(mel) => Some(Bands::new(mel, settings.fft)),
                _ => None,
            },
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Lends scratch to `body`; the first time that so many cores want some, it is allocated.
    fn with_scratch<R>(&self, body: impl FnOnce(&mut Scratch) -> R) -> R {
        let idle = self.idle.lock().expect("no panic while it is held").pop();
        let mut scratch = idle.unwrap_or_else(|| Scratch::new(self));
        let result = body(&mut scratch);
        self.idle.lock().expect("no panic while it is held").push(scratch);
        result
    }
}

/// One frame's buffers.
struct Scratch {
    frame: Vec<f32>,
    predicted: Vec<Complex<f32>>,
    target: Vec<Complex<f32>>,
    transform: Vec<Complex<f32>>,
    bands: cpu_bins::BandScratch,
}

impl Scratch {
    fn new(plans: &Plans) -> Scratch {
        let transform = plans.forward.get_scratch_len().max(plans.inverse.get_scratch_len());
        let bins = plans.forward.complex_len();
        Scratch {
            frame: vec![0.0; plans.forward.len()],
            predicted: vec![Complex::default(); bins],
            target: vec![Complex::default(); bins],
            transform: vec![Complex::default(); transform],
            bands: cpu_bins::BandScratch::new(plans.bands.as_ref(), bins),
        }
    }
}

/// Samples of a piece, and pieces of a clip.
fn pieces(op: &SpectrogramLoss) -> (usize, usize) {
    let piece = PIECE_FRAMES * op.settings.window.max(op.settings.hop);
    (piece, op.samples.div_ceil(piece))
}

/// Bytes: the sums of every piece.
pub(super) fn workspace(op: &SpectrogramLoss) -> usize {
    op.clips * pieces(op).1 * TERMS * size_of::<f64>()
}

pub(super) fn run(op: &SpectrogramLoss, args: &Args) {
    let (predicted, target): (&[f32], &[f32]) = (args.input(0), args.input(1));
    let scale = args.input::<f32>(2)[0];
    let (sums, clips): (&mut [f32], &mut [f32]) = (args.output(0), args.output(1));
    let gradient: &mut [f32] = if op.train { args.output(2) } else { &mut [] };
    let (length, count) = pieces(op);
    let partials: &mut [f64] = bytemuck::cast_slice_mut(args.workspace());
    let partials = &mut partials[..op.clips * count * TERMS];
    let factor = scale * op.share / op.clips as f32;
    let piece = |index: usize| {
        let (clip, start) = (index / count, index % count * length);
        Piece {
            op,
            predicted: &predicted[clip * op.samples..(clip + 1) * op.samples],
            target: &target[clip * op.samples..(clip + 1) * op.samples],
            own: start..(start + length).min(op.samples),
        }
    };
    // A measure whose slope needs the whole clip's sums first takes two rounds.
    let two_rounds = matches!(op.settings.measure, Measure::Convergence { .. });
    if !op.train || two_rounds {
        partials.par_chunks_exact_mut(TERMS).enumerate().for_each(|(index, sums)| {
            sums.copy_from_slice(&piece(index).run(&Slopes::default(), None));
        });
    }
    if op.train {
        let of_clips = partials.par_chunks_exact_mut(count * TERMS);
        gradient.par_chunks_exact_mut(op.samples).zip(of_clips).enumerate().for_each(
            |(clip, (gradient, partials))| {
                let slopes = op.slopes(&total(partials, two_rounds), factor);
                let pieces = gradient.par_chunks_mut(length).zip(partials.par_chunks_exact_mut(TERMS));
                pieces.enumerate().for_each(|(index, (own, sums))| {
                    let found = piece(clip * count + index).run(&slopes, Some(own));
                    if !two_rounds {
                        sums.copy_from_slice(&found);
                    }
                });
            },
        );
    }
    let mut loss = 0.0;
    for (clip, partials) in clips.iter_mut().zip(partials.chunks_exact(count * TERMS)) {
        let of_clip = op.loss_of_clip(&total(partials, true));
        *clip = of_clip as f32;
        loss += of_clip / op.clips as f64;
    }
    sums[0] = (loss * f64::from(scale * op.share)) as f32;
    sums[1] = loss as f32;
}

/// Adds up the pieces of one clip; zeros where they are not there yet.
fn total(partials: &[f64], there: bool) -> [f64; TERMS] {
    let mut sums = [0.0; TERMS];
    for piece in partials.chunks_exact(TERMS).filter(|_| there) {
        for (sum, value) in sums.iter_mut().zip(piece) {
            *sum += value;
        }
    }
    sums
}

/// One core's part of a clip.
struct Piece<'a> {
    op: &'a SpectrogramLoss,
    predicted: &'a [f32],
    target: &'a [f32],
    /// Samples.
    own: Range<usize>,
}

impl Piece<'_> {
    /// The sums over the frames that begin here; with `gradient`, that of the own samples.
    fn run(&self, slopes: &Slopes, mut gradient: Option<&mut [f32]>) -> [f64; TERMS] {
        let Settings { hop, window, .. } = self.op.settings;
        let begin = self.own.start.div_ceil(hop);
        // Frames that began earlier and reach in.
        let earlier = if gradient.is_some() {
            (self.own.start + 1).saturating_sub(window).div_ceil(hop)
        } else {
            begin
        };
        if let Some(gradient) = gradient.as_deref_mut() {
            gradient.fill(0.0);
        }
        let mut sums = [0.0; TERMS];
        self.op.plans.with_scratch(|scratch| {
            for start in (earlier..self.own.end.div_ceil(hop)).map(|frame| frame * hop) {
                let found = self.frame(start, scratch, slopes, gradient.is_some());
                if start >= self.own.start {
                    sums.iter_mut().zip(found).for_each(|(sum, term)| *sum += f64::from(term));
                }
                if let Some(gradient) = gradient.as_deref_mut() {
                    let overlap = start.max(self.own.start)..(start + window).min(self.own.end);
                    let frame = overlap.start - start..overlap.end - start;
                    let own = &mut gradient[overlap.start - self.own.start..overlap.end - self.own.start];
                    add_windowed(own, &scratch.frame[frame.clone()], &self.op.plans.window[frame]);
                }
            }
        });
        sums
    }

    /// The terms of the frame at `start`; with `train`, `scratch.frame` is then its gradient before the window.
    fn frame(&self, start: usize, scratch: &mut Scratch, slopes: &Slopes, train: bool) -> [f32; TERMS] {
        let Plans { forward, inverse, window, bands, .. } = &self.op.plans;
        let Scratch { frame, predicted, target, transform, bands: of_bands } = scratch;
        for (signal, spectrum) in [(self.predicted, &mut *predicted), (self.target, &mut *target)] {
            windowed(frame, &signal[start..], window);
            let done =
                forward.process_with_scratch(frame, spectrum, &mut transform[..forward.get_scratch_len()]);
            done.expect("buffers of the plan's lengths");
        }
        let terms = match bands {
            Some(bands) => bands.compare(predicted, target, of_bands, slopes, train),
            None => cpu_bins::compare(self.op.settings.measure, predicted, target, slopes, train),
        };
        if train {
            // The first and the last bin stand for themselves, all others for their mirror images too; they are real
            // but for roundings, which the inverse refuses.
            let last = predicted.len() - 1;
            for end in [0, last] {
                predicted[end] = Complex::new(2.0 * predicted[end].re, 0.0);
            }
            let done =
                inverse.process_with_scratch(predicted, frame, &mut transform[..inverse.get_scratch_len()]);
            done.expect("buffers of the plan's lengths, and real ends");
        }
        terms
    }
}

/// frame = signal * window, zeros behind either.
fn windowed(frame: &mut [f32], signal: &[f32], window: &[f32]) {
    parallel::vectorized(
        #[inline(always)]
        || {
            let length = signal.len().min(window.len());
            let (filled, zeros) = frame.split_at_mut(length);
            for ((out, x), w) in filled.iter_mut().zip(signal).zip(window) {
                *out = x * w;
            }
            zeros.fill(0.0);
        },
    );
}

/// out += frame * window.
fn add_windowed(out: &mut [f32], frame: &[f32], window: &[f32]) {
    parallel::vectorized(
        #[inline(always)]
        || {
            for ((out, x), w) in out.iter_mut().zip(frame).zip(window) {
                *out += x * w;
            }
        },
    );
}
