//! Figures that show collapse: a model that says the same of every picture has few distinct captions.

use std::collections::HashSet;

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

/// How far captions are moved to deal them to other pictures: half way round, since neighbours in a data set are often alike.
/// 0 for a single picture, which has no other.
pub fn deal(pictures: usize) -> usize {
    pictures / 2
}
