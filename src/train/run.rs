//! A training run from its options to its summary: everything is opened, checked and restored here; then
//! `trainer.rs` makes the steps.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::budget;
use super::checkpoint;
use super::files::Files;
use super::guard::LossGuard;
use super::progress::Progress;
use super::record::Record;
use super::run_folder::RunFolder;
use super::signals::Signals;
use super::state::{State, restore};
use super::task::{Prepared, Task};
use super::trainer::Trainer;
use crate::Result;
use crate::config::{Model, Settings};
use crate::device::Device;

/// In the run's folder: which algorithms a GPU's products use. They differ in the last bits, so a resume takes the same.
pub(super) const PLANS: &str = "gemm-plans.json";

/// What is to be trained, and where.
pub struct Options<'a, M: Model> {
    pub data: &'a Path,
    pub out: &'a Path,
    pub config: Settings<M>,
    pub resume: bool,
    pub device: Device,
    pub quiet: bool,
    pub files: &'a dyn Files,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary<R> {
    pub run: PathBuf,
    pub steps: u64,
    pub loss: f32,
    pub seconds: f64,
    pub samples_per_second: f64,
    pub evaluation: Option<R>,
}

/// What training of a prepared kind reports.
type ReportOf<P> = <<P as Prepared>::Task as Task>::Report;

/// Trains as the options say: `train::<CaptionerRun>(&options)`.
///
/// # Errors
/// Wrong settings or data, a folder that cannot be written, a run that diverges; [`crate::Error::Stopped`] after a
/// signal, when everything was saved.
pub fn train<P: Prepared>(options: &Options<P::Model>) -> Result<Summary<ReportOf<P>>> {
    let config = &options.config;
    config.check()?;
    let prepared = P::open(options.data, config)?;
    let budget = prepared.budget(config, options.device)?;
    budget.check(budget::available(options.device), config.train.batch)?;
    let signals = Signals::install()?;
    let folder = if options.resume {
        RunFolder::resume(options.files, options.out, config)?
    } else {
        RunFolder::create(options.files, options.out, config)?
    };
    if options.resume && P::is_described(options.out) {
        prepared.check(options.out)?;
    } else {
        prepared.describe(options.files, options.out)?;
    }
    let mut state = State {
        updates: 0,
        guard: LossGuard::new(config.train.skip_spikes),
        best: None,
        best_step: None,
        stale: 0,
        data: prepared.data().to_string(),
    };
    let mut task = prepared.start(config, options.device)?;
    let total = total_steps(config, task.passes_of_epoch());
    let (parameters, engine) = task.parts();
    if options.resume
        && let Ok(plans) = std::fs::read_to_string(options.out.join(PLANS))
    {
        engine.memory.prefer_plans(&plans);
    }
    engine.initialise(parameters, config.train.seed);
    let mut notes = Vec::new();
    let mut start = 0;
    if options.resume
        && let Some(found) = checkpoint::latest(options.out, &mut |line| notes.push(line.to_string()))?
    {
        start = found.step();
        state = found.state()?;
        restore(&found, parameters, &mut engine.memory)?;
        match state.best_step {
            Some(best) if checkpoint::best_step(options.out) != Some(best) => {
                checkpoint::mark_best(options.files, options.out, best)?;
            }
            _ => {}
        }
    }

    let progress = if options.quiet { Progress::quiet(total, start) } else { Progress::new(total, start) };
    let record = Record::open(options.files, options.out, start)?;
    let mut trainer = Trainer {
        options,
        config,
        task,
        state,
        progress,
        record,
        skipped_in_a_row: 0,
        booked: None,
        training_seconds: 0.0,
        seen: 0,
    };
    for line in folder.changed() {
        trainer.progress.note(&format!("setting changed: {line}"));
    }
    for line in notes {
        trainer.progress.warn(&line);
    }
    trainer.progress.note(&format!(
        "{} parameters, {}, {} steps of {}; memory: {}",
        trainer.task.parameters().count(),
        trainer.task.amount(),
        total,
        trainer.task.samples_of_pass() * config.train.accumulate,
        budget.line()
    ));
    if start > 0 {
        trainer.progress.note(&format!("continuing after step {start}"));
    }
    trainer.run(start, total, &signals)
}

/// Optimizer steps of the whole run, from the passes that one epoch has.
pub fn total_steps<M: Model>(config: &Settings<M>, passes_of_epoch: usize) -> u64 {
    if config.train.steps > 0 {
        return config.train.steps as u64;
    }
    let passes = f64::from(config.train.epochs) * passes_of_epoch as f64;
    (passes / config.train.accumulate as f64).round().max(1.0) as u64
}
