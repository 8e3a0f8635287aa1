//! Watches the loss: says when a step stands out so far that it should be skipped, and names what is not finite.

use serde::{Deserialize, Serialize};

use crate::ops::guard::Words;

/// Weight of the newest loss in the running mean and variance: about the last 100 steps count.
const NEWEST: f64 = 0.02;
/// Steps before anything is called a spike: the first losses fall steeply and say little about the spread.
const WARMUP: u64 = 50;
/// Spikes in a row after which the new level is believed.
const IN_A_ROW: u32 = 10;
/// The smallest standard deviation, as a share of the mean: on a plateau every ripple would be a spike.
const LEAST_SPREAD: f64 = 0.01;

/// The constants above, for the guard on a device.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub newest: f64,
    pub least_spread: f64,
    pub warm_up: u64,
    pub in_a_row: u32,
}

pub const RULE: Rule =
    Rule { newest: NEWEST, least_spread: LEAST_SPREAD, warm_up: WARMUP, in_a_row: IN_A_ROW };

/// What the guard thinks of a step's loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Normal,
    /// The loss is too far over its recent mean: skip the step.
    Spike {
        mean: f64,
        deviation: f64,
    },
    /// NaN or infinite: the step must not reach the weights.
    NotFinite,
}

/// The running mean and variance of the loss; part of a checkpoint, and then exact: every field is finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossGuard {
    /// Standard deviations over the mean that make a spike; 0 calls nothing a spike.
    deviations: f64,
    mean: f64,
    variance: f64,
    count: u64,
    spikes_in_a_row: u32,
}

impl LossGuard {
    /// A guard that has seen nothing. `deviations` is `train.skip_spikes`.
    pub fn new(deviations: f32) -> Self {
        LossGuard {
            deviations: f64::from(deviations),
            mean: 0.0,
            variance: 0.0,
            count: 0,
            spikes_in_a_row: 0,
        }
    }

    /// Judges the loss of a step by those before it, and takes it into the mean unless it is to be skipped.
    ///
    /// After 10 spikes in a row the new level is believed, so a run cannot skip forever.
    pub fn observe(&mut self, loss: f32) -> Verdict {
        if !loss.is_finite() {
            return Verdict::NotFinite;
        }
        let loss = f64::from(loss);
        let (mean, deviation) = (self.mean, self.deviation());
        let stands_out =
            self.deviations > 0.0 && self.count >= WARMUP && loss > mean + self.deviations * deviation;
        if stands_out && self.spikes_in_a_row < IN_A_ROW {
            self.spikes_in_a_row += 1;
            return Verdict::Spike { mean, deviation };
        }
        self.spikes_in_a_row = 0;
        if self.count == 0 || stands_out {
            self.mean = loss;
        }
        let difference = loss - self.mean;
        self.mean += NEWEST * difference;
        self.variance = (1.0 - NEWEST) * (self.variance + NEWEST * difference * difference);
        self.count += 1;
        Verdict::Normal
    }

    /// Brings what it knows to a device's words; the others stay as they are.
    pub fn to_words(&self, words: &mut Words) {
        *words = Words {
            deviations: self.deviations,
            mean: self.mean,
            variance: self.variance,
            count: self.count,
            spikes_in_a_row: self.spikes_in_a_row,
            ..*words
        };
    }

    /// The guard that a device's words describe.
    pub fn from_words(words: &Words) -> LossGuard {
        let Words { deviations, mean, variance, count, spikes_in_a_row, .. } = *words;
        LossGuard { deviations, mean, variance, count, spikes_in_a_row }
    }

    fn deviation(&self) -> f64 {
        self.variance.sqrt().max(LEAST_SPREAD * self.mean.abs())
    }
}

/// The line for a skipped spike.
pub fn spike_note(step: u64, loss: f32, mean: f64, deviation: f64) -> String {
    let far = (f64::from(loss) - mean) / deviation;
    format!(
        "step {step}: the loss {loss:.4} is {far:.1} standard deviations over its mean {mean:.4}; step skipped"
    )
}

