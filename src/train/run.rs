//! The training loop: steps, evaluations, checkpoints, and what happens when one of them goes wrong.
//!
//! Everything random is a pure function of (seed, pass), so the state that a resume needs is small: how many updates
//! the weights have seen, the guard, and the best evaluation. Step counts include steps that were skipped.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::budget::{self, Budget};
use super::checkpoint::{self, Group, Keep, Tensor};
use super::evaluate::{self, Report};
use super::files::{self, Files};
use super::guard::{self, LossGuard, Verdict};
use super::identity::Identity;
use super::load;
use super::progress::{Progress, StepReport};
use super::record::{Line, Record};
use super::run_folder::RunFolder;
use super::signals::Signals;
use crate::config::Config;
use crate::data::loader::{Batch, Loader, Recipe};
use crate::data::{Dataset, Split, Vocabulary};
use crate::decode::Method;
use crate::device::{Device, StepState};
use crate::graph::plan::Region;
use crate::models::captioner::{Captioner, Purpose, Session};
use crate::nn::parameters::Spec;
use crate::optim::schedule::learning_rate;
use crate::{Error, Result};

/// Steps in a row that may be skipped before the run gives up: by then it is no accident.
const MOST_SKIPPED: u32 = 20;
/// In the run's folder: which algorithms a GPU's products use. They differ in the last bits, so a resume takes the same.
const PLANS: &str = "gemm-plans.json";

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

/// What a checkpoint holds beside tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    /// Updates that the weights have seen: skipped steps do not count.
    updates: u64,
    guard: LossGuard,
    /// Lowest nats a token of an evaluation.
    best: Option<f64>,
    /// The step of that evaluation: a kill may come between its checkpoint and the mark on it.
    best_step: Option<u64>,
    /// Evaluations since then.
    stale: usize,
    data: String,
}

impl State {
    /// Remembers the best evaluation; says whether this is it. A NaN is never best: nothing would be below it.
    fn judge(&mut self, step: u64, nats: f64) -> bool {
        let better = nats < self.best.unwrap_or(f64::INFINITY);
        if better {
            (self.best, self.best_step, self.stale) = (Some(nats), Some(step), 0);
        } else {
            self.stale += 1;
        }
        better
    }
}

struct Trainer<'a> {
    options: &'a Options<'a>,
    config: &'a Config,
    session: Session,
    vocabulary: Vocabulary,
    recipe: Recipe,
    train: Split,
    evaluated: Split,
    samples: Vec<usize>,
    state: State,
    progress: Progress,
    record: Record<'a>,
    skipped_in_a_row: u32,
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

fn restore(found: &checkpoint::Checkpoint, session: &mut Session) -> Result<()> {
    load::read(found, checkpoint::WEIGHTS, "", session, Region::Weights)?;
    load::read(found, checkpoint::MOMENTS, ".first", session, Region::FirstMoment)?;
    load::read(found, checkpoint::MOMENTS, ".second", session, Region::SecondMoment)?;
    if found.has(checkpoint::AVERAGE) {
        load::read(found, checkpoint::AVERAGE, "", session, Region::Average)?;
    }
    Ok(())
}

