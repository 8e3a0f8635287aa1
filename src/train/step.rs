//! One optimizer step: forward and backward over its batches, the guards, and the update.

use super::guard::{self, Verdict};
use super::task::Task;
use super::trainer::Trainer;
use crate::config::Model;
use crate::device::{Device, StepState};
use crate::{Error, Result};

/// Steps in a row that may be skipped before the run gives up: by then it is no accident.
const MOST_SKIPPED: u32 = 20;

impl<M: Model, T: Task> Trainer<'_, M, T> {
    /// A GPU may disappear in the middle of a run: says what is left of it.
    pub(super) fn at_step(&self, step: u64, error: Error) -> Error {
        match (self.options.device, &error) {
            (Device::Cuda(_), Error::Failed(line)) => Error::failed(format!(
                "step {step}: {line}; the last checkpoint stands, go on from it with --resume"
            )),
            _ => error,
        }
    }

    /// One optimizer step over the batches. Returns the loss, the gradient's norm, and whether it was skipped.
    pub(super) fn step(
        &mut self,
        step: u64,
        batches: &[T::Batch],
        rate: f32,
    ) -> Result<(f32, Option<f32>, bool)> {
        let targets: usize = batches.iter().map(T::targets).sum();
        let scale = 1.0 / targets.max(1) as f32;
        let mut state = StepState {
            seed: self.config.train.seed,
            pass: 0,
            step: self.state.updates + 1,
            learning_rate: rate,
        };
        let mut loss = 0.0;
        for (i, batch) in batches.iter().enumerate() {
            state.pass = (step - 1) * batches.len() as u64 + i as u64;
            loss += self.task.pass(batch, scale, &state)?;
        }
        match self.state.guard.observe(loss) {
            Verdict::Normal => {}
            Verdict::Spike { mean, deviation } => {
                self.task.parts().1.clear_gradient();
                self.skip(guard::spike_note(step, loss, mean, deviation))?;
                return Ok((loss, None, true));
            }
            Verdict::NotFinite => {
                self.task.parts().1.clear_gradient();
                self.skip(guard::not_finite_note(step, "loss", loss, &self.keys(batches)))?;
                return Ok((loss, None, true));
            }
        }
        // The update itself leaves the weights alone where the norm is not finite.
        let norm = self.task.parts().1.update(&state)?;
        if !norm.is_finite() {
            self.skip(guard::not_finite_note(step, "gradient norm", norm, &self.keys(batches)))?;
            return Ok((loss, Some(norm), true));
        }
        self.skipped_in_a_row = 0;
        self.state.updates += 1;
        Ok((loss, Some(norm), false))
    }

    fn keys(&self, batches: &[T::Batch]) -> Vec<String> {
        batches.iter().flat_map(|batch| self.task.keys(batch)).collect()
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
}
