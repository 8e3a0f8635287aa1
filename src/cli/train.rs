//! `evoke train`: train a model on prepared data.

use std::path::PathBuf;

use super::Output;
use crate::Result;
use crate::config::{Model as _, Settings};
use crate::device::Device;
use crate::train::captioner::{self, CaptionerRun};
use crate::train::files::Disk;
use crate::train::foley::{self, FoleyRun};
use crate::train::run::{self, Options, Summary};
use crate::train::run_folder::RunFolder;
use crate::train::task::{Prepared, Task};

/// Train a model on prepared data
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    model: Model,
}

#[derive(Debug, clap::Subcommand)]
enum Model {
    /// From a picture to its sentence
    Captioner(Training),
    /// From a silent video to its sound
    Foley(Training),
}

#[derive(Debug, clap::Args)]
struct Training {
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
    /// Train on the first N pictures or clips alone and judge on the same: can the model learn anything at all?
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
        match self.model {
            Model::Captioner(args) => args.run::<CaptionerRun>(out, captioned),
            Model::Foley(args) => args.run::<FoleyRun>(out, heard),
        }
    }
}

impl Training {
    fn run<P: Prepared>(self, out: &Output, told: fn(&<P::Task as Task>::Report) -> String) -> Result<()> {
        let mut sets = self.sets.clone();
        if let Some(samples) = self.overfit {
            sets.push(format!("train.overfit={samples}"));
        }
        // A run goes on with its own settings, unless others are given.
        let config: Settings<P::Model> = match &self.out {
            Some(run) if self.resume && self.config.is_none() => {
                RunFolder::stored_config::<P::Model>(run)?.with(None, &sets)?
            }
            _ => Settings::load(self.config.as_deref(), &sets)?,
        };
        if self.print_config {
            print!("{}", config.to_toml()?);
            return Ok(());
        }
        let (Some(data), Some(run)) = (&self.data, &self.out) else {
            return Err(crate::Error::usage(format!(
                "train {}: --data and --out are needed",
                P::Model::NAME
            )));
        };
        let device = Device::parse(&self.device)?;
        if !self.quiet {
            out.note(device.describe(&self.device));
        }
        let options =
            Options { data, out: run, config, resume: self.resume, device, quiet: self.quiet, files: &Disk };
        let summary = run::train::<P>(&options)?;
        out.result(&summary, |summary| text(summary, told))
    }
}

fn text<R>(summary: &Summary<R>, told: fn(&R) -> String) -> String {
    let mut text = format!(
        "{} steps, loss {:.4}, {:.1} samples/s\nrun: {}",
        summary.steps,
        summary.loss,
        summary.samples_per_second,
        summary.run.display()
    );
    if let Some(report) = &summary.evaluation {
        text.push('\n');
        text.push_str(&told(report));
    }
    text
}

fn captioned(report: &captioner::evaluate::Report) -> String {
    format!(
        "{:.3} nats a token, {:.1} % exact, CIDEr-D {:.3} over {} pictures",
        report.nats_true,
        100.0 * report.exact,
        report.cider_d,
        report.pictures
    )
}

fn heard(report: &foley::evaluate::Report) -> String {
    crate::train::task::Report::line(report)
}
