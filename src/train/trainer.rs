//! The training loop: steps, evaluations, checkpoints, and when to stop.

use std::time::Instant;

use super::progress::{Progress, StepReport};
use super::record::{Line, Record};
use super::run::{Options, Summary};
use super::signals::Signals;
use super::state::State;
use super::task::{Evaluated, Report, Task};
use crate::config::{Model, Settings};
use crate::data::ahead::Ahead;
use crate::optim::schedule::learning_rate;
use crate::{Error, Result};

/// A run with all that it holds open.
pub(super) struct Trainer<'a, M: Model, T: Task> {
    pub(super) options: &'a Options<'a, M>,
    pub(super) config: &'a Settings<M>,
    pub(super) task: T,
    pub(super) state: State,
    pub(super) progress: Progress,
    pub(super) record: Record<'a>,
    pub(super) skipped_in_a_row: u32,
}

impl<M: Model, T: Task> Trainer<'_, M, T> {
    /// Makes the steps `start + 1..=total`.
    ///
    /// # Errors
    /// If the run diverges or a file cannot be written; [`Error::Stopped`] after a signal, when everything was saved.
    pub(super) fn run(mut self, start: u64, total: u64, signals: &Signals) -> Result<Summary<T::Report>> {
        let began = Instant::now();
        let accumulate = self.config.train.accumulate as u64;
        let mut loader = Ahead::start(self.task.maker()?, start * accumulate)?;
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
            let samples: usize = batches.iter().map(T::samples).sum();
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
                improved = self.state.judge(step, report.judged());
                evaluation = Some(report);
            }
            let line = Line {
                loss,
                learning_rate: rate,
                gradient_norm: norm,
                samples_per_second: samples as f64 / report.step_seconds,
                data_wait: report.data_wait_seconds / report.step_seconds,
                skipped,
                evaluation: evaluation.as_ref(),
            };
            // A checkpoint of a step that is not written down would leave a gap for ever, so none is saved here.
            let warning = self.record.step(step, &line).map_err(|error| {
                Error::failed(format!(
                    "{error}; stopped at step {step}, what was saved before is whole: go on with --resume when the \
                     file can be written"
                ))
            })?;
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

    fn evaluate(&mut self, step: u64) -> Result<T::Report> {
        // The averaged weights, where there are any, are the ones that will be used.
        self.task.parts().1.swap_average();
        let found = self.task.evaluate(step, &mut self.record);
        self.task.parts().1.swap_average();
        let Evaluated { report, kept } = found?;
        self.progress.note(&format!("step {step}: {}", report.line()));
        match kept {
            Ok(Some(line)) => self.progress.note(&format!("step {step}: {line}")),
            Ok(None) => {}
            Err(error) => self.progress.warn(&format!("samples of step {step} are not kept: {error}")),
        }
        if let Some(warning) = report.warning() {
            self.progress.warn(&warning);
        }
        Ok(report)
    }
}
