//! `evoke plan`: what a run will need, before it starts.

use std::path::PathBuf;

use serde::Serialize;

use super::Output;
use super::plan_foley::FoleyArgs;
use super::plan_video::VideoArgs;
use crate::Result;
use crate::config::{Config, Model, Settings};
use crate::data::Dataset;
use crate::device::Device;
use crate::models::captioner::{Captioner, Ends};
use crate::train::budget::{self, Budget};
use crate::train::captioner;

/// Say how much memory a run will take, before step 0, and how much room a film
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
}

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    parameters: usize,
    batch: usize,
    words: usize,
    bytes: Budget,
    free: Option<usize>,
    fits: Option<bool>,
}

impl RunArgs {
    /// Settings that hold together, and the device.
    pub(super) fn read<M: Model>(&self) -> Result<(Settings<M>, Device)> {
        let settings = Settings::load(self.config.as_deref(), &self.sets)?;
        settings.check()?;
        Ok((settings, Device::parse(&self.device)?))
    }
}

/// What a step holds, and what is free where that is known, as a table.
pub(super) fn memory(planned: &Budget, free: Option<usize>) -> String {
    let free = free.map_or(String::new(), |free| format!("\nfree         {:>10}", budget::bytes(free)));
    planned.table() + &free
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let args = match self.what {
            What::Captioner(args) => args,
            What::Foley(args) => return args.run(out),
            What::Video(args) => return args.run(out),
        };
        let (config, device): (Config, _) = args.run.read()?;
        let ends = match &args.data {
            Some(folder) => {
                let data = Dataset::open(folder)?;
                Ends { height: data.height(), width: data.width(), vocabulary: data.tokenizer().size() }
            }
            None => Ends { height: args.size, width: args.size, vocabulary: args.vocabulary },
        };
        let model = Captioner::new(&config.model, ends)?;
        let bytes = captioner::budget(&model, &config, device)?;
        let free = budget::available(device);
        let report = Report {
            device: device.name(),
            parameters: model.parameters.count(),
            batch: config.train.batch,
            words: config.model.max_words,
            bytes,
            free,
            fits: free.map(|free| bytes.total <= free),
        };
        let refused = bytes.check(free, config.train.batch);
        out.result(&report, |r| {
            format!(
                "{} parameters, batch {}, captions of up to {} tokens, on {}\n\n{}",
                r.parameters,
                r.batch,
                r.words,
                r.device,
                memory(&r.bytes, r.free)
            )
        })?;
        refused
    }
}