impl Trainer<'_> {
    fn run(mut self, start: u64, total: u64, signals: &Signals) -> Result<Summary> {
        let began = Instant::now();
        let accumulate = self.config.train.accumulate as u64;
        let mut loader = Loader::start(self.train.clone(), self.recipe.clone(), start * accumulate)?;
        let mut summary = Summary {
            run: self.options.out.to_path_buf(),
            steps: start,
            loss: f32::NAN,
            seconds: 0.0,
            samples_per_second: 0.0,
            evaluation: None,
        };
        let (mut training_seconds, mut seen) = (0.0, 0);
        let patience = self.config.train.early_stop;
        // A run that had stopped early stays where it is, unless it is given more patience.
        let end = if patience > 0 && self.state.stale >= patience { start } else { total };
        for step in start + 1..=end {
            let step_began = Instant::now();
            let waited = loader.waited;
            let mut batches = Vec::new();
            for _ in 0..accumulate {
                batches.push(loader.next()?);
            }
            let rate = learning_rate(self.config, step, total);
            let (loss, norm, skipped) = self.step(step, &batches, rate).map_err(|e| self.at_step(step, e))?;
            let samples: usize = batches.iter().map(|b| b.batch).sum();
            let report = StepReport {
                step,
                loss,
                learning_rate: rate,
                samples,
                data_wait_seconds: loader.waited - waited,
                step_seconds: step_began.elapsed().as_secs_f64(),
            };
            self.progress.step(report);
            training_seconds += report.step_seconds;
            seen += samples;
            (summary.steps, summary.loss) = (step, loss);

            let last = step == total;
            let stop = signals.stop_requested();
            let every = |n: usize| n > 0 && step % n as u64 == 0;
            let mut improved = false;
            let mut evaluation = None;
            if last || (every(self.config.train.evaluate_every) && !stop) {
                let report = self.evaluate(step)?;
                improved = self.state.judge(step, report.nats_true);
                evaluation = Some(report);
            }
            let warning = self.record.step(
                step,
                &Line {
                    loss,
                    learning_rate: rate,
                    gradient_norm: norm,
                    samples_per_second: samples as f64 / report.step_seconds,
                    data_wait: report.data_wait_seconds / report.step_seconds,
                    skipped,
                    evaluation: evaluation.as_ref(),
                },
            )?;
            if let Some(warning) = warning {
                self.progress.warn(&warning);
            }
            let early = evaluation.is_some() && patience > 0 && self.state.stale >= patience;
            summary.evaluation = evaluation.or(summary.evaluation);
            if last || stop || early || improved || every(self.config.train.checkpoint_every) {
                match self.save(step, improved) {
                    Ok(()) => {}
                    Err(error) if last || stop || early => return Err(error),
                    // The one before it stands, and the next may succeed: hours of training are worth the try.
                    Err(error) => self.progress.warn(&format!("no checkpoint at step {step}: {error}")),
                }
            }
            if stop && !last {
                self.progress.finish();
                return Err(Error::Stopped(format!(
                    "stopped by {} after step {step}; everything is saved, go on with --resume",
                    signals.name()
                )));
            }
            if early {
                let line =
                    format!("no better evaluation in the last {patience}: stopping early at step {step}");
                self.progress.note(&line);
                break;
            }
        }
        summary.seconds = began.elapsed().as_secs_f64();
        summary.samples_per_second = if seen == 0 { 0.0 } else { seen as f64 / training_seconds };
        if summary.evaluation.is_none() {
            // Resumed at its end: what it came to is still worth telling.
            summary.evaluation = Some(self.evaluate(start)?);
        }
        self.progress.finish();
        Ok(summary)
    }

    /// A GPU may disappear in the middle of a run: says what is left of it.
    fn at_step(&self, step: u64, error: Error) -> Error {
        match (self.options.device, &error) {
            (Device::Cuda(_), Error::Failed(line)) => Error::failed(format!(
                "step {step}: {line}; the last checkpoint stands, go on from it with --resume"
            )),
            _ => error,
        }
    }

    /// One optimizer step over the batches. Returns the loss, the gradient's norm, and whether it was skipped.
    fn step(&mut self, step: u64, batches: &[Batch], rate: f32) -> Result<(f32, Option<f32>, bool)> {
        let words: usize = batches.iter().map(Batch::target_words).sum();
        let scale = 1.0 / words.max(1) as f32;
        let mut state = StepState {
            seed: self.config.train.seed,
            pass: 0,
            step: self.state.updates + 1,
            learning_rate: rate,
        };
        let mut loss = 0.0;
        for (i, batch) in batches.iter().enumerate() {
            state.pass = (step - 1) * batches.len() as u64 + i as u64;
            loss += self.pass(batch, scale, &state)?;
        }
        match self.state.guard.observe(loss) {
            Verdict::Normal => {}
            Verdict::Spike { mean, deviation } => {
                self.session.clear_gradient();
                self.skip(guard::spike_note(step, loss, mean, deviation))?;
                return Ok((loss, None, true));
            }
            Verdict::NotFinite => {
                self.session.clear_gradient();
                self.skip(guard::not_finite_note(step, "loss", loss, &self.keys(batches)))?;
                return Ok((loss, None, true));
            }
        }
        // The update itself leaves the weights alone where the norm is not finite.
        let norm = self.session.update(&state)?;
        if !norm.is_finite() {
            self.skip(guard::not_finite_note(step, "gradient norm", norm, &self.keys(batches)))?;
            return Ok((loss, Some(norm), true));
        }
        self.skipped_in_a_row = 0;
        self.state.updates += 1;
        Ok((loss, Some(norm), false))
    }

    /// Forward and backward over one batch; returns its share of the loss.
    fn pass(&mut self, batch: &Batch, scale: f32, state: &StepState) -> Result<f32> {
        let purpose = Purpose {
            train: true,
            both_ways: batch.parallel,
            label_smoothing: self.config.loss.label_smoothing,
        };
        let planned = self.session.step(batch.batch, batch.length, purpose)?;
        let (program, ends) = (&planned.program, planned.ends);
        self.session.memory.write(program, ends.pixels, &batch.pixels);
        self.session.memory.write(program, ends.words, &batch.words);
        self.session.memory.write(program, ends.targets, &batch.targets);
        self.session.memory.write(program, ends.scale, &[scale]);
        self.session.run(program, state)?;
        let loss = self.session.memory.read(program, ends.loss.sums)[0];
        self.session.memory.check()?;
        Ok(loss)
    }

    fn keys(&self, batches: &[Batch]) -> Vec<String> {
        batches.iter().flat_map(|b| &b.samples).map(|&s| self.train.key(s).to_string()).collect()
    }

    fn skip(&mut self, note: String) -> Result<()> {
        self.progress.warn(&note);
        self.skipped_in_a_row += 1;
        if self.skipped_in_a_row < MOST_SKIPPED {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{MOST_SKIPPED} steps in a row could not be used ({note}); lower optimizer.learning_rate and start anew \
             with another --out: this run's weights are finite, but no step improves them"
        )))
    }

    fn evaluate(&mut self, step: u64) -> Result<Report> {
        // The averaged weights, where there are any, are the ones that will be used.
        self.session.swap_average();
        let found = self.evaluate_now(step);
        self.session.swap_average();
        let report = found?;
        self.progress.note(&format!(
            "step {step}: {:.3} nats a token (another's picture {:.3}, none {:.3}), {:.1} % exact, CIDEr-D {:.3} \
             (dealt {:.3}), {:.0} % distinct",
            report.nats_true,
            report.nats_other,
            report.nats_none,
            100.0 * report.exact,
            report.cider_d,
            report.cider_d_dealt,
            100.0 * report.distinct_share
        ));
        if let Some(warning) = report.warning() {
            self.progress.warn(&warning);
        }
        Ok(report)
    }

    fn evaluate_now(&mut self, step: u64) -> Result<Report> {
        let (session, split) = (&mut self.session, &self.evaluated);
        let (report, described) =
            evaluate::evaluate(session, &self.vocabulary, split, &self.samples, Method::GREEDY)?;
        // What is only for looking at never ends a run.
        if let Err(error) = self.record.samples(step, session, &self.vocabulary, split, &described) {
            self.progress.warn(&format!("samples of step {step} are not kept: {error}"));
        }
        Ok(report)
    }

    fn save(&mut self, step: u64, best: bool) -> Result<()> {
        self.check_finite(step)?;
        self.record.sync()?;
        let memory = &self.session.memory;
        let flats = [Region::Weights, Region::FirstMoment, Region::SecondMoment, Region::Average]
            .map(|region| memory.flat(region));
        memory.check()?;
        let [weights, first, second, average] = &flats;
        let specs = self.session.model.parameters.specs();
        let mut moments = named(specs, first, ".first");
        moments.extend(named(specs, second, ".second"));
        let mut groups = vec![
            Group { name: checkpoint::WEIGHTS, tensors: named(specs, weights, "") },
            Group { name: checkpoint::MOMENTS, tensors: moments },
        ];
        if self.config.optimizer.average > 0.0 {
            groups.push(Group { name: checkpoint::AVERAGE, tensors: named(specs, average, "") });
        }
        let keep = Keep { last: self.config.train.keep, best };
        let (_, note) =
            checkpoint::save(self.options.files, self.options.out, step, &groups, &self.state, keep)?;
        drop(groups);
        if let Some(plans) = self.session.memory.plans() {
            files::replace(self.options.files, &self.options.out.join(PLANS), plans.as_bytes())?;
        }
        if let Some(note) = note {
            self.progress.warn(&note);
        }
        Ok(())
    }
    /// A finite gradient can still make infinite weights, where the learning rate is beyond all measure.
    fn check_finite(&self, step: u64) -> Result<()> {
        for region in [Region::Weights, Region::FirstMoment, Region::SecondMoment, Region::Average] {
            let flat = self.session.memory.flat(region);
            if flat.iter().all(|value| value.is_finite()) {
                continue;
            }
            // Where a GPU failed, that is the reason, and not the weights.
            self.session.memory.check()?;
            let specs = self.session.model.parameters.specs().iter().filter(|s| s.is_trained());
            let broken = specs
                .into_iter()
                .find(|s| flat[s.offset..s.offset + s.len()].iter().any(|value| !value.is_finite()));
            return Err(Error::failed(format!(
                "step {step}: {} holds values that are not finite, so it is not saved; lower \
                 optimizer.learning_rate and start anew with another --out",
                broken.map_or("a constant", |s| &s.name)
            )));
        }
        Ok(())
    }
}

/// The trained parameters of a flat buffer, by name.
fn named<'a>(specs: &[Spec], flat: &'a [f32], suffix: &str) -> Vec<Tensor<'a>> {
    specs
        .iter()
        .filter(|s| s.is_trained())
        .map(|spec| Tensor {
            name: format!("{}{suffix}", spec.name),
            shape: spec.shape.clone(),
            data: &flat[spec.offset..spec.offset + spec.len()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_evaluation_of_nan_stayed_the_best_for_ever() {
        let guard = LossGuard::new(0.0);
        let mut state =
            State { updates: 0, guard, best: None, best_step: None, stale: 0, data: String::new() };
        assert!(!state.judge(10, f64::NAN));
        assert!(state.judge(20, 3.0) && !state.judge(30, 3.0) && !state.judge(40, f64::NAN));
        assert_eq!((state.best, state.best_step, state.stale), (Some(3.0), Some(20), 2));
        assert!(state.judge(50, 2.0));
        assert_eq!((state.best_step, state.stale), (Some(50), 0));
    }
}
