//! Drawing words: temperature, then the k most probable, then the smallest set that holds probability p
//! (Holtzman 2020). The draw is a pure function of (seed, picture, position).

use crate::ops::philox;

/// How words are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the log-probabilities: below 1 sharper, above 1 flatter.
    pub temperature: f32,
    /// Only the k most probable words; 0 means all.
    pub top_k: usize,
    /// Only the most probable words that together hold this probability; 1 means all.
    pub top_p: f32,
    pub seed: u64,
}

/// Sets these draws apart from all others of the same seed.
const STREAM: u32 = 0x5a3b;

impl Sampling {
    /// Draws a token. `log_probabilities` need not be normalised.
    pub fn draw(&self, log_probabilities: &[f32], picture: u32, position: u32) -> u32 {
        let candidates = self.candidates(log_probabilities);
        let bits = philox::philox4x32_10(
            [picture, position, STREAM, 0],
            [self.seed as u32, (self.seed >> 32) as u32],
        )[0];
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        let mut left = (f64::from(bits) + 0.5) / 4294967296.0 * total;
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        candidates.last().map_or(crate::data::vocabulary::END, |c| c.0)
    }

    /// The words that may be drawn with their weights, most probable first.
    fn candidates(&self, log_probabilities: &[f32]) -> Vec<(u32, f64)> {
        let max = log_probabilities.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let temperature = f64::from(self.temperature.max(1e-4));
        let mut words: Vec<(u32, f64)> = log_probabilities
            .iter()
            .enumerate()
            .filter(|(_, v)| **v > f32::NEG_INFINITY)
            .map(|(i, v)| (i as u32, (f64::from(v - max) / temperature).exp()))
            .collect();
        words.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.top_k > 0 {
            words.truncate(self.top_k);
        }
        let total: f64 = words.iter().map(|w| w.1).sum();
        let mut held = 0.0;
        let enough = words.iter().position(|w| {
            held += w.1;
            held >= f64::from(self.top_p) * total
        });
        if let Some(last) = enough {
            words.truncate(last + 1);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 4 };

    fn shares(sampling: Sampling, p: [f32; 3]) -> [f64; 3] {
        let row: Vec<f32> = p.iter().map(|p| p.ln()).collect();
        let mut counts = [0.0; 3];
        for i in 0..20_000 {
            counts[sampling.draw(&row, i, 3) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_follow_the_distribution() {
        let shares = shares(PLAIN, [0.5, 0.3, 0.2]);
        for (share, p) in shares.iter().zip([0.5, 0.3, 0.2]) {
            assert!((share - p).abs() < 0.02, "{shares:?}");
        }
    }

    #[test]
    fn temperature_top_k_and_top_p_narrow_it() {
        let p = [0.5, 0.3, 0.2];
        assert!(shares(Sampling { temperature: 0.3, ..PLAIN }, p)[0] > 0.8);
        assert_eq!(shares(Sampling { top_k: 2, ..PLAIN }, p)[2], 0.0);
        let narrow = shares(Sampling { top_p: 0.6, ..PLAIN }, p);
        assert!(narrow[2] == 0.0 && narrow[1] > 0.3, "{narrow:?}");
        assert!(shares(Sampling { top_p: 0.4, ..PLAIN }, p)[0] > 0.999);
    }
}
