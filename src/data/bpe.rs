//! Byte-pair encoding learned from word counts, the same on every machine and every run.
//!
//! The `tokenizers` trainer walks hash maps whose order differs between runs; here every tie is broken by text.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

type Pair = (u32, u32);

/// A learned byte-pair encoding.
pub struct Learned {
    /// Token texts by id: the `first` ones given, then one for each merge.
    pub tokens: Vec<String>,
    /// Pairs of token texts in the order they are to be merged.
    pub merges: Vec<(String, String)>,
}

/// Learns merges until there are `size` tokens or no pair occurs `min_count` times.
///
/// `first` holds the special tokens, then the alphabet; every character of a word stands in it. The most frequent
/// pair is merged first; of equally frequent ones the pair whose texts sort first.
pub fn learn(words: &BTreeMap<String, u64>, first: Vec<String>, size: usize, min_count: u64) -> Learned {
    let mut tokens = first;
    let mut ids: HashMap<String, u32> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
    let mut spelled: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, &count)| {
            (
                word.chars().filter_map(|c| ids.get(c.encode_utf8(&mut [0; 4]) as &str).copied()).collect(),
                count,
            )
        })
        .collect();

    let mut counts: HashMap<Pair, u64> = HashMap::new();
    let mut places: HashMap<Pair, BTreeSet<usize>> = HashMap::new();
    for (place, (word, count)) in spelled.iter().enumerate() {
        for pair in word.windows(2).map(|w| (w[0], w[1])) {
            *counts.entry(pair).or_default() += count;
            places.entry(pair).or_default().insert(place);
        }
    }
    let entry = |pair: Pair, count: u64, tokens: &[String]| {
        (count, Reverse((tokens[pair.0 as usize].clone(), tokens[pair.1 as usize].clone())), pair)
    };
    let mut heap: BinaryHeap<_> = counts.iter().map(|(&pair, &count)| entry(pair, count, &tokens)).collect();

    let mut merges = Vec::new();
    while tokens.len() < size {
        let Some((count, Reverse(texts), pair)) = heap.pop() else { break };
        // An entry is out of date when its pair has been counted again since; a newer one is in the heap.
        if counts.get(&pair) != Some(&count) {
            continue;
        }
        if count < min_count.max(1) {
            break;
        }
        let text = format!("{}{}", texts.0, texts.1);
        let merged = *ids.entry(text.clone()).or_insert_with(|| {
            tokens.push(text);
            tokens.len() as u32 - 1
        });
        merges.push(texts);

        let mut changed = BTreeSet::new();
        for place in places.remove(&pair).unwrap_or_default() {
            let (word, weight) = &mut spelled[place];
            for old in word.windows(2).map(|w| (w[0], w[1])) {
                if let Some(count) = counts.get_mut(&old) {
                    *count -= *weight;
                }
                changed.insert(old);
            }
            replace(word, pair, merged);
            for new in word.windows(2).map(|w| (w[0], w[1])) {
                *counts.entry(new).or_default() += *weight;
                places.entry(new).or_default().insert(place);
                changed.insert(new);
            }
        }
        counts.remove(&pair);
        for pair in changed {
            if let Some(&count) = counts.get(&pair).filter(|&&count| count > 0) {
                heap.push(entry(pair, count, &tokens));
            }
        }
    }
    Learned { tokens, merges }
}

/// Replaces every occurrence of the pair, from the left.
fn replace(word: &mut Vec<u32>, pair: Pair, merged: u32) {
    let (mut read, mut write) = (0, 0);
    while read < word.len() {
        let hit = read + 1 < word.len() && (word[read], word[read + 1]) == pair;
        word[write] = if hit { merged } else { word[read] };
        read += 1 + usize::from(hit);
        write += 1;
    }
    word.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alphabet(words: &BTreeMap<String, u64>) -> Vec<String> {
        words.keys().flat_map(|w| w.chars()).collect::<BTreeSet<_>>().iter().map(char::to_string).collect()
    }

    /// The textbook algorithm: recount everything before every merge.
    fn by_recounting(
        words: &BTreeMap<String, u64>,
        first: Vec<String>,
        size: usize,
    ) -> Vec<(String, String)> {
        let mut spelled: Vec<(Vec<String>, u64)> =
            words.iter().map(|(w, &n)| (w.chars().map(|c| c.to_string()).collect(), n)).collect();
        let (mut merges, mut tokens) = (Vec::new(), first);
        while tokens.len() < size {
            let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
            for (word, n) in &spelled {
                word.windows(2).for_each(|w| *counts.entry((w[0].clone(), w[1].clone())).or_default() += n);
            }
            let Some((pair, _)) = counts.into_iter().max_by_key(|(pair, n)| (*n, Reverse(pair.clone())))
            else {
                break;
            };
            for (word, _) in &mut spelled {
                let mut at = 0;
                while at + 1 < word.len() {
                    if word[at] == pair.0 && word[at + 1] == pair.1 {
                        let right = word.remove(at + 1);
                        word[at].push_str(&right);
                    }
                    at += 1;
                }
            }
            let text = format!("{}{}", pair.0, pair.1);
            if !tokens.contains(&text) {
                tokens.push(text);
            }
            merges.push(pair);
        }
        merges
    }

    #[test]
    fn equals_the_textbook_algorithm() {
        let text =
            "a banana and a bandana in an anagram aaaa aaaaa abab ababab cacao coco the then they other";
        let mut words = BTreeMap::new();
        text.split(' ')
            .enumerate()
            .for_each(|(i, w)| *words.entry(w.to_owned()).or_default() += 1 + i as u64 % 3);
        let first = alphabet(&words);
        for size in [first.len() + 1, first.len() + 7, 1000] {
            let learned = learn(&words, first.clone(), size, 1);
            assert_eq!(learned.merges, by_recounting(&words, first.clone(), size), "size {size}");
            assert!(learned.tokens.len() <= size);
        }
    }

    #[test]
    fn rare_pairs_are_left_alone() {
        let words = BTreeMap::from([("ab".to_owned(), 5), ("cd".to_owned(), 4)]);
        let learned = learn(&words, alphabet(&words), 100, 5);
        assert_eq!(learned.merges, [("a".to_owned(), "b".to_owned())]);
    }
}
