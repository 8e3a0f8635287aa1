//! BLEU (Papineni 2002) over a corpus, with the closest reference length, as pycocoevalcap 1.2 computes it.

use std::collections::BTreeMap;

use super::Tokens;
use super::ngrams::{Gram, Numbering, ORDERS, count, for_common};

/// BLEU-1 to BLEU-4, each in 0..=1; all 0 without pictures.
///
/// Precision of order n is (correct + 1e-15) / (guessed + 1e-9) over all captions together, correct counts being
/// clipped to the largest count in any one reference. The geometric mean of orders 1..n is multiplied by
/// exp(1 - 1/ratio) where the candidates are shorter than their closest references.
pub fn bleu(pictures: &[Tokens]) -> [f64; ORDERS] {
    // The oracle's two constants: no division by zero, and 0 / 0 is nearly 0, not 1.
    const SMALL: f64 = 1e-9;
    const TINY: f64 = 1e-15;
    if pictures.is_empty() {
        return [0.0; ORDERS];
    }
    let mut correct = [0u64; ORDERS];
    let mut guessed = [0u64; ORDERS];
    let (mut length, mut reference_length) = (0, 0);
    for picture in pictures {
        let mut numbering = Numbering::default();
        let candidate = numbering.numbers(&picture.candidate);
        let mut largest: [BTreeMap<Gram, u32>; ORDERS] = Default::default();
        for reference in &picture.references {
            for (largest, grams) in largest.iter_mut().zip(count(&numbering.numbers(reference))) {
                for (gram, times) in grams {
                    let entry = largest.entry(gram).or_insert(0);
                    *entry = times.max(*entry);
                }
            }
        }
        for (order, grams) in count(&candidate).iter().enumerate() {
            let largest: Vec<_> = largest[order].iter().map(|(&gram, &times)| (gram, times)).collect();
            for_common(grams, &largest, |a, b| correct[order] += u64::from(a.min(b)));
            guessed[order] += candidate.len().saturating_sub(order) as u64;
        }
        length += candidate.len();
        // Of two equally close references the shorter counts.
        let closest =
            picture.references.iter().map(Vec::len).min_by_key(|&l| (l.abs_diff(candidate.len()), l));
        reference_length += closest.unwrap_or(0);
    }
    let ratio = (length as f64 + TINY) / (reference_length as f64 + SMALL);
    let brevity = if ratio < 1.0 { (1.0 - 1.0 / ratio).exp() } else { 1.0 };
    let mut product = 1.0;
    std::array::from_fn(|order| {
        product *= (correct[order] as f64 + TINY) / (guessed[order] as f64 + SMALL);
        product.powf(1.0 / (order + 1) as f64) * brevity
    })
}
