//! Counts of n-grams over numbered words, sorted, so that every sum has one order and a score repeats bit for bit.

use std::collections::HashMap;

/// The metrics of COCO count n-grams of one to four words.
pub const ORDERS: usize = 4;

/// Up to four words' numbers; unused places are 0, which is no word's number.
pub type Gram = [u32; ORDERS];

/// Gives each word a number from 1 on.
#[derive(Default)]
pub struct Numbering<'a> {
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Numbering<'a> {
    pub fn numbers(&mut self, words: &'a [String]) -> Vec<u32> {
        words
            .iter()
            .map(|word| {
                let next = self.numbers.len() as u32 + 1;
                *self.numbers.entry(word).or_insert(next)
            })
            .collect()
    }
}

/// For each n from 1 to 4: the n-grams of a sentence in ascending order, each with its count.
pub fn count(words: &[u32]) -> [Vec<(Gram, u32)>; ORDERS] {
    std::array::from_fn(|order| {
        let mut grams: Vec<Gram> = words
            .windows(order + 1)
            .map(|window| {
                let mut gram = [0; ORDERS];
                gram[..=order].copy_from_slice(window);
                gram
            })
            .collect();
        grams.sort_unstable();
        grams.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect()
    })
}

/// Calls `visit` with the values of every n-gram that both sorted lists hold.
pub fn for_common<A: Copy, B: Copy>(a: &[(Gram, A)], b: &[(Gram, B)], mut visit: impl FnMut(A, B)) {
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                visit(a[i].1, b[j].1);
                i += 1;
                j += 1;
            }
        }
    }
}
