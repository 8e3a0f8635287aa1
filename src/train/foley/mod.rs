//! Training of the foley model: clips of video with sound, and what an evaluation listens to.

pub mod batch;
pub mod evaluate;
pub mod identity;
pub mod listen;
pub mod load;
mod samples;

use std::path::Path;

use self::batch::{Batch, Recipe};
use self::evaluate::Report;
use self::identity::Identity;
use self::samples::Samples;
use super::budget::Budget;
use super::files::Files;
use super::record::Record;
use super::task::{Evaluated, Maker, Prepared, Task, spread};
use crate::config::{self, Settings};
use crate::data::Visits;
use crate::data::sound::{Format, SoundSet, SoundSplit};
use crate::device::Device;
use crate::graph::Graph;
use crate::models::engine::{Engine, Pass};
use crate::models::foley::{Foley, Purpose, Session};
use crate::nn::Parameters;
use crate::{Error, Result};

/// The foley model's whole configuration.
pub type Config = Settings<config::Foley>;

/// A data set and a foley model that fit each other.
#[derive(Debug)]
pub struct FoleyRun {
    data: SoundSet,
    identity: Identity,
    model: Foley,
}

/// A foley model in training.
#[derive(Debug)]
pub struct FoleyTask {
    session: Session,
    recipe: Recipe,
    loss: config::SoundLoss,
    train: SoundSplit,
    evaluated: SoundSplit,
    /// Those of `evaluated` that are listened to.
    clips: Vec<usize>,
    /// Those that are made to sound.
    samples: Samples,
    seconds: f64,
}

impl Prepared for FoleyRun {
    type Model = config::Foley;
    type Task = FoleyTask;

    fn open(data: &Path, config: &Config) -> Result<FoleyRun> {
        let data = SoundSet::open(data)?;
        let identity = Identity::of(&data);
        let model = Foley::new(&config.model, identity.ends()?)?;
        Ok(FoleyRun { data, identity, model })
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
        let stored = Identity::load(run)?;
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
        self.identity.save(files, run)
    }

    fn start(self, config: &Config, device: Device) -> Result<FoleyTask> {
        let FoleyRun { data, model, identity } = self;
        let train = data.split("train")?;
        // An overfit run is judged on what it learns by heart; a data set without "val" on its training clips.
        let overfit = config.train.overfit > 0;
        let has_validation = data.split_names().any(|name| name == "val");
        let evaluated = if overfit || !has_validation { train.clone() } else { data.split("val")? };
        let held = if overfit { config.train.overfit.min(evaluated.len()) } else { evaluated.len() };
        Ok(FoleyTask {
            session: Session::new(model, device, Some(&config.optimizer))?,
            recipe: Recipe {
                visits: Visits {
                    seed: config.train.seed,
                    batch: config.train.batch,
                    first: config.train.overfit,
                },
                encoding: identity.sound.encoding,
                parallel: config.loss.parallel_prediction,
                noise: config.loss.input_noise,
            },
            loss: config.loss.clone(),
            train,
            evaluated,
            clips: spread(held, config.train.evaluate_pictures),
            samples: Samples {
                // As everywhere 0 of `spread` would be all of them.
                clips: match config.train.evaluate_sounds {
                    0 => Vec::new(),
                    sounds => spread(held, sounds),
                },
                length: bounded(&identity.sound, config.train.evaluate_seconds),
                seed: config.train.seed,
            },
            seconds: identity.sound.seconds(),
        })
    }
}

/// Samples of up to `seconds` of a clip.
fn bounded(sound: &Format, seconds: f32) -> usize {
    ((f64::from(seconds) * f64::from(sound.sample_rate)).round() as usize).min(sound.samples)
}

/// A training step over a batch of this size: forward and backward.
///
/// # Errors
/// If the model cannot be traced.
pub fn step(model: &Foley, config: &Config, batch: usize, device: Device) -> Result<Graph> {
    let purpose = Purpose::training(&config.loss);
    let mut step = Graph::storing(device.storage());
    model.step(&mut step, batch, model.ends.samples, purpose)?;
    Ok(step)
}

/// What a training step takes.
///
/// # Errors
/// If the model cannot be planned.
pub fn budget(model: &Foley, config: &Config, device: Device) -> Result<Budget> {
    let step = step(model, config, config.train.batch, device)?;
    Ok(Budget::of(step, &model.parameters, config.optimizer.average > 0.0, device))
}

impl Task for FoleyTask {
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
            return Err(Error::failed("the training split holds no clips; prepare the data again"));
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
        format!("{} clips of {:.2} s", self.train.len(), self.seconds)
    }

    fn samples(batch: &Batch) -> usize {
        batch.batch
    }

    fn targets(batch: &Batch) -> usize {
        batch.targets.len()
    }

    fn keys(&self, batch: &Batch) -> Vec<String> {
        batch.clips.iter().map(|&clip| self.train.key(clip).to_string()).collect()
    }

    fn plan(&mut self, batch: &Batch) -> Result<Pass> {
        let planned = self.session.step(batch.batch, batch.samples(), Purpose::training(&self.loss))?;
        Ok(Pass { program: planned.program.clone(), losses: planned.ends.losses.terms() })
    }

    fn write(&mut self, batch: &Batch, scale: f32) -> Result<()> {
        let planned = self.session.step(batch.batch, batch.samples(), Purpose::training(&self.loss))?;
        let (program, ends) = (&planned.program, planned.ends);
        if let Some(frames) = ends.frames {
            self.session.memory.write(program, frames, &batch.frames);
        }
        let lags = self.session.model.config.lags;
        let shown = (batch.codes.as_slice(), batch.samples());
        ends.show(&mut self.session.memory, program, shown, lags, &batch.targets);
        let samples = batch.targets.len();
        ends.weigh(&mut self.session.memory, program, &self.loss, scale, samples);
        Ok(())
    }

    fn evaluate(&mut self, step: u64, record: &mut Record) -> Result<Evaluated<Report>> {
        let Recipe { encoding, visits: Visits { batch, .. }, .. } = self.recipe;
        let (session, split) = (&mut self.session, &self.evaluated);
        let report = evaluate::evaluate(session, split, &self.clips, encoding, batch)?;
        let kept = self.samples.keep(record, step, session, split, encoding);
        Ok(Evaluated { report, kept })
    }
}
