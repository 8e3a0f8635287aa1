//! Figures that show collapse: a model that says the same of every picture has few distinct captions.

use std::collections::HashSet;

use super::Tokens;

/// The share of captions that differ from all before them, in 0..=1; 0 without captions.
pub fn distinct_share<'a>(captions: impl IntoIterator<Item = &'a [String]>) -> f64 {
    let mut distinct = HashSet::new();
    let mut all = 0;
    for caption in captions {
        distinct.insert(caption);
        all += 1;
    }
    if all == 0 { 0.0 } else { distinct.len() as f64 / all as f64 }
}

/// The share of candidates that equal one of their references word for word, in 0..=1; 0 without pictures.
pub fn exact_share(pictures: &[Tokens]) -> f64 {
    if pictures.is_empty() {
        return 0.0;
    }
    let exact = pictures.iter().filter(|picture| picture.references.contains(&picture.candidate)).count();
    exact as f64 / pictures.len() as f64
}

/// How far captions are moved to deal them to other pictures: half way round, since neighbours in a data set are often alike.
/// 0 for a single picture, which has no other.
pub fn deal(pictures: usize) -> usize {
    pictures / 2
}