/// The line for a quantity (`loss`, `gradient norm`) that is not finite, with the keys of the batch's pictures.
pub fn not_finite_note(step: u64, quantity: &str, value: f32, pictures: &[String]) -> String {
    /// More would drown the line; the batch can be had again from the step.
    const SHOWN: usize = 8;
    let mut keys = pictures.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if pictures.len() > SHOWN {
        keys += &format!(" and {} more", pictures.len() - SHOWN);
    }
    format!(
        "step {step}: the {quantity} is {value}; step skipped, the weights are as before; its pictures: {keys}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A falling, noisy loss.
    fn loss(step: u32) -> f32 {
        2.0 + 3.0 * (-(step as f32) / 40.0).exp() + 0.1 * ((step * 7919 % 101) as f32 / 50.0 - 1.0)
    }

    fn watched(steps: u32) -> LossGuard {
        let mut guard = LossGuard::new(5.0);
        for step in 0..steps {
            assert_eq!(guard.observe(loss(step)), Verdict::Normal, "step {step}");
        }
        guard
    }

    #[test]
    fn a_spike_is_called_one_and_leaves_the_mean_alone() {
        let mut guard = watched(300);
        let before = guard.clone();
        let Verdict::Spike { mean, deviation } = guard.observe(6.0) else { panic!("no spike") };
        assert!((mean - 2.0).abs() < 0.1 && deviation < 0.2, "{mean} {deviation}");
        assert_eq!(guard.mean, before.mean);
        assert_eq!(guard.observe(loss(300)), Verdict::Normal);
        assert_eq!(guard.observe(0.1), Verdict::Normal, "a sudden fall is welcome");
    }

    #[test]
    fn nothing_is_a_spike_in_the_warm_up_or_when_turned_off() {
        let mut young = watched(WARMUP as u32 - 1);
        assert_eq!(young.observe(100.0), Verdict::Normal);
        let mut off = LossGuard::new(0.0);
        for step in 0..300 {
            off.observe(loss(step));
        }
        assert_eq!(off.observe(100.0), Verdict::Normal);
    }

    #[test]
    fn what_is_not_finite_is_told_at_any_time_and_changes_nothing() {
        for mut guard in [LossGuard::new(0.0), LossGuard::new(5.0), watched(200)] {
            let before = guard.clone();
            for loss in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(guard.observe(loss), Verdict::NotFinite);
            }
            assert_eq!(guard, before);
        }
    }

    #[test]
    fn a_new_level_is_believed_after_a_while() {
        let mut guard = watched(300);
        let spikes = (0..100).filter(|_| guard.observe(4.0) != Verdict::Normal).count();
        assert_eq!(spikes, IN_A_ROW as usize);
    }

    #[test]
    fn ripples_on_a_plateau_are_no_spikes() {
        let mut guard = LossGuard::new(5.0);
        for _ in 0..1000 {
            guard.observe(1.0);
        }
        assert_eq!(guard.observe(1.04), Verdict::Normal);
        assert!(matches!(guard.observe(1.1), Verdict::Spike { .. }));
    }

    #[test]
    fn a_guard_from_a_checkpoint_goes_on_exactly() {
        let mut guard = watched(123);
        let json = serde_json::to_string(&guard).unwrap();
        let mut again: LossGuard = serde_json::from_str(&json).unwrap();
        for step in 123..1000 {
            assert_eq!(guard.observe(loss(step)), again.observe(loss(step)));
            assert_eq!(guard, again, "step {step}");
        }
    }

    #[test]
    fn notes_name_the_step_the_quantity_and_the_pictures() {
        let pictures: Vec<String> = (0..10).map(|i| format!("p{i}")).collect();
        let note = not_finite_note(12, "gradient norm", f32::NAN, &pictures);
        assert!(note.contains("step 12: the gradient norm is NaN") && note.contains("p0, p1"), "{note}");
        assert!(note.ends_with("p7 and 2 more"), "{note}");
        assert!(
            not_finite_note(1, "loss", f32::INFINITY, &pictures[..2])
                .ends_with("is inf; step skipped, the weights are as before; its pictures: p0, p1")
        );
        assert!(
            spike_note(3, 5.0, 2.0, 0.5).contains("5.0000 is 6.0 standard deviations"),
            "{}",
            spike_note(3, 5.0, 2.0, 0.5)
        );
    }
}
