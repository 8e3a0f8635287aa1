//! `evoke prepare audio`: sound alone as clips; WAV files directly, others through ffmpeg.

use std::path::PathBuf;

use super::Output;
use super::prepare_media::{Common, positive};
use crate::Result;
use crate::data::sound::Format;
use crate::data::sound::cutter::{Cuts, Rules, Short};
use crate::data::sound::ffmpeg::Ffmpeg;
use crate::data::sound::recordings::{Files, SOUNDS, list, read_lists};
use crate::data::writer;

/// From a folder of sound files; validation_list.txt and testing_list.txt, as Speech Commands has them, make the splits
#[derive(Debug, clap::Args)]
pub(super) struct Audio {
    /// The folder, or sound files
    #[arg(value_name = "FOLDER|FILE", required = true)]
    from: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Length of a clip
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = positive)]
    seconds: f64,
    /// The last clip of a file, where it is not filled
    #[arg(long, value_enum, default_value = "pad")]
    short: Short,
}

impl Audio {
    pub(super) fn run(self, out: &Output) -> Result<()> {
        writer::check_free(&self.common.out, self.common.overwrite)?;
        let mut items = list(&self.from, &SOUNDS)?;
        for folder in self.from.iter().filter(|path| path.is_dir()) {
            if read_lists(folder, &mut items)? {
                out.note(format!("{}: the splits follow its lists", folder.display()));
            }
        }
        let format = Format {
            sample_rate: self.common.rate,
            samples: (self.seconds * f64::from(self.common.rate)).round() as usize,
            encoding: self.common.encoding,
            frames: 0,
            height: 0,
            width: 0,
            frame_rate: (1, 1),
            gain: self.common.gain,
        };
        let rules = Rules {
            format,
            short: self.short,
            cuts: Cuts::Keep,
            cut_threshold: 0.0,
            silence: self.common.silence,
            val_share: self.common.val_share,
        };
        // Without ffmpeg WAV files of the right rate are read all the same; of others it is said file by file.
        let ffmpeg = Ffmpeg::find().ok();
        self.common.prepare(out, "audio", Files { items, rules, ffmpeg, probes: None })
    }
}
