//! `evoke prepare scenes --video`: the embedded world, moving, with the sounds of its strikes.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::Output;
use super::prepare_progress::write_clips;
use super::prepare_scenes::Scenes;
use crate::Result;
use crate::data::motion::{MotionOptions, MovingScenes, World};
use crate::data::scenes::Split;
use crate::data::sound::{Encoding, SoundPlan, SoundWriter};
use crate::data::writer::{self, Report, SHARD_BYTES};

/// The options of `prepare scenes` that speak of clips.
#[derive(Debug, clap::Args)]
pub(super) struct Moving {
    /// Clips of shapes that move and strike walls and each other, with the sound of each strike, for foley
    #[arg(long)]
    pub video: bool,
    /// Length of a clip
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", requires = "video")]
    pub seconds: f64,
    /// Samples a second
    #[arg(long, default_value_t = 16_000, value_name = "HZ", requires = "video")]
    pub rate: u32,
    /// Frames a second: a number, or a fraction as in 30000/1001
    #[arg(long, default_value = "20", value_name = "FPS", value_parser = fraction, requires = "video")]
    pub frame_rate: (u32, u32),
    /// The most shapes in a clip, 1 to 3
    #[arg(long, default_value_t = 2, value_name = "N", requires = "video")]
    pub shapes: usize,
    /// How samples are stored
    #[arg(long, value_enum, default_value = "mu-law-8", requires = "video")]
    pub encoding: Encoding,
}

/// A set of clips from the moving world, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct MotionSet {
    pub out: PathBuf,
    pub options: MotionOptions,
    pub seed: u64,
    pub encoding: Encoding,
    /// Clips of each split.
    pub counts: [(Split, usize); 3],
    pub overwrite: bool,
}

/// What `prepare scenes --video --json` prints.
#[derive(Debug, Serialize)]
pub(super) struct ClipsSummary {
    pub out: String,
    pub seconds: f64,
    pub clips_per_second: f64,
    /// Of sound.
    pub hours: f64,
    #[serde(flatten)]
    pub report: Report,
}

impl Moving {
    pub(super) fn run(&self, scenes: &Scenes, out: &Output) -> Result<()> {
        let options = MotionOptions {
            level: scenes.level,
            side: scenes.size,
            shapes: self.shapes,
            seconds: self.seconds,
            sample_rate: self.rate,
            frame_rate: self.frame_rate,
        };
        let set = MotionSet {
            out: scenes.out.clone(),
            options,
            seed: scenes.seed,
            encoding: self.encoding,
            counts: [(Split::Train, scenes.train), (Split::Val, scenes.val), (Split::Unseen, scenes.unseen)],
            overwrite: scenes.overwrite,
        };
        out.result(&set.prepare(out)?, ClipsSummary::text)
    }
}

impl MotionSet {
    /// Draws, sounds and writes the set.
    ///
    /// # Errors
    /// If an option is out of its range, or the folder is taken or cannot be written.
    pub(super) fn prepare(&self, out: &Output) -> Result<ClipsSummary> {
        let started = Instant::now();
        let world = World::new(self.options.clone(), self.seed)?;
        writer::check_free(&self.out, self.overwrite)?;
        let format = world.format(self.encoding);
        let plan = SoundPlan {
            source: "scenes".into(),
            identity: json!({"world": self.options, "seed": self.seed}),
            format: format.clone(),
            shard_bytes: SHARD_BYTES,
        };
        let mut writer = SoundWriter::create(&self.out, plan, self.overwrite)?;
        let mut made = 0;
        for (split, len) in self.counts.into_iter().filter(|(_, len)| *len > 0) {
            made += len - writer.finished(split.name()).min(len);
            let clips = MovingScenes { world: &world, split, len, encoding: self.encoding };
            write_clips(out, &mut writer, split.name(), &clips)?;
        }
        let report = writer.finish()?;
        let seconds = started.elapsed().as_secs_f64();
        let clips: usize = report.splits.values().map(|split| split.samples).sum();
        Ok(ClipsSummary {
            out: self.out.display().to_string(),
            seconds,
            clips_per_second: made as f64 / seconds,
            hours: clips as f64 * format.seconds() / 3600.0,
            report,
        })
    }
}

impl ClipsSummary {
    fn text(&self) -> String {
        let mut text =
            format!("{}: data set {}, {:.2} hours of sound", self.out, self.report.dataset, self.hours);
        for (name, split) in &self.report.splits {
            text += &format!(
                "\n{name:8}{} clips, {} shards, {:.1} MiB",
                split.samples,
                split.shards,
                split.bytes as f64 / f64::from(1 << 20)
            );
        }
        text + &format!("\n{:.1} s, {:.0} clips/s", self.seconds, self.clips_per_second)
    }
}

/// `20`, `12.5` or `30000/1001`.
fn fraction(text: &str) -> std::result::Result<(u32, u32), String> {
    let whole = |text: &str| text.parse().ok().filter(|number| *number > 0u32);
    let parsed = match (text.split_once('/'), text.split_once('.')) {
        (Some((frames, seconds)), _) => whole(frames).zip(whole(seconds)),
        (None, Some((_, decimals))) if decimals.len() <= 4 => {
            whole(&text.replacen('.', "", 1)).zip(Some(10u32.pow(decimals.len() as u32)))
        }
        _ => whole(text).zip(Some(1)),
    };
    parsed.ok_or_else(|| "expected frames a second above 0: 20, 12.5 or 30000/1001".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_numbers_or_fractions() {
        for (text, rate) in
            [("20", (20, 1)), ("12.5", (125, 10)), ("30000/1001", (30_000, 1001)), ("0.5", (5, 10))]
        {
            assert_eq!(fraction(text), Ok(rate));
        }
        for wrong in ["0", "-3", "fast", "1/0", "1.23456", "", "/", "."] {
            assert!(fraction(wrong).is_err(), "{wrong}");
        }
    }
}
