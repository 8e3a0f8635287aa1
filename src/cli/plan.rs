//! `evoke plan`: what a run will need, memory and time, before it starts.

use std::path::PathBuf;

use serde::Serialize;

use super::Output;
use super::plan_foley::FoleyArgs;
use super::plan_time::{Place, Time};
use super::plan_video::VideoArgs;
use crate::Result;
use crate::config::{Config, Model, Settings};
use crate::data::Dataset;
use crate::models::captioner::{Captioner, Ends};
use crate::profile::rates::Gpu;
use crate::train::budget::{self, Budget};
use crate::train::captioner;

/// Say how much memory and time a run will take, before step 0, and how much room a film
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A captioner's training step
    Captioner(CaptionerArgs),
    Foley(FoleyArgs),
    Video(VideoArgs),
}

#[derive(Debug, clap::Args)]
struct CaptionerArgs {
    /// Take the picture's size and the vocabulary from a data set
    #[arg(long, conflicts_with_all = ["size", "vocabulary"])]
    data: Option<PathBuf>,
    /// Pixels of a side
    #[arg(long, default_value_t = 224, value_name = "PIXELS")]
    size: usize,
    /// Tokens of the vocabulary
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    vocabulary: usize,
    #[command(flatten)]
    run: RunArgs,
}

/// The run that is planned, whatever its model.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Settings as TOML
    #[arg(long)]
    config: Option<PathBuf>,
    /// One setting, as `model.width=128`; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Plan for such a GPU, which need not be here: its memory and rates by its data sheet
    #[arg(long)]
    gpu: Option<Gpu>,
    /// Predict no time: nothing is measured
    #[arg(long)]
    memory_only: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<&'static str>,
    parameters: usize,
    batch: usize,
    words: usize,
    bytes: Budget,
    free: Option<usize>,
    fits: Option<bool>,
    largest_batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
}

impl RunArgs {
    /// Settings that hold together, and the place to plan for.
    pub(super) fn read<M: Model>(&self) -> Result<(Settings<M>, Place)> {
        let settings = Settings::load(self.config.as_deref(), &self.sets)?;
        settings.check()?;
        Ok((settings, Place::of(&self.device, self.gpu, self.memory_only)?))
    }
}

/// What a step holds, and where that is known what is free and the largest batch for it, as a table.
pub(super) fn memory(planned: &Budget, free: Option<usize>, largest: Option<usize>) -> String {
    let free = free.map_or(String::new(), |free| format!("\nfree         {:>10}", budget::bytes(free)));
    let largest = match largest {
        Some(0) => "\nno batch fits, however small".to_string(),
        Some(batch) => format!("\nlargest batch that fits: {batch}"),
        None => String::new(),
    };
    planned.table() + &free + &largest
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let args = match self.what {
            What::Captioner(args) => args,
            What::Foley(args) => return args.run(out),
            What::Video(args) => return args.run(out),
        };
        let (config, place): (Config, _) = args.run.read()?;
        let device = place.device;
        let (ends, train) = match &args.data {
            Some(folder) => {
                let data = Dataset::open(folder)?;
                let ends =
                    Ends { height: data.height(), width: data.width(), vocabulary: data.tokenizer().size() };
                (ends, Some(data.split("train")?.len()))
            }
            None => (Ends { height: args.size, width: args.size, vocabulary: args.vocabulary }, None),
        };
        let model = Captioner::new(&config.model, ends)?;
        let planned = |batch| captioner::budget(&model, &config.with_batch(batch), device);
        let bytes = planned(config.train.batch)?;
        let free = place.free();
        let trace = |batch| captioner::step(&model, &config, batch, device);
        let time = place.time(&config, &trace, &model.parameters, train)?;
        let report = Report {
            device: device.name(),
            gpu: place.gpu.map(Gpu::name),
            parameters: model.parameters.count(),
            batch: config.train.batch,
            words: config.model.max_words,
            bytes,
            free,
            fits: free.map(|free| bytes.total <= free),
            largest_batch: free.map(|free| budget::largest_batch(planned, free)),
            time,
        };
        let refused = bytes.check(free, config.train.batch);
        out.result(&report, |r| {
            format!(
                "{} parameters, batch {}, captions of up to {} tokens, on {}\n\n{}\n{}",
                r.parameters,
                r.batch,
                r.words,
                r.gpu.unwrap_or(r.device),
                memory(&r.bytes, r.free, r.largest_batch),
                r.time.as_ref().map_or(String::new(), |time| time.told("pictures"))
            )
        })?;
        refused
    }
}
