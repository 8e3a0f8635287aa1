//! The training loop: steps, evaluations, checkpoints, and when to stop.

use std::time::Instant;

use super::progress::{Progress, StepReport};
use super::record::{Line, Record};
use super::run::{Options, Summary};
use super::signals::Signals;
use super::state::State;
use super::step::{Done, Work};
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
    /// When the last step was booked.
    pub(super) booked: Option<Instant>,
    pub(super) training_seconds: f64,
    /// Samples of the steps of this process.
    pub(super) seen: usize,
}

impl<M: Model, T: Task> Trainer<'_, M, T> {
    /// Makes the steps `start + 1..=total`. A GPU makes one while the host books the one before it; evaluations, checkpoints
    /// and the stop at a signal wait for the step that they follow, so the files of a run are the same.
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
        let patience = self.config.train.early_stop;
        let queues = self.options.device.queues();
        if queues {
            let State { guard, updates, .. } = &self.state;
            self.task.parts().1.set_guard(guard, *updates)?;
        }
        // The step that the device works on while the host makes the next one ready.
        let mut running: Option<Work<T::Batch>> = None;
        // A run that had stopped early stays where it is, unless it is given more patience.
        let end = if patience > 0 && self.state.stale >= patience { start } else { total };
        for step in start + 1..=end {
            let (step_began, waited) = (Instant::now(), loader.waited);
            let mut batches = Vec::new();
            for _ in 0..accumulate {
                batches.push(loader.next()?);
            }
            let data_wait = loader.waited - waited;
            let rate = learning_rate(self.config, step, total);
            let samples = batches.iter().map(T::samples).sum();
            let work = Work { step, batches, samples, rate, data_wait, began: step_began };
            let (done, stop) = if queues {
                self.queue(&work).map_err(|e| self.at_step(step, e))?;
                if let Some(last) = running.take() {
                    // Nothing but the record hangs on this step: one on which more does is not left running.
                    let done = self.settle(&last).map_err(|e| self.at_step(last.step, e))?;
                    self.book(&last, done, false, total, &mut summary)?;
                }
                let stop = signals.stop_requested();
                if !(stop || step == total || self.stands_at(step)) {
                    running = Some(work);
                    continue;
                }
                (self.settle(&work).map_err(|e| self.at_step(step, e))?, stop)
            } else {
                (self.step(&work).map_err(|e| self.at_step(step, e))?, signals.stop_requested())
            };
            let early = self.book(&work, done, stop, total, &mut summary)?;
            if stop && step != total {
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
        summary.samples_per_second =
            if self.seen == 0 { 0.0 } else { self.seen as f64 / self.training_seconds };
        if summary.evaluation.is_none() {
            // Resumed at its end: what it came to is still worth telling.
            summary.evaluation = Some(self.evaluate(start)?);
        }
        self.progress.finish();
        Ok(summary)
    }

    /// Whether an evaluation or a checkpoint may follow this step: the weights must then be those after it and no other.
    fn stands_at(&self, step: u64) -> bool {
        let every = |n: usize| n > 0 && step.is_multiple_of(n as u64);
        every(self.config.train.evaluate_every) || every(self.config.train.checkpoint_every)
    }

    /// Takes in a step that was made: progress, evaluation, the record, a checkpoint. Tells whether to stop early.
    fn book(
        &mut self,
        work: &Work<T::Batch>,
        done: Done,
        stop: bool,
        total: u64,
        summary: &mut Summary<T::Report>,
    ) -> Result<bool> {
        let (step, loss, samples) = (work.step, done.loss, work.samples);
        // From when it began, or where the one before it was still running, from when that was booked.
        let began = self.booked.map_or(work.began, |booked| booked.max(work.began));
        let step_seconds = began.elapsed().as_secs_f64();
        self.progress.step(StepReport {
            step,
            loss,
            learning_rate: work.rate,
            samples,
            data_wait_seconds: work.data_wait,
            step_seconds,
        });
        self.booked = Some(Instant::now());
        self.training_seconds += step_seconds;
        self.seen += samples;
        (summary.steps, summary.loss) = (step, loss);

        let patience = self.config.train.early_stop;
        let last = step == total;
        let every = |n: usize| n > 0 && step.is_multiple_of(n as u64);
        let (evaluates, saves) =
            (every(self.config.train.evaluate_every), every(self.config.train.checkpoint_every));
        let mut improved = false;
        let mut evaluation = None;
        if last || (evaluates && !stop) {
            let report = self.evaluate(step)?;
            improved = self.state.judge(step, report.judged());
            evaluation = Some(report);
        }
        let line = Line {
            loss,
            learning_rate: work.rate,
            gradient_norm: done.norm,
            samples_per_second: samples as f64 / step_seconds,
            // Where steps overlap, the wait may have begun before the step did.
            data_wait: (work.data_wait / step_seconds).min(1.0),
            skipped: done.skipped,
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
        summary.evaluation = evaluation.or(summary.evaluation.take());
        if last || stop || early || improved || saves {
            match self.save(step, improved) {
                Ok(()) => {}
                Err(error) if last || stop || early => return Err(error),
                // The one before it stands, and the next may succeed: hours of training are worth the try.
                Err(error) => self.progress.warn(&format!("no checkpoint at step {step}: {error}")),
            }
        }
        Ok(early)
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
