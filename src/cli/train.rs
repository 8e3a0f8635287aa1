//! `evoke train`: train a model on prepared data.

use std::path::PathBuf;

use super::Output;
use crate::config::{self, Config};
use crate::device::Device;
use crate::train::captioner::CaptionerRun;
use crate::train::captioner::evaluate::Report;
use crate::train::files::Disk;
use crate::train::run::{self, Options, Summary};
use crate::train::run_folder::RunFolder;
use crate::{Error, Result};

/// Train a model on prepared data
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    model: Model,
}

#[derive(Debug, clap::Subcommand)]
enum Model {
    /// From a picture to its sentence
    Captioner(Captioner),
}

#[derive(Debug, clap::Args)]
struct Captioner {
    /// Folder that `evoke prepare` made
    #[arg(long, required_unless_present = "print_config")]
    data: Option<PathBuf>,
    /// Folder of the run: configuration, metrics, checkpoints, samples
    #[arg(long, required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Settings as TOML; what it leaves out has its default
    #[arg(long)]
    config: Option<PathBuf>,
    /// One setting, as `model.width=128`; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Go on from the last checkpoint, bit for bit
    #[arg(long)]
    resume: bool,
    /// Train on the first N pictures alone and judge on the same: can the model learn anything at all?
    #[arg(long, value_name = "N")]
    overfit: Option<usize>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print all settings with their explanations, and stop
    #[arg(long)]
    print_config: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let Model::Captioner(args) = self.model;
        args.run(out)
    }
}

impl Captioner {
    fn run(self, out: &Output) -> Result<()> {
        let mut sets = self.sets.clone();
        if let Some(pictures) = self.overfit {
            sets.push(format!("train.overfit={pictures}"));
        }
        // A run goes on with its own settings, unless others are given.
        let config = match &self.out {
            Some(run) if self.resume && self.config.is_none() => {
                RunFolder::stored_config::<config::Captioner>(run)?.with(None, &sets)?
            }
            _ => Config::load(self.config.as_deref(), &sets)?,
        };
        if self.print_config {
            print!("{}", config.to_toml()?);
            return Ok(());
        }
        let (Some(data), Some(run)) = (&self.data, &self.out) else {
            return Err(Error::usage("--data and --out are needed"));
        };
        let device = Device::parse(&self.device)?;
        if !self.quiet {
            out.note(device.describe(&self.device));
        }
        let options =
            Options { data, out: run, config, resume: self.resume, device, quiet: self.quiet, files: &Disk };
        let summary = run::train::<CaptionerRun>(&options)?;
        out.result(&summary, told)
    }
}

fn told(summary: &Summary<Report>) -> String {
    let mut text = format!(
        "{} steps, loss {:.4}, {:.1} samples/s\nrun: {}",
        summary.steps,
        summary.loss,
        summary.samples_per_second,
        summary.run.display()
    );
    if let Some(report) = &summary.evaluation {
        text.push_str(&format!(
            "\n{:.3} nats a token, {:.1} % exact, CIDEr-D {:.3} over {} pictures",
            report.nats_true,
            100.0 * report.exact,
            report.cider_d,
            report.pictures
        ));
    }
    text
}
