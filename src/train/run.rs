//! A training run from its options to its summary: everything is opened, checked and restored here; then
//! `trainer.rs` makes the steps.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::budget::{self, Budget};
use super::checkpoint;
use super::evaluate::{self, Report};
use super::files::Files;
use super::guard::LossGuard;
use super::identity::Identity;
use super::progress::Progress;
use super::record::Record;
use super::run_folder::RunFolder;
use super::signals::Signals;
use super::state::{State, restore};
use super::trainer::Trainer;
use crate::config::Config;
use crate::data::loader::Recipe;
use crate::data::{Dataset, Split};
use crate::device::Device;
use crate::models::captioner::{Captioner, Session};
use crate::{Error, Result};

/// In the run's folder: which algorithms a GPU's products use. They differ in the last bits, so a resume takes the same.
pub(super) const PLANS: &str = "gemm-plans.json";

/// What is to be trained, and where.
pub struct Options<'a> {
    pub data: &'a Path,
    pub out: &'a Path,
    pub config: Config,
    pub resume: bool,
    pub device: Device,
    pub quiet: bool,
    pub files: &'a dyn Files,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub run: PathBuf,
    pub steps: u64,
    pub loss: f32,
    pub seconds: f64,
    pub samples_per_second: f64,
    pub evaluation: Option<Report>,
}

/// Trains a captioner as the options say.
///
/// # Errors
/// Wrong settings or data, a folder that cannot be written, a run that diverges; [`Error::Stopped`] after a signal,
/// when everything was saved.
pub fn train(options: &Options) -> Result<Summary> {
    let config = &options.config;
    config.check()?;
    let data = Dataset::open(options.data)?;
    let identity = Identity::of(&data);
    let model = Captioner::new(&config.model, identity.ends())?;
    let budget = Budget::plan(&model, config, options.device)?;
    budget.check(budget::available(options.device), config.train.batch)?;
    let signals = Signals::install()?;
    let folder = if options.resume {
        RunFolder::resume(options.files, options.out, config)?
    } else {
        RunFolder::create(options.files, options.out, config)?
    };
    if options.resume && Identity::is_saved(options.out) {
        let (stored, _) = Identity::load(options.out)?;
        stored.check(&data)?;
        if stored.data != identity.data {
            return Err(Error::failed(format!(
                "{}: is not the data set that the run began with; give that one, or start anew with another --out",
                options.data.display()
            )));
        }
    } else {
        identity.save(options.files, options.out, data.tokenizer())?;
    }
    let train = data.split("train")?;
    let recipe = Recipe {
        seed: config.train.seed,
        batch: config.train.batch,
        max_words: config.model.max_words,
        word_dropout: config.model.word_dropout,
        parallel: config.loss.parallel_prediction,
        first: config.train.overfit,
    };
    let total = total_steps(config, &recipe, &train);
    let mut session = Session::new(model, options.device, Some(&config.optimizer))?;
    if options.resume
        && let Ok(plans) = std::fs::read_to_string(options.out.join(PLANS))
    {
        session.memory.prefer_plans(&plans);
    }
    session.initialise(config.train.seed);
    let mut state = State {
        updates: 0,
        guard: LossGuard::new(config.train.skip_spikes),
        best: None,
        best_step: None,
        stale: 0,
        data: identity.data.clone(),
    };
    let mut notes = Vec::new();
    let mut start = 0;
    if options.resume
        && let Some(found) = checkpoint::latest(options.out, &mut |line| notes.push(line.to_string()))?
    {
        start = found.step();
        state = found.state()?;
        restore(&found, &mut session)?;
        match state.best_step {
            Some(best) if checkpoint::best_step(options.out) != Some(best) => {
                checkpoint::mark_best(options.files, options.out, best)?;
            }
            _ => {}
        }
    }

    // An overfit run is judged on what it learns by heart; a data set without "val" on its training pictures.
    let overfit = config.train.overfit > 0;
    let has_validation = data.split_names().any(|name| name == "val");
    let evaluated = if overfit || !has_validation { train.clone() } else { data.split("val")? };
    let held = if overfit { config.train.overfit.min(evaluated.len()) } else { evaluated.len() };
    let samples = evaluate::spread(held, config.train.evaluate_pictures);

    let progress = if options.quiet { Progress::quiet(total, start) } else { Progress::new(total, start) };
    let record = Record::open(options.files, options.out, start)?;
    let vocabulary = data.tokenizer().clone();
    let mut trainer = Trainer {
        options,
        config,
        session,
        vocabulary,
        recipe,
        train,
        evaluated,
        samples,
        state,
        progress,
        record,
        skipped_in_a_row: 0,
    };
    for line in folder.changed() {
        trainer.progress.note(&format!("setting changed: {line}"));
    }
    for line in notes {
        trainer.progress.warn(&line);
    }
    trainer.progress.note(&format!(
        "{} parameters, {} pictures, {} steps of {}; memory: {}",
        trainer.session.model.parameters.count(),
        trainer.train.len(),
        total,
        trainer.recipe.batch_of(&trainer.train) * config.train.accumulate,
        budget.line()
    ));
    if start > 0 {
        trainer.progress.note(&format!("continuing after step {start}"));
    }
    trainer.run(start, total, &signals)
}

/// Optimizer steps of the whole run.
pub fn total_steps(config: &Config, recipe: &Recipe, train: &Split) -> u64 {
    if config.train.steps > 0 {
        return config.train.steps as u64;
    }
    let passes = f64::from(config.train.epochs) * recipe.passes_of(train) as f64;
    (passes / config.train.accumulate as f64).round().max(1.0) as u64
}
