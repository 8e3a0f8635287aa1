//! What a resume needs, and how it is saved and restored.
//!
//! Everything random is a pure function of (seed, pass), so it is small: the tensors, how many updates the weights have
//! seen, the guard, and the best evaluation. Step counts include steps that were skipped.

use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Group, Keep, Tensor};
use super::files;
use super::guard::LossGuard;
use super::run::PLANS;
use super::task::Task;
use super::trainer::Trainer;
use super::weights;
use crate::config::Model;
use crate::device::Memory;
use crate::graph::plan::Region;
use crate::nn::Parameters;
use crate::nn::parameters::Spec;
use crate::{Error, Result};

/// What a checkpoint holds beside tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Updates that the weights have seen: skipped steps do not count.
    pub(super) updates: u64,
    pub(super) guard: LossGuard,
    /// Lowest nats a token of an evaluation.
    pub(super) best: Option<f64>,
    /// The step of that evaluation: a kill may come between its checkpoint and the mark on it.
    pub(super) best_step: Option<u64>,
    /// Evaluations since then.
    pub(super) stale: usize,
    pub(super) data: String,
}

impl State {
    /// Remembers the best evaluation; says whether this is it. A NaN is never best: nothing would be below it.
    pub(super) fn judge(&mut self, step: u64, nats: f64) -> bool {
        let better = nats < self.best.unwrap_or(f64::INFINITY);
        if better {
            (self.best, self.best_step, self.stale) = (Some(nats), Some(step), 0);
        } else {
            self.stale += 1;
        }
        better
    }
}

/// Reads all tensors of a checkpoint.
pub(super) fn restore(
    found: &checkpoint::Checkpoint,
    parameters: &Parameters,
    memory: &mut Memory,
) -> Result<()> {
    let mut read = |group, suffix, region| weights::read(found, group, suffix, parameters, memory, region);
    read(checkpoint::WEIGHTS, "", Region::Weights)?;
    read(checkpoint::MOMENTS, ".first", Region::FirstMoment)?;
    read(checkpoint::MOMENTS, ".second", Region::SecondMoment)?;
    if found.has(checkpoint::AVERAGE) {
        read(checkpoint::AVERAGE, "", Region::Average)?;
    }
    Ok(())
}

impl<M: Model, T: Task> Trainer<'_, M, T> {
    /// Saves a checkpoint, unless a value is not finite; `best` says that its evaluation is the best so far.
    pub(super) fn save(&mut self, step: u64, best: bool) -> Result<()> {
        self.check_finite(step)?;
        self.record.sync()?;
        let memory = &self.task.engine().memory;
        let flats = [Region::Weights, Region::FirstMoment, Region::SecondMoment, Region::Average]
            .map(|region| memory.flat(region));
        memory.check()?;
        let [weights, first, second, average] = &flats;
        let specs = self.task.parameters().specs();
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
        if let Some(plans) = self.task.engine().memory.plans() {
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
            let flat = self.task.engine().memory.flat(region);
            if flat.iter().all(|value| value.is_finite()) {
                continue;
            }
            // Where a GPU failed, that is the reason, and not the weights.
            self.task.engine().memory.check()?;
            let specs = self.task.parameters().specs().iter().filter(|s| s.is_trained());
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
