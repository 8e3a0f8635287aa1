//! From a picture to words: greedy, beam search and sampling over a model that extends hypotheses by one word.

pub mod beam;
mod driver;
mod look;
pub mod sampling;
mod slide;
mod sound;

pub use driver::{caption, describe};
pub use look::attention;
pub use slide::Slide;
pub use sound::{Made, Request, Tick, sound};

use crate::data::vocabulary::{MASK, PAD, START, UNK};

/// Tokens that stand for something else than a word, so a caption never holds them.
pub(crate) const NEVER: [u32; 4] = [PAD, START, UNK, MASK];

/// How the next word is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The most probable caption that a beam of this width finds; width 1 is greedy.
    Beam {
        width: usize,
        /// Exponent of the length normalisation ((5 + length) / 6)^alpha (Wu 2016).
        alpha: f32,
    },
    /// Words drawn from the model's distribution.
    Sample(sampling::Sampling),
}

impl Method {
    /// The most probable word at each step.
    pub const GREEDY: Method = Method::Beam { width: 1, alpha: 0.0 };
}

/// A finished caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Without start and end.
    pub tokens: Vec<u32>,
    /// Sum of the log-probabilities of its tokens and of the end token, in nats.
    pub log_probability: f32,
}

/// Turns logits into log-probabilities over the words that may stand in a caption.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let allowed = |i: usize| !NEVER.contains(&(i as u32));
    let max =
        logits.iter().enumerate().filter(|(i, _)| allowed(*i)).map(|(_, v)| *v).fold(f32::MIN, f32::max);
    let sum: f64 =
        logits.iter().enumerate().filter(|(i, _)| allowed(*i)).map(|(_, v)| f64::from(v - max).exp()).sum();
    let log_sum = sum.ln() as f32;
    logits
        .iter()
        .enumerate()
        .map(|(i, v)| if allowed(i) { v - max - log_sum } else { f32::NEG_INFINITY })
        .collect()
}
