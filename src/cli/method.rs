//! The options that say how words are chosen.

use crate::decode::{Method, sampling::Sampling};
use crate::{Error, Result};

/// Greedy, beam or sampling
#[derive(Debug, Clone, clap::Args)]
pub struct MethodArgs {
    /// Hypotheses in the beam; 1 is greedy
    #[arg(long, default_value_t = 1, value_name = "K")]
    beam: usize,
    /// Exponent of the length normalisation of the beam
    #[arg(long, default_value_t = 0.7)]
    alpha: f32,
    /// Draw words instead, at this temperature
    #[arg(long, conflicts_with = "beam")]
    temperature: Option<f32>,
    /// Draw among the K most probable words; 0 means all
    #[arg(long, default_value_t = 0, value_name = "K", requires = "temperature")]
    top_k: usize,
    /// Draw among the most probable words that together hold this probability
    #[arg(long, default_value_t = 1.0, value_name = "P", requires = "temperature")]
    top_p: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 1, requires = "temperature")]
    seed: u64,
}

impl MethodArgs {
    /// Whether a temperature was given.
    pub fn draws(&self) -> bool {
        self.temperature.is_some()
    }

    /// # Errors
    /// A beam of 0, a temperature or probability out of range.
    pub fn method(&self) -> Result<Method> {
        /// A beam wider than this only costs memory.
        const WIDEST: usize = 64;
        if self.beam == 0 || self.beam > WIDEST {
            return Err(Error::usage(format!("--beam {}: must be 1 to {WIDEST}", self.beam)));
        }
        let Some(temperature) = self.temperature else {
            let alpha = if self.beam == 1 { 0.0 } else { self.alpha };
            if !(0.0..=5.0).contains(&alpha) {
                return Err(Error::usage(format!("--alpha {alpha}: must be 0 to 5")));
            }
            return Ok(Method::Beam { width: self.beam, alpha });
        };
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::usage(format!("--temperature {temperature}: must be above 0")));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::usage(format!("--top-p {}: must be above 0 and at most 1", self.top_p)));
        }
        Ok(Method::Sample(Sampling { temperature, top_k: self.top_k, top_p: self.top_p, seed: self.seed }))
    }
}
