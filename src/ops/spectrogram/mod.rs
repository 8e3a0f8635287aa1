//! The spectrogram loss, fused with its gradient: short-time Fourier transforms of a prediction and of a target, and how
//! much they differ. No spectrogram is ever stored.
//!
//! What is compared is [`Measure`]; how frames are cut, [`Settings`]. With S = the transform of a windowed frame of the
//! prediction and g(|S|, |T|) the loss of one bin, the gradient of the frame is the window times the real part of
//! `sum over k of dg/d|S| * S / |S| * exp(2 pi i k n / fft)`: one inverse transform. Where |S| = 0 it is 0, never NaN.
//!
//! Shapes: predicted, any whose elements are batch * samples in the device's storage type or f32 (a regression head's rows
//! of 500 samples are); target (batch, samples) f32; scale (1); sums (2): the loss times scale, and the loss; clips (batch,
//! or 1 when joined): each clip's loss, whose mean the loss is.

pub mod cases;
mod cpu;
#[cfg(test)]
mod cpu_bench;
mod cpu_bins;
mod cuda;
mod reference;
mod settings;
#[cfg(test)]
mod tests;

use self::cpu::Plans;
pub(super) use self::reference::loss as reference_loss;
pub use self::settings::{FLOOR, Measure, Mel, RESOLUTIONS, Settings, hann};
use super::{Cost, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// What the loss leaves to be read.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// (2): loss * scale, loss.
    pub sums: Id,
    /// (clips): the loss of each, not scaled.
    pub clips: Id,
}

/// Traces the loss. With `train` it writes its contribution to the gradient of `predicted` right away, so nothing of it is
/// left for the backward pass; several losses of one prediction add up.
///
/// # Errors
/// If the settings do not work, or the tensors do not have the same elements.
pub fn spectrogram_loss(
    graph: &mut Graph,
    predicted: Id,
    target: Id,
    settings: Settings,
    scale: Id,
    train: bool,
) -> Result<Loss> {
    share_of_loss(graph, [predicted, target, scale], settings, 1.0, train)
}

/// As [`spectrogram_loss`], times `share`: one of several whose mean is the loss.
fn share_of_loss(
    graph: &mut Graph,
    [predicted, target, scale]: [Id; 3],
    settings: Settings,
    share: f32,
    train: bool,
) -> Result<Loss> {
    settings.check()?;
    let (batch, samples) = graph.matrix(target);
    let elements = graph.tensor(predicted).len();
    if elements != batch * samples || elements == 0 {
        return Err(Error::failed(format!(
            "spectrogram: {elements} predicted samples for {batch} clips of {samples}; they must be as many, and not none"
        )));
    }
    if graph.root(predicted) != predicted {
        return Err(Error::failed(
            "spectrogram: the prediction is a part of another tensor; it must be a tensor of its own",
        ));
    }
    let (clips, samples) = if settings.joined { (1, batch * samples) } else { (batch, samples) };
    let sums = graph.activation_f32("spectrogram loss", &[2]);
    let by_clip = graph.activation_f32("spectrogram loss of clips", &[clips]);
    let gradient = if train { graph.gradient_slot(predicted) } else { None };
    let plans = Plans::new(&settings);
    let op = SpectrogramLoss { clips, samples, settings, share, train: gradient.is_some(), plans };
    let outputs: Vec<Id> = [sums, by_clip].into_iter().chain(gradient).collect();
    graph.push(op, &[predicted, target, scale], &outputs);
    graph.keep(sums);
    graph.keep(by_clip);
    Ok(Loss { sums, clips: by_clip })
}

/// The multi-resolution loss: the mean of [`Measure::Convergence`] at each of [`RESOLUTIONS`]. The first elements of the
/// three `sums` add up to it times scale; the second ones are each resolution's own. `floor` is usually [`FLOOR`].
///
/// # Errors
/// As [`spectrogram_loss`].
pub fn multi_resolution_loss(
    graph: &mut Graph,
    predicted: Id,
    target: Id,
    scale: Id,
    floor: f32,
    train: bool,
) -> Result<[Loss; 3]> {
    let mut loss = |(fft, hop, window)| {
        let measure = Measure::Convergence { floor };
        let settings = Settings { fft, window, hop, measure, joined: false };
        share_of_loss(graph, [predicted, target, scale], settings, 1.0 / RESOLUTIONS.len() as f32, train)
    };
    let [first, second, third] = RESOLUTIONS;
    Ok([loss(first)?, loss(second)?, loss(third)?])
}

/// Inputs: predicted, target, scale. Outputs: sums, clips, and the gradient of predicted when training.
#[derive(Debug)]
struct SpectrogramLoss {
    clips: usize,
    /// Of a clip.
    samples: usize,
    settings: Settings,
    /// What the scale is multiplied by.
    share: f32,
    train: bool,
    plans: Plans,
}

impl Op for SpectrogramLoss {
    fn name(&self) -> &'static str {
        "spectrogram loss"
    }

    fn cost(&self) -> Cost {
        let samples = (self.clips * self.samples) as f64;
        let frames = (self.clips * self.settings.frames(self.samples)) as f64;
        let (fft, bins) = (self.settings.fft as f64, self.settings.bins() as f64);
        // A real transform is 5/2 n log2 n; windows, and some 20 operations for what is compared of a bin.
        let transforms = if self.train { 3.0 } else { 2.0 };
        let frame = transforms * (2.5 * fft * fft.log2() + self.settings.window as f64) + 20.0 * bins;
        Cost { bytes: if self.train { 12.0 } else { 8.0 } * samples, flops: frames * frame }
    }

    fn workspace(&self) -> usize {
        cpu::workspace(self)
    }

    fn cpu(&self, args: &Args) {
        cpu::run(self, args);
    }

    fn cuda_workspace(&self) -> usize {
        cuda::workspace(self)
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        cuda::run(self, launch)
    }
}
