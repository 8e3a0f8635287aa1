//! CIDEr-D (Vedantam 2015): agreement on the n-grams that are rare among pictures, as pycocoevalcap 1.2 computes it.

use std::collections::HashMap;

use super::Tokens;
use super::ngrams::{Gram, Numbering, ORDERS, count, for_common};

/// How far lengths may differ before the score falls, in words.
const SIGMA: f64 = 6.0;

/// A sentence as weights: for each order its n-grams with term frequency times inverse document frequency.
struct Weights {
    grams: [Vec<(Gram, f64)>; ORDERS],
    norms: [f64; ORDERS],
    /// The number of bigrams: what the length penalty of the oracle compares.
    length: f64,
}

/// The weighted sentences of a set of pictures, from which any candidate can be scored against any picture.
pub struct Cider {
    candidates: Vec<Weights>,
    references: Vec<Vec<Weights>>,
}

impl Cider {
    /// Counts in how many pictures' references each n-gram stands, and weighs every sentence by it.
    pub fn new(pictures: &[Tokens]) -> Self {
        let mut numbering = Numbering::default();
        let references: Vec<Vec<_>> = pictures
            .iter()
            .map(|picture| picture.references.iter().map(|words| count(&numbering.numbers(words))).collect())
            .collect();
        let candidates: Vec<_> =
            pictures.iter().map(|picture| count(&numbering.numbers(&picture.candidate))).collect();

        let mut frequency: HashMap<Gram, f64> = HashMap::new();
        for picture in &references {
            let mut grams: Vec<Gram> = picture.iter().flatten().flatten().map(|(gram, _)| *gram).collect();
            grams.sort_unstable();
            grams.dedup();
            for gram in grams {
                *frequency.entry(gram).or_insert(0.0) += 1.0;
            }
        }
        let all = (pictures.len() as f64).ln();
        let weigh = |counts: &[Vec<(Gram, u32)>; ORDERS]| {
            let grams: [Vec<(Gram, f64)>; ORDERS] = std::array::from_fn(|order| {
                let weight = |&(gram, times): &(Gram, u32)| {
                    let df = frequency.get(&gram).copied().unwrap_or(0.0);
                    (gram, f64::from(times) * (all - df.max(1.0).ln()))
                };
                counts[order].iter().map(weight).collect()
            });
            let norms =
                std::array::from_fn(|order| grams[order].iter().map(|(_, w)| w * w).sum::<f64>().sqrt());
            Weights { grams, norms, length: counts[1].iter().map(|&(_, times)| f64::from(times)).sum() }
        };
        Cider {
            candidates: candidates.iter().map(weigh).collect(),
            references: references.iter().map(|picture| picture.iter().map(weigh).collect()).collect(),
        }
    }

    /// The mean score, at least 0, at most 10, of giving picture `i` the candidate of picture `(i + shift) mod N`.
    pub fn mean(&self, shift: usize) -> f64 {
        let pictures = self.candidates.len();
        if pictures == 0 {
            return 0.0;
        }
        let total: f64 = (0..pictures)
            .map(|i| of_picture(&self.candidates[(i + shift) % pictures], &self.references[i]))
            .sum();
        total / pictures as f64
    }
}

/// CIDEr-D; 0 without pictures, and 0 for a single one, since then every n-gram is in all pictures.
pub fn cider_d(pictures: &[Tokens]) -> f64 {
    Cider::new(pictures).mean(0)
}

fn of_picture(candidate: &Weights, references: &[Weights]) -> f64 {
    if references.is_empty() {
        return 0.0;
    }
    let total: f64 = references.iter().map(|reference| similarity(candidate, reference)).sum();
    total / (ORDERS * references.len()) as f64 * 10.0
}

/// The sum over orders of the clipped cosine, times the length penalty.
fn similarity(candidate: &Weights, reference: &Weights) -> f64 {
    let difference = candidate.length - reference.length;
    let penalty = (-difference * difference / (2.0 * SIGMA * SIGMA)).exp();
    let mut sum = 0.0;
    for order in 0..ORDERS {
        let mut product = 0.0;
        for_common(&candidate.grams[order], &reference.grams[order], |c, r| product += c.min(r) * r);
        let norms = candidate.norms[order] * reference.norms[order];
        if norms != 0.0 {
            sum += product / norms * penalty;
        }
    }
    sum
}
