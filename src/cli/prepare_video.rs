//! `evoke prepare video`: films as clips of frames and sound, through ffmpeg.

use std::path::PathBuf;

use rayon::prelude::*;

use super::Output;
use super::prepare::size;
use super::prepare_media::{Common, fraction, positive};
use crate::data::sound::Format;
use crate::data::sound::cutter::{Cuts, Rules, Short, samples_of};
use crate::data::sound::ffmpeg::Ffmpeg;
use crate::data::sound::recordings::{FILMS, Files, list};
use crate::data::writer;
use crate::{Error, Result};

/// Without --size the width keeps the aspect to the nearest multiple of this, so that the model's patches of 16 fit.
const WIDTH_STEP: f64 = 16.0;
/// The widest frame.
const WIDEST: usize = 4096;

/// From films: clips of frames with their sound, through the program ffmpeg
#[derive(Debug, clap::Args)]
pub(super) struct Video {
    /// Films, and folders whose films are taken
    #[arg(value_name = "FILE|FOLDER", required = true)]
    from: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Length of a clip
    #[arg(long, default_value = "3", value_name = "SECONDS", value_parser = positive)]
    seconds: f64,
    /// Height of a frame in pixels; the width keeps the aspect of the first film, to the nearest 16 pixels
    #[arg(long, default_value_t = 96, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    lines: u32,
    /// Height and width of a frame instead: HEIGHTxWIDTH, or one number for squares; the middle is cut out
    #[arg(long, conflicts_with = "lines", value_parser = size)]
    size: Option<(usize, usize)>,
    /// Frames a second: a number or a fraction as 30000/1001
    #[arg(long, default_value = "3", value_name = "RATE", value_parser = fraction)]
    fps: (u32, u32),
    /// Clips that lack sound or picture, wholly or at their end
    #[arg(long, value_enum, default_value = "drop")]
    short: Short,
    /// Clips in which the scene changes
    #[arg(long, value_enum, default_value = "keep")]
    cuts: Cuts,
    /// A change of scene: the mean difference of two successive frames, of 255, is above this
    #[arg(long, default_value_t = 40.0, value_name = "DIFFERENCE")]
    cut_threshold: f64,
}

impl Video {
    pub(super) fn run(self, out: &Output) -> Result<()> {
        writer::check_free(&self.common.out, self.common.overwrite)?;
        let ffmpeg = Ffmpeg::find()?;
        let items = list(&self.from, &FILMS)?;
        let probes: Vec<_> = items.par_iter().map(|item| ffmpeg.probe(&item.path)).collect();
        let (height, width) = match self.size {
            Some(size) => size,
            None => {
                let first = probes.iter().flatten().find(|probe| probe.picture);
                let aspect = first.map_or(16.0 / 9.0, |probe| probe.aspect);
                let width = (f64::from(self.lines) * aspect / WIDTH_STEP).round().max(1.0) * WIDTH_STEP;
                if width > WIDEST as f64 {
                    return Err(Error::usage(format!(
                        "--lines {}: frames of this aspect would be {width} pixels wide, and {WIDEST} is the most; \
                         give --size",
                        self.lines
                    )));
                }
                (self.lines as usize, width as usize)
            }
        };
        let frames = self.seconds * f64::from(self.fps.0) / f64::from(self.fps.1);
        let frames = frames.round().max(1.0) as usize;
        let format = Format {
            sample_rate: self.common.rate,
            samples: samples_of(frames, self.fps, self.common.rate),
            encoding: self.common.encoding,
            frames,
            height,
            width,
            frame_rate: self.fps,
            gain: self.common.gain,
        };
        if (format.seconds() - self.seconds).abs() > 1e-3 {
            out.note(format!("clips are {:.3} s long: {frames} whole frames", format.seconds()));
        }
        let rules = Rules {
            format,
            short: self.short,
            cuts: self.cuts,
            cut_threshold: self.cut_threshold,
            silence: self.common.silence,
            val_share: self.common.val_share,
        };
        self.common.prepare(out, "video", Files { items, rules, ffmpeg: Some(ffmpeg), probes: Some(probes) })
    }
}
