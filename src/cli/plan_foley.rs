//! `evoke plan foley`: the memory of a training run on sound, by what the backward pass computes again, and its time.

use std::path::PathBuf;

use serde::Serialize;

use super::Output;
use super::plan::{RunArgs, memory};
use super::plan_time::Time;
use super::prepare::size;
use super::prepare_media::{fraction, positive};
use crate::config::foley::Recompute;
use crate::data::sound::cutter::samples_of;
use crate::data::sound::{Encoding, SoundSet};
use crate::models::foley::{Ends, Foley};
use crate::ops::waveform::Codes;
use crate::profile::rates::Gpu;
use crate::train::budget::{self, Budget};
use crate::train::foley::identity::Identity;
use crate::train::foley::{self, Config};
use crate::{Error, Result};

/// A foley model's training step, and what recomputing would save
#[derive(Debug, clap::Args)]
pub(super) struct FoleyArgs {
    /// Take the clips' length, rate and frames from a data set
    #[arg(long, conflicts_with_all = ["seconds", "rate", "fps", "size", "audio"])]
    data: Option<PathBuf>,
    /// Length of a clip
    #[arg(long, default_value = "3", value_name = "SECONDS", value_parser = positive)]
    seconds: f64,
    /// Samples a second
    #[arg(long, default_value_t = 16_000, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..=768_000))]
    rate: u32,
    /// Frames a second: a number or a fraction as 30000/1001
    #[arg(long, default_value = "3", value_name = "RATE", value_parser = fraction)]
    fps: (u32, u32),
    /// Pixels of a frame: one number for squares, or HEIGHTxWIDTH
    #[arg(long, default_value = "96x176", value_parser = size)]
    size: (usize, usize),
    /// Sound alone, as from `prepare audio`
    #[arg(long)]
    audio: bool,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<&'static str>,
    parameters: usize,
    batch: usize,
    /// Of a clip.
    samples: usize,
    frames: usize,
    recompute: Recompute,
    bytes: Budget,
    free: Option<usize>,
    fits: Option<bool>,
    largest_batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<SoundTime>,
    /// What each way of recomputing takes.
    choices: Vec<Choice>,
}

/// The time of a step, also in samples of sound.
#[derive(Debug, Serialize)]
struct SoundTime {
    #[serde(flatten)]
    time: Time,
    sound_samples_per_s: f64,
}

#[derive(Debug, Serialize)]
struct Choice {
    recompute: Recompute,
    bytes: usize,
    fits: Option<bool>,
}

impl FoleyArgs {
    pub(super) fn run(self, out: &Output) -> Result<()> {
        let (config, place): (Config, _) = self.run.read()?;
        let device = place.device;
        let (ends, train) = self.ends()?;
        let free = place.free();
        let fits = |bytes: usize| free.map(|free| bytes <= free);
        let planned = |recompute| {
            let mut config = config.clone();
            config.model.recompute = recompute;
            let model = Foley::new(&config.model, ends)?;
            let bytes = foley::budget(&model, &config, device)?;
            Ok::<_, Error>((model, bytes))
        };
        let (model, bytes) = planned(config.model.recompute)?;
        let mut choices = Vec::new();
        for recompute in [Recompute::None, Recompute::FeedForward, Recompute::Layer] {
            let bytes = planned(recompute)?.1.total;
            choices.push(Choice { recompute, bytes, fits: fits(bytes) });
        }
        let largest_batch = |free| {
            budget::largest_batch(|batch| foley::budget(&model, &config.with_batch(batch), device), free)
        };
        let trace = |batch| foley::step(&model, &config, batch, device);
        let time = place
            .time(&config, &trace, &model.parameters, train)?
            .map(|time| SoundTime { sound_samples_per_s: time.samples_per_s() * ends.samples as f64, time });
        let report = Report {
            device: device.name(),
            gpu: place.gpu.map(Gpu::name),
            parameters: model.parameters.count(),
            batch: config.train.batch,
            samples: ends.samples,
            frames: ends.frames,
            recompute: config.model.recompute,
            bytes,
            free,
            fits: fits(bytes.total),
            largest_batch: free.map(largest_batch),
            time,
            choices,
        };
        let refused = bytes.check(free, config.train.batch).map_err(|error| advised(error, &report));
        out.result(&report, told)?;
        refused
    }

    /// What the model sees and makes, and where there is a data set, the clips that it trains on.
    fn ends(&self) -> Result<(Ends, Option<usize>)> {
        if let Some(folder) = &self.data {
            let data = SoundSet::open(folder)?;
            return Ok((Identity::of(&data).ends()?, Some(data.split("train")?.len())));
        }
        // As `prepare video` cuts clips: whole frames, and as many samples as they last.
        let rate = f64::from(self.fps.0) / f64::from(self.fps.1);
        let frames = if self.audio { 0 } else { (self.seconds * rate).round().max(1.0) as usize };
        let (height, width) = if self.audio { (0, 0) } else { self.size };
        let samples = match frames {
            0 => (self.seconds * f64::from(self.rate)).round() as usize,
            frames => samples_of(frames, self.fps, self.rate),
        };
        let ends = Ends {
            height,
            width,
            frames,
            frame_rate: self.fps,
            samples,
            sample_rate: self.rate,
            classes: Encoding::MuLaw8.levels(),
            codes: Codes::MuLaw,
        };
        Ok((ends, None))
    }
}

/// Names the first way of recomputing that would fit, where there is one.
fn advised(error: Error, report: &Report) -> Error {
    match report.choices.iter().find(|choice| choice.fits == Some(true)) {
        Some(choice) => Error::failed(format!(
            "{error}; or model.recompute = \"{}\" in the same batch",
            name(choice.recompute)
        )),
        None => error,
    }
}

/// As the configuration writes it.
fn name(recompute: Recompute) -> &'static str {
    match recompute {
        Recompute::None => "none",
        Recompute::FeedForward => "feed-forward",
        Recompute::Layer => "layer",
    }
}

fn told(report: &Report) -> String {
    let pictures = match report.frames {
        0 => String::new(),
        frames => format!(" and {frames} frames"),
    };
    let mut text = format!(
        "{} parameters, batch {}, clips of {} samples{pictures}, on {}\n\n{}",
        report.parameters,
        report.batch,
        report.samples,
        report.gpu.unwrap_or(report.device),
        memory(&report.bytes, report.free, report.largest_batch)
    );
    text.push_str("\n\nmodel.recompute    total");
    for choice in &report.choices {
        let mark = if choice.recompute == report.recompute { "  (this run)" } else { "" };
        text.push_str(&format!("\n{:<12} {:>11}{mark}", name(choice.recompute), budget::bytes(choice.bytes)));
    }
    if let Some(SoundTime { time, sound_samples_per_s }) = &report.time {
        text.push_str(&format!("\n{}", time.told("clips")));
        text.push_str(&format!("\n         {sound_samples_per_s:.0} samples of sound a second"));
    }
    text
}
