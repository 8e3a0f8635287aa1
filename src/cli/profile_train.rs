//! `evoke profile train`: where a training step's time and memory go.

use std::path::PathBuf;

use super::Output;
use crate::config::{Model, Settings};
use crate::data::index::{self, Contents, SoundFormat};
use crate::device::Device;
use crate::error::At;
use crate::profile::train::{self, Report};
use crate::train::captioner::CaptionerRun;
use crate::train::foley::FoleyRun;
use crate::train::run_folder::RunFolder;
use crate::train::task::Prepared;
use crate::{Error, Result};

/// Say where a training step's time and memory go: by operation and layer, against what this machine allows
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a run, or settings as TOML; without it the model's defaults
    run: Option<PathBuf>,
    /// Folder that `evoke prepare` made; it decides which model is trained
    #[arg(long)]
    data: PathBuf,
    /// One setting, as `model.width=128`; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Steps that are timed as a whole, and as many with a clock around each operation
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Write the last step as a trace, for Perfetto (ui.perfetto.dev) or chrome://tracing
    #[arg(long, value_name = "TRACE.json")]
    trace: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        if self.steps == 0 {
            return Err(Error::usage("--steps 0: at least one step is needed"));
        }
        let report = match index::format(&self.data).as_deref() == Some(SoundFormat::FORMAT) {
            true => self.profiled::<FoleyRun>()?,
            false => self.profiled::<CaptionerRun>()?,
        };
        if let Some(path) = &self.trace {
            std::fs::write(path, train::trace(&report).to_string()).at("write", path)?;
            out.note(format!("trace: {} (open it at ui.perfetto.dev)", path.display()));
        }
        out.result(&report, train::told)
    }

    fn profiled<R: Prepared>(&self) -> Result<Report> {
        let device = Device::parse(&self.device)?;
        train::run::<R>(&self.data, &self.settings::<R::Model>()?, device, self.steps)
    }

    fn settings<M: Model>(&self) -> Result<Settings<M>> {
        match &self.run {
            Some(folder) if folder.is_dir() => {
                if self.sets.is_empty() {
                    return RunFolder::stored_config(folder);
                }
                Err(Error::usage(format!(
                    "--set changes settings, and those of {} are the run's own: give a TOML file",
                    folder.display()
                )))
            }
            file => Settings::load(file.as_deref(), &self.sets),
        }
    }
}
