//! The spectrogram loss on a GPU (`kernels/spectrogram`): tiles of samples by one kernel, clips and their mean by two small
//! ones. A measure whose slope needs the whole clip's sums takes two rounds over the samples.

use super::settings::MOST_BANDS;
use super::{Measure, SpectrogramLoss};
use crate::device::gpu::Launcher;
use crate::graph::DType;
use crate::{Error, Result};

/// Sums of a tile.
const TERMS: usize = 3;
/// `MOST_BORDERS` of the kernel.
const MOST_BORDERS: usize = MOST_BANDS + 2;
const BORDER_ROWS: usize = 10;
/// Positions are `int` in the kernels, and reach some transforms beyond the last sample.
const MOST_SAMPLES: usize = 1 << 30;

/// `Settings` of the kernel.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Settings {
    samples: i32,
    window: i32,
    hop: i32,
    measure: i32,
    bands: i32,
    factor: f32,
    floor: f32,
}

/// `Borders` of the kernel, in rows: bytemuck knows no array of 130.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Borders {
    at: [[f32; MOST_BORDERS / BORDER_ROWS]; BORDER_ROWS],
}

/// Tiles of a clip; as `Sizes` in `kernels/spectrogram/loss.cuh`.
fn tiles(op: &SpectrogramLoss) -> usize {
    let tile = match op.settings.fft {
        ..=512 => 1024,
        1024 => 2048,
        _ => 4096,
    };
    op.samples.div_ceil(tile)
}

/// Bytes: the sums of every tile, and two numbers a clip.
pub(super) fn workspace(op: &SpectrogramLoss) -> usize {
    op.clips * (tiles(op) * TERMS + 2) * size_of::<f32>()
}

pub(super) fn run(op: &SpectrogramLoss, launch: &mut Launcher) -> Result<()> {
    let SpectrogramLoss { clips, samples, settings, share, train, .. } = *op;
    if samples > MOST_SAMPLES || settings.hop > MOST_SAMPLES / 16 {
        return Err(Error::failed(format!(
            "spectrogram: {samples} samples a clip and a hop of {}, but at most {MOST_SAMPLES} and {} fit; cut the clips",
            settings.hop,
            MOST_SAMPLES / 16
        )));
    }
    let tiles = tiles(op);
    let partials = launch.workspace(0, clips * tiles * TERMS, DType::F32);
    let slopes = launch.workspace(clips * tiles * TERMS * size_of::<f32>(), clips * 2, DType::F32);
    let (sums, by_clip) = (launch.output(0), launch.output(1));
    let gradient = train.then(|| launch.output(2));
    let [predicted, target, scale] = [0, 1, 2].map(|i| launch.input(i));
    let two_rounds = matches!(settings.measure, Measure::Convergence { .. });
    let given = given(op);
    let borders = match settings.measure {
        Measure::Mel(mel) => {
            let mut at = [[0.0; MOST_BORDERS / BORDER_ROWS]; BORDER_ROWS];
            at.as_flattened_mut()
                .iter_mut()
                .zip(mel.borders(settings.fft))
                .for_each(|(to, from)| *to = from as f32);
            Some(Borders { at })
        }
        _ => None,
    };
    let mel = if borders.is_some() { "mel_" } else { "" };
    let name = format!("spectrogram_{mel}{}_{}", settings.fft, predicted.suffix());
    let round = |launch: &mut Launcher, gradient, partials, slopes| {
        let launch = launch
            .kernel(&name)
            .out_or_null(gradient)
            .out_or_null(partials)
            .read(predicted.clone())
            .read(target.clone())
            .read(scale.clone())
            .read_or_null(slopes)
            .plain(&given);
        let launch = match &borders {
            Some(borders) => launch.plain(borders),
            None => launch,
        };
        launch.grid3(tiles, clips, 1)
    };
    round(launch, gradient.clone().filter(|_| !two_rounds), Some(partials.clone()), None)?;
    let second = train && two_rounds;
    launch
        .kernel("spectrogram_clips")
        .out(by_clip.clone())
        .out_or_null(second.then(|| slopes.clone()))
        .read(partials)
        .read(scale.clone())
        .size(tiles)
        .float(op.entries() as f32)
        .float(share / clips as f32)
        .plain(&given)
        .grid(clips)?;
    if second {
        round(launch, gradient, None, Some(slopes))?;
    }
    launch.kernel("spectrogram_sums").out(sums).read(by_clip).read(scale).size(clips).float(share).grid(1)
}

fn given(op: &SpectrogramLoss) -> Settings {
    let super::Settings { window, hop, measure, .. } = op.settings;
    let mean = f64::from(op.share) / (op.clips as f64 * op.entries());
    let (number, bands, factor, floor) = match measure {
        Measure::Magnitude => (0, 0, mean, 0.0),
        Measure::Power => (1, 0, 2.0 * mean, 0.0),
        Measure::Log { floor } => (2, 0, mean, floor),
        Measure::Mel(mel) => (3, mel.bands, mean, 0.0),
        Measure::Convergence { floor } => (4, 0, mean, floor),
    };
    let int = |value: usize| i32::try_from(value).expect("checked above");
    Settings {
        samples: int(op.samples),
        window: int(window),
        hop: int(hop),
        measure: number,
        bands: int(bands),
        factor: factor as f32,
        floor,
    }
}
