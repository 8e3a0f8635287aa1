//! What `evoke prepare video` and `audio` share: options of the sound, writing, and the table at the end.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::Output;
use super::prepare::share;
use super::prepare_progress::Progress;
use crate::data::sound::recordings::{Files, identity};
use crate::data::sound::{Encoding, SoundPlan, SoundWriter, loudness};
use crate::data::writer::{self, Report};
use crate::{Error, Result};

/// Lines of the table; a folder of a hundred thousand words is not listed.
const LISTED: usize = 40;

#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// The folder to write; started again after a stop, the same command goes on where it was
    #[arg(long, value_name = "DATA")]
    pub out: PathBuf,
    /// Samples a second
    #[arg(long, default_value_t = 16_000, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=768_000))]
    pub rate: u32,
    /// How samples are stored
    #[arg(long, value_enum, default_value = "mu-law-8")]
    pub encoding: Encoding,
    /// Make each clip as loud as it can be
    #[arg(long)]
    pub gain: bool,
    /// Drop clips below this level, in dB of full scale, as in --silence=-50; film is often at -40
    #[arg(long, value_name = "DB", allow_hyphen_values = true, value_parser = level)]
    pub silence: Option<f64>,
    /// Share of each file that becomes the split `val`: one stretch of successive clips, at a place given by the file's name
    #[arg(long, default_value_t = 0.05, value_name = "SHARE", value_parser = share)]
    pub val_share: f64,
    /// The most MiB of frames and samples in one shard
    #[arg(long, default_value_t = (writer::SHARD_BYTES >> 20) as u64, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub shard_mib: u64,
    /// Replace a data set that is already there
    #[arg(long)]
    pub overwrite: bool,
}

/// What `prepare video --json` and `prepare audio --json` print.
#[derive(Serialize)]
struct Summary {
    out: String,
    seconds: f64,
    /// Of the clips kept.
    hours: f64,
    /// The median over all clips, dB of full scale; null where most are silent.
    loudness: Option<f64>,
    clips: usize,
    dropped: usize,
    #[serde(flatten)]
    report: Report,
}

impl Common {
    /// Cuts all files and writes the set.
    ///
    /// # Errors
    /// If the set cannot be written or no file gives a clip.
    pub fn prepare(&self, out: &Output, source: &str, files: Files) -> Result<()> {
        let started = Instant::now();
        let rules = &files.rules;
        if rules.format.samples == 0 {
            return Err(Error::usage(
                "--seconds: a clip has no samples; give more seconds, or a higher --rate",
            ));
        }
        let plan = SoundPlan {
            source: source.into(),
            identity: json!({
                "files": identity(&files.items), "rules": rules,
                "ffmpeg": files.ffmpeg.as_ref().map(|ffmpeg| ffmpeg.version()),
            }),
            format: rules.format.clone(),
            shard_bytes: (self.shard_mib as usize) << 20,
        };
        let mut writer = SoundWriter::create(&self.out, plan, self.overwrite)?;
        let progress = Progress::new(source, "clips");
        let result = writer.stream(&files, &|tick| progress.show(tick));
        progress.clear();
        result?;
        let (report, levels) = writer.finish_stream()?;
        let sum = |of: fn(&crate::data::sound::FileReport) -> usize| report.files.iter().map(of).sum();
        let summary = Summary {
            out: self.out.display().to_string(),
            seconds: started.elapsed().as_secs_f64(),
            hours: report.files.iter().map(|file| file.hours).sum(),
            loudness: levels,
            clips: sum(|file| file.clips),
            dropped: sum(|file| file.dropped),
            report,
        };
        out.result(&summary, Summary::text)
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut text = String::from("  hours  clips dropped   loudness  file");
        let line = |hours: f64, clips: usize, dropped: usize, level: Option<f64>, rest: &str| {
            let level = if clips == 0 { "-".into() } else { loudness::text(level) };
            format!("\n{hours:7.3} {clips:6} {dropped:7} {level:>10}  {rest}")
        };
        // Files of which something is to be told come first where not all can be listed.
        let mut files: Vec<_> = self.report.files.iter().collect();
        if files.len() > LISTED {
            files.sort_by_key(|file| file.reason.is_none());
        }
        for file in files.iter().take(LISTED) {
            let reason = file.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            text +=
                &line(file.hours, file.clips, file.dropped, file.loudness, &(file.path.clone() + &reason));
        }
        if files.len() > LISTED {
            text += &format!("\n        and {} more, all in {}", files.len() - LISTED, writer::REPORT);
        }
        if files.len() > 1 {
            let all = format!("all {} files", files.len());
            text += &line(self.hours, self.clips, self.dropped, self.loudness, &all);
        }
        text += &format!("\n\n{}: data set {}", self.out, self.report.dataset);
        for (name, split) in &self.report.splits {
            let mib = split.bytes as f64 / f64::from(1 << 20);
            text += &format!("\n{name:8}{} clips, {} shards, {mib:.1} MiB", split.samples, split.shards);
        }
        text + &format!("\n{:.1} s", self.seconds)
    }
}

/// `3`, `12.5` or `30000/1001`.
pub(super) fn fraction(text: &str) -> std::result::Result<(u32, u32), String> {
    const MILLI: u32 = 1000;
    let (numerator, denominator) = match text.split_once('/') {
        Some((a, b)) => (a.parse().unwrap_or(0), b.parse().unwrap_or(0)),
        None => {
            let rate: f64 = text.parse().unwrap_or(0.0);
            ((rate * f64::from(MILLI)).round() as u32, MILLI)
        }
    };
    // Beyond a million frames a second, or one in a million seconds, nothing is filmed.
    if numerator == 0 || denominator == 0 || numerator > 1_000_000 || denominator > 1_000_000 {
        return Err("expected frames a second: 3, 12.5 or a fraction as 30000/1001".into());
    }
    let common = divisor(numerator, denominator);
    Ok((numerator / common, denominator / common))
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// A number above 0.
pub(super) fn positive(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|number| *number > 0.0 && *number <= 1e9);
    number.ok_or_else(|| "expected a number above 0".into())
}

/// A level in dB of full scale.
fn level(text: &str) -> std::result::Result<f64, String> {
    let level = text.parse().ok().filter(|level| (-200.0..=0.0).contains(level));
    level.ok_or_else(|| "expected a level from -200 to 0, as in -50".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_fractions() {
        for (text, rate) in
            [("3", (3, 1)), ("12.5", (25, 2)), ("30000/1001", (30_000, 1001)), ("29.97", (2997, 100))]
        {
            assert_eq!(fraction(text), Ok(rate));
        }
        for text in ["0", "-1", "3/0", "nan", "x", "", "1e9", "1/2/3"] {
            assert!(fraction(text).is_err(), "{text}");
        }
        assert!(positive("0").is_err() && positive("nan").is_err() && positive("0.5") == Ok(0.5));
        assert!(level("3").is_err() && level("-50") == Ok(-50.0));
    }
}
