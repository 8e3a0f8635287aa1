//! `evoke inspect` for a sound set: its format, hours and loudness.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::Output;
use crate::Result;
use crate::data::sound::{Format, SoundSet, SoundSplit, loudness};

#[derive(Serialize)]
struct Report {
    folder: String,
    hash: String,
    source: String,
    sound: Format,
    splits: BTreeMap<String, SplitReport>,
}

#[derive(Serialize)]
struct SplitReport {
    clips: usize,
    shards: usize,
    bytes: usize,
    hours: f64,
    /// The median of the clips' loudness as they are stored, dB of full scale; null where most are silent.
    loudness: Option<f64>,
    /// Sound events of scenes.
    strikes: usize,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Sample {
    key: String,
    /// dB of full scale; null where it is silent.
    loudness: Option<f64>,
    strikes: usize,
}

/// Opens the set and prints what it holds, with the first `samples` clips of each split.
pub(super) fn run(folder: &Path, samples: usize, out: &Output) -> Result<()> {
    let data = SoundSet::open(folder)?;
    let mut splits = BTreeMap::new();
    for (name, record) in &data.index().splits {
        let mut report = describe(data.format(), &data.split(name)?, samples);
        report.shards = record.shards.len();
        report.bytes = record.shards.iter().map(|shard| shard.bytes).sum();
        splits.insert(name.clone(), report);
    }
    let report = Report {
        folder: folder.display().to_string(),
        hash: data.hash().to_owned(),
        source: data.index().source.clone(),
        sound: data.format().clone(),
        splits,
    };
    out.result(&report, Report::text)
}

fn describe(format: &Format, split: &SoundSplit, samples: usize) -> SplitReport {
    let heard = loudness::Stored::new(format.encoding);
    let levels: Vec<f64> = (0..split.len()).map(|clip| heard.decibels(split.samples(clip))).collect();
    let sample = |clip: usize| Sample {
        key: split.key(clip).to_owned(),
        loudness: loudness::finite(levels[clip]),
        strikes: split.strikes(clip).len(),
    };
    SplitReport {
        clips: split.len(),
        shards: 0,
        bytes: 0,
        hours: split.len() as f64 * format.seconds() / 3600.0,
        samples: (0..split.len().min(samples)).map(sample).collect(),
        strikes: (0..split.len()).map(|clip| split.strikes(clip).len()).sum(),
        loudness: loudness::median(levels.clone()),
    }
}

impl Report {
    fn text(&self) -> String {
        let f = &self.sound;
        let gain = if f.gain { ", gain by clip" } else { "" };
        let mut text = format!(
            "{}: data set {} made by prepare {}\nsound   {} samples a clip ({:.3} s at {} Hz), {}{gain}",
            self.folder,
            self.hash,
            self.source,
            f.samples,
            f.seconds(),
            f.sample_rate,
            f.encoding.name()
        );
        if f.pictures() {
            let rate = f64::from(f.frame_rate.0) / f64::from(f.frame_rate.1);
            text += &format!(
                "\nframes  {} a clip of {} x {} pixels (height x width), {rate:.3} a second",
                f.frames, f.height, f.width
            );
        }
        for (name, s) in &self.splits {
            text += &format!(
                "\n\n{name}: {} clips, {:.3} hours, {} shards, {:.1} MiB, median loudness {}",
                s.clips,
                s.hours,
                s.shards,
                s.bytes as f64 / f64::from(1 << 20),
                loudness::text(s.loudness)
            );
            if s.strikes > 0 {
                text += &format!(", {} strikes", s.strikes);
            }
            for sample in &s.samples {
                text += &format!("\n  {}  {}", sample.key, loudness::text(sample.loudness));
                if sample.strikes > 0 {
                    text += &format!(", {} strikes", sample.strikes);
                }
            }
        }
        text
    }
}
