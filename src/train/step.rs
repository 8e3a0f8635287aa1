//! One optimizer step: forward and backward over its batches, the guards, and the update. On a GPU it is queued, and what
//! came of it is read when the next one is under way.

use std::time::Instant;

use super::guard::{Verdict, not_finite_note, spike_note};
use super::task::Task;
use super::trainer::Trainer;
use crate::config::Model;
use crate::device::{Device, StepState};
use crate::ops::guard;
use crate::{Error, Result};

/// Steps in a row that may be skipped before the run gives up: by then it is no accident.
const MOST_SKIPPED: u32 = 20;

/// A step to be made.
pub(super) struct Work<B> {
    pub step: u64,
    pub batches: Vec<B>,
    pub samples: usize,
    pub rate: f32,
    /// Time it waited for its batches.
    pub data_wait: f64,
    pub began: Instant,
}

impl<B> Work<B> {
    /// What each of its targets weighs.
    fn scale<T: Task<Batch = B>>(&self) -> f32 {
        let targets: usize = self.batches.iter().map(T::targets).sum();
        1.0 / targets.max(1) as f32
    }
}

/// A step that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub loss: f32,
    /// Of the gradient; `None` where the loss alone was reason enough to skip.
    pub norm: Option<f32>,
    pub skipped: bool,
}

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

    /// What pass number `i` of a step runs with. The step's number is only the host's: where steps are queued, it does not
    /// know yet how many were skipped, and the device's guard counts.
    fn pass_state(&self, work: &Work<T::Batch>, i: usize) -> StepState {
        StepState {
            seed: self.config.train.seed,
            pass: (work.step - 1) * work.batches.len() as u64 + i as u64,
            step: self.state.updates + 1,
            learning_rate: work.rate,
        }
    }

    /// One optimizer step over the batches, waited for at every turn.
    pub(super) fn step(&mut self, work: &Work<T::Batch>) -> Result<Done> {
        let scale = work.scale::<T>();
        let mut loss = 0.0;
        let mut state = StepState::default();
        for (i, batch) in work.batches.iter().enumerate() {
            state = self.pass_state(work, i);
            let pass = self.task.plan(batch)?;
            self.task.write(batch, scale)?;
            let (_, engine) = self.task.parts();
            engine.run(&pass.program, &state)?;
            loss += pass.loss(&engine.memory);
            engine.memory.check()?;
        }
        if !self.accepts(work, loss)? {
            self.task.parts().1.clear_gradient();
            return Ok(Done { loss, norm: None, skipped: true });
        }
        // The update itself leaves the weights alone where the norm is not finite.
        let norm = self.task.parts().1.update(&state)?;
        self.updated(work, loss, norm)
    }

    /// Gives a whole step to the device, which decides by itself whether it is used; [`Trainer::settle`] tells how it went.
    pub(super) fn queue(&mut self, work: &Work<T::Batch>) -> Result<()> {
        let scale = work.scale::<T>();
        // Plans first: they may move the arena, in which inputs stand.
        let plans = work.batches.iter().map(|batch| self.task.plan(batch)).collect::<Result<Vec<_>>>()?;
        self.task.parts().1.begin_step()?;
        for (i, batch) in work.batches.iter().enumerate() {
            let state = self.pass_state(work, i);
            self.task.parts().1.memory.begin_pass(i, &state)?;
            self.task.write(batch, scale)?;
        }
        let passes: Vec<_> = plans.into_iter().map(|pass| pass.program).collect();
        self.task.parts().1.queue(&passes)
    }

    /// Reads how a queued step went, the first that was not read yet. The host's guard goes through the same numbers as the
    /// device's, so a checkpoint holds what it would hold had the host waited; the two must agree.
    pub(super) fn settle(&mut self, work: &Work<T::Batch>) -> Result<Done> {
        let words = self.task.parts().1.memory.collect()?;
        let (loss, norm) = (words.loss, words.norm);
        let done = match self.accepts(work, loss)? {
            true => self.updated(work, loss, norm)?,
            false => Done { loss, norm: None, skipped: true },
        };
        let device = guard::Verdict::of(words.verdict);
        if (device == Some(guard::Verdict::Updated)) == done.skipped || words.updates != self.state.updates {
            return Err(Error::failed(format!(
                "the device's guard came to {device:?} with {} updates, the host's to {} with {}, at a loss of {loss} and \
                 a norm of {norm}; please report this, and set EVOKE_CUDA_SYNC=1 to go on",
                words.updates,
                if done.skipped { "a skip" } else { "an update" },
                self.state.updates
            )));
        }
        Ok(done)
    }

    /// Takes in a step's loss; tells whether the step may reach the weights.
    fn accepts(&mut self, work: &Work<T::Batch>, loss: f32) -> Result<bool> {
        match self.state.guard.observe(loss) {
            Verdict::Normal => return Ok(true),
            Verdict::Spike { mean, deviation } => {
                self.skip(spike_note(work.step, loss, mean, deviation))?;
            }
            Verdict::NotFinite => {
                self.skip(not_finite_note(work.step, "loss", loss, &self.keys(&work.batches)))?;
            }
        }
        Ok(false)
    }

    /// Takes in the gradient's norm of a step whose loss was accepted: the device has updated the weights, or where the
    /// norm is not finite it has not.
    fn updated(&mut self, work: &Work<T::Batch>, loss: f32, norm: f32) -> Result<Done> {
        if !norm.is_finite() {
            self.skip(not_finite_note(work.step, "gradient norm", norm, &self.keys(&work.batches)))?;
            return Ok(Done { loss, norm: Some(norm), skipped: true });
        }
        self.skipped_in_a_row = 0;
        self.state.updates += 1;
        Ok(Done { loss, norm: Some(norm), skipped: false })
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
