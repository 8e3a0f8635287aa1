//! The guard of a step on the device: whether the loss and the gradient's norm allow the update, decided where they are,
//! so that the host may read them a step later ([`crate::train::guard::LossGuard`] says what is decided).
//!
//! `tally` adds a pass's share of the loss to the step's; `judge` stands between the gradient's norm and the update, and
//! sets the factor that clips the gradient to 0 where the step is to be skipped. It counts the updates too: the step's
//! number, which corrects the moments' bias, depends on how many steps before were skipped.

#[cfg(test)]
mod tests;

use super::{Cost, Op};
use crate::Result;
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{DType, Graph, Id, Role, State};
use crate::train::guard::{LossGuard, RULE, Rule, Verdict as Host};

/// Terms of a loss that one launch adds up.
const TERMS: usize = 5;

/// What the device keeps of the guard: `kernels/guard.cu` names the places of its words.
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Words {
    pub deviations: f64,
    pub mean: f64,
    pub variance: f64,
    pub count: u64,
    /// Updates that the weights have seen.
    pub updates: u64,
    pub spikes_in_a_row: u32,
    /// A [`Verdict`] of the last step.
    pub verdict: u32,
    /// The loss of the passes since the last step.
    pub tally: f32,
    /// Of the last step.
    pub loss: f32,
    pub norm: f32,
    pub unused: u32,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    Updated = 0,
    Spike = 1,
    LossNotFinite = 2,
    NormNotFinite = 3,
}

impl Verdict {
    /// `None` for a word that no device writes.
    pub fn of(word: u32) -> Option<Verdict> {
        [Verdict::Updated, Verdict::Spike, Verdict::LossNotFinite, Verdict::NormNotFinite]
            .into_iter()
            .find(|verdict| *verdict as u32 == word)
    }
}

fn words(graph: &mut Graph) -> Id {
    graph.add("guard", &[size_of::<Words>() / 4], DType::U32, Role::State(State::Guard, 0))
}

/// Traces the addition of the first elements of `terms` to the step's loss.
///
/// # Panics
/// If there are none, or more than 5.
pub fn tally(graph: &mut Graph, terms: &[Id]) {
    assert!((1..=TERMS).contains(&terms.len()), "{} terms of a loss", terms.len());
    let words = words(graph);
    graph.push(Tally, terms, &[words]);
}

/// Traces the judgement of a step over `norm` (2), the gradient's norm and the factor that clips it.
pub fn judge(graph: &mut Graph, norm: Id) {
    let words = words(graph);
    graph.push(Judge, &[], &[words, norm]);
}

#[derive(Debug)]
struct Tally;

impl Op for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    fn cpu(&self, args: &Args) {
        let words: &mut [u32] = args.output(0);
        let words: &mut [Words] = bytemuck::cast_slice_mut(words);
        let mut sum = args.input::<f32>(0)[0];
        for term in 1..args.inputs() {
            sum += args.input::<f32>(term)[0];
        }
        words[0].tally += sum;
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let words = launch.output(0);
        let terms: Vec<_> = (0..launch.inputs()).map(|i| launch.input(i)).collect();
        let mut kernel = launch.kernel("guard_tally").out(words);
        for term in 0..TERMS {
            kernel = kernel.read_or_null(terms.get(term).cloned());
        }
        kernel.grid(1)
    }
}

/// `Rule` of the kernel.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Constants {
    newest: f64,
    least_spread: f64,
    warm_up: u64,
    in_a_row: u32,
    unused: u32,
}

#[derive(Debug)]
struct Judge;

impl Op for Judge {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    /// The host's own guard; the step's number stays the caller's.
    fn cpu(&self, args: &Args) {
        let (words, norm): (&mut [u32], &mut [f32]) = (args.output(0), args.output(1));
        let words = &mut bytemuck::cast_slice_mut::<u32, Words>(words)[0];
        let mut guard = LossGuard::from_words(words);
        words.loss = std::mem::take(&mut words.tally);
        words.norm = norm[0];
        let verdict = match guard.observe(words.loss) {
            Host::NotFinite => Verdict::LossNotFinite,
            Host::Spike { .. } => Verdict::Spike,
            Host::Normal if !norm[0].is_finite() => Verdict::NormNotFinite,
            Host::Normal => Verdict::Updated,
        };
        guard.to_words(words);
        words.verdict = verdict as u32;
        match verdict {
            Verdict::Updated => words.updates += 1,
            _ => norm[1] = 0.0,
        }
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let (words, norm, state) = (launch.output(0), launch.output(1), launch.step_state());
        let Rule { newest, least_spread, warm_up, in_a_row } = RULE;
        let constants = Constants { newest, least_spread, warm_up, in_a_row, unused: 0 };
        launch.kernel("guard_judge").out(words).out(norm).out(state).plain(&constants).grid(1)
    }
}
