//! Training of the captioner: pictures with captions, and what an evaluation looks at.

pub mod evaluate;
pub mod identity;
pub mod load;
mod samples;

use std::path::Path;
use std::sync::Arc;

use self::evaluate::Report;
use self::identity::Identity;
use super::budget::Budget;
use super::files::Files;
use super::record::Record;
use super::task::{Evaluated, Maker, Prepared, Task};
use crate::config::{self, Config};
use crate::data::loader::{Batch, Recipe};
use crate::data::{Dataset, Split, Visits, Vocabulary};
use crate::decode::Method;
use crate::device::Device;
use crate::graph::Graph;
use crate::models::captioner::{Captioner, Purpose, Session, Step};
use crate::models::engine::{Engine, Pass, Planned};
use crate::nn::Parameters;
use crate::{Error, Result};

/// A data set and a captioner that fit each other.
#[derive(Debug)]
pub struct CaptionerRun {
    data: Dataset,
    identity: Identity,
    model: Captioner,
}

/// A captioner in training.
#[derive(Debug)]
pub struct CaptionerTask {
    session: Session,
    vocabulary: Vocabulary,
    recipe: Recipe,
    label_smoothing: f32,
    train: Split,
    evaluated: Split,
    /// Those of `evaluated` that are looked at.
    samples: Vec<usize>,
}

impl Prepared for CaptionerRun {
    type Model = config::Captioner;
    type Task = CaptionerTask;

    fn open(data: &Path, config: &Config) -> Result<CaptionerRun> {
        let data = Dataset::open(data)?;
        let identity = Identity::of(&data);
        let model = Captioner::new(&config.model, identity.ends())?;
        Ok(CaptionerRun { data, identity, model })
    }

    fn budget(&self, config: &Config, device: Device) -> Result<Budget> {
        budget(&self.model, config, device)
    }

    fn data(&self) -> &str {
        &self.identity.data
    }

    fn is_described(run: &Path) -> bool {
        Identity::is_saved(run)
    }

    fn check(&self, run: &Path) -> Result<()> {
        let (stored, _) = Identity::load(run)?;
        stored.check(&self.data)?;
        if stored.data != self.identity.data {
            return Err(Error::failed(format!(
                "{}: is not the data set that the run began with; give that one, or start anew with another --out",
                self.data.folder().display()
            )));
        }
        Ok(())
    }

    fn describe(&self, files: &dyn Files, run: &Path) -> Result<()> {
        self.identity.save(files, run, self.data.tokenizer())
    }

    fn start(self, config: &Config, device: Device) -> Result<CaptionerTask> {
        let CaptionerRun { data, model, .. } = self;
        let train = data.split("train")?;
        // An overfit run is judged on what it learns by heart; a data set without "val" on its training pictures.
        let overfit = config.train.overfit > 0;
        let has_validation = data.split_names().any(|name| name == "val");
        let evaluated = if overfit || !has_validation { train.clone() } else { data.split("val")? };
        let held = if overfit { config.train.overfit.min(evaluated.len()) } else { evaluated.len() };
        Ok(CaptionerTask {
            session: Session::new(model, device, Some(&config.optimizer))?,
            vocabulary: data.tokenizer().clone(),
            recipe: Recipe {
                visits: Visits {
                    seed: config.train.seed,
                    batch: config.train.batch,
                    first: config.train.overfit,
                },
                max_words: config.model.max_words,
                word_dropout: config.model.word_dropout,
                parallel: config.loss.parallel_prediction,
            },
            label_smoothing: config.loss.label_smoothing,
            train,
            evaluated,
            samples: evaluate::spread(held, config.train.evaluate_pictures),
        })
    }
}

/// The longest training step over a batch of this size: forward and backward.
///
/// # Errors
/// If the model cannot be traced.
pub fn step(model: &Captioner, config: &Config, batch: usize, device: Device) -> Result<Graph> {
    let purpose = Purpose { train: true, both_ways: false, label_smoothing: config.loss.label_smoothing };
    let mut step = Graph::storing(device.storage());
    model.step(&mut step, batch, config.model.max_words, purpose)?;
    Ok(step)
}

/// What the longest training step takes.
///
/// # Errors
/// If the model cannot be planned.
pub fn budget(model: &Captioner, config: &Config, device: Device) -> Result<Budget> {
    let step = step(model, config, config.train.batch, device)?;
    Ok(Budget::of(step, &model.parameters, config.optimizer.average > 0.0, device))
}

impl Task for CaptionerTask {
    type Batch = Batch;
    type Report = Report;

    fn engine(&self) -> &Engine {
        &self.session
    }

    fn parts(&mut self) -> (&Parameters, &mut Engine) {
        let (model, engine) = self.session.parts();
        (&model.parameters, engine)
    }

    fn parameters(&self) -> &Parameters {
        &self.session.model.parameters
    }

    fn maker(&self) -> Result<Maker<Batch>> {
        if self.train.is_empty() {
            return Err(Error::failed("the training split holds no pictures; prepare the data again"));
        }
        let (recipe, split) = (self.recipe.clone(), self.train.clone());
        Ok(Box::new(move |pass| recipe.make(&split, pass)))
    }

    fn passes_of_epoch(&self) -> usize {
        self.recipe.visits.passes_of(self.train.len())
    }

    fn samples_of_pass(&self) -> usize {
        self.recipe.visits.batch_of(self.train.len())
    }

    fn amount(&self) -> String {
        format!("{} pictures", self.train.len())
    }

    fn samples(batch: &Batch) -> usize {
        batch.batch
    }

    fn targets(batch: &Batch) -> usize {
        batch.target_words()
    }

    fn keys(&self, batch: &Batch) -> Vec<String> {
        batch.samples.iter().map(|&sample| self.train.key(sample).to_string()).collect()
    }

    fn plan(&mut self, batch: &Batch) -> Result<Pass> {
        let planned = self.planned(batch)?;
        Ok(Pass { program: planned.program.clone(), losses: vec![planned.ends.loss.sums] })
    }

    fn write(&mut self, batch: &Batch, scale: f32) -> Result<()> {
        let planned = self.planned(batch)?;
        let (program, ends) = (&planned.program, planned.ends);
        self.session.memory.write(program, ends.pixels, &batch.pixels);
        self.session.memory.write(program, ends.words, &batch.words);
        self.session.memory.write(program, ends.targets, &batch.targets);
        self.session.memory.write(program, ends.scale, &[scale]);
        Ok(())
    }

    fn evaluate(&mut self, step: u64, record: &mut Record) -> Result<Evaluated<Report>> {
        let (session, split, vocabulary) = (&mut self.session, &self.evaluated, &self.vocabulary);
        let (report, described) =
            evaluate::evaluate(session, vocabulary, split, &self.samples, Method::GREEDY)?;
        let kept = samples::keep(record, step, session, vocabulary, split, &described);
        Ok(Evaluated { report, kept: kept.map(|()| None) })
    }
}

impl CaptionerTask {
    fn planned(&mut self, batch: &Batch) -> Result<Arc<Planned<Step>>> {
        let purpose =
            Purpose { train: true, both_ways: batch.parallel, label_smoothing: self.label_smoothing };
        self.session.step(batch.batch, batch.length, purpose)
    }
}
