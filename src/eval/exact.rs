//! How nearly captions say what people said, word for word.
//!
//! These figures compare words as a tokenizer of words cuts them, in lower case and without marks. The metrics' tokeniser
//! counts brackets and symbols as words too (`-lrb-`, `$`), as COCO's scores do; but a model that writes words cannot
//! write them, and would never be right of a reference that has one.

use super::Pair;
use crate::Result;
use crate::data::vocabulary::Words;

/// How many captions are right, as shares in 0..=1; 0 without pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Agreement {
    /// Candidates that equal one of their references word for word.
    pub exact: f64,
    /// Candidates that do when at most one word is changed, added or left out.
    pub within_one_word: f64,
}

/// Compares each candidate with its references. A reference without a word is nobody's: an empty caption is not right
/// of it.
///
/// # Errors
/// If a caption cannot be cut into words, which no text is known to cause.
pub fn agreement(pairs: &[Pair]) -> Result<Agreement> {
    let words = Words::new()?;
    let (mut exact, mut near) = (0, 0);
    for pair in pairs {
        let candidate = words.of(pair.candidate)?;
        let mut nearest = usize::MAX;
        for reference in &pair.references {
            let reference = words.of(reference)?;
            if !reference.is_empty() {
                nearest = nearest.min(distance(&candidate, &reference));
            }
        }
        exact += usize::from(nearest == 0);
        near += usize::from(nearest <= 1);
    }
    let share = |count: usize| count as f64 / pairs.len().max(1) as f64;
    Ok(Agreement { exact: share(exact), within_one_word: share(near) })
}

/// How many words must be changed, added or left out (Levenshtein 1966).
pub fn distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, word) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let new = (diagonal + usize::from(word != other)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], new);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::vocabulary::{Kind, Vocabulary};

    /// Exact, and within one word.
    fn shares(candidate: &str, reference: &str) -> (f64, f64) {
        let found = agreement(&[Pair { candidate, references: vec![reference] }]).unwrap();
        (found.exact, found.within_one_word)
    }

    #[test]
    fn bug_a_caption_with_brackets_or_quotes_was_never_exact() {
        let references = [
            "A peacock (a male peafowl).",
            "A US 25 cent piece ($.25) called a quarter.",
            "A Canadian dollar ($1.00) called a \u{201c}loonie\u{201d}. It\u{2019}s named after the bird.",
            "A ``quoted'' sign and a \"Stop\" sign [sic] {here}.",
            "A ginger 'root', a knight's t-shirt & the U.S. flag!!",
            "Don't walk; cannot cross -- Tux\u{2014}the mascot\u{2026} (-LRB- and -RRB-)",
            "The coin of 1 euro (1 \u{20ac}), \u{bd} price, 5\u{a2}, 5% off #1, cafe\u{301}.",
        ];
        let vocabulary = Vocabulary::train(references, Kind::Words, 1000, 1).unwrap();
        for reference in references {
            // What a model that is right of every word writes: the words that it knows.
            let written = vocabulary.decode(&vocabulary.encode(reference));
            assert_eq!(shares(&written, reference), (1.0, 1.0), "{written:?} of {reference:?}");
            assert_eq!(shares(reference, reference), (1.0, 1.0), "{reference:?}");
        }
    }

    #[test]
    fn words_that_differ_still_count() {
        assert_eq!(shares("a dog runs", "A dog runs."), (1.0, 1.0));
        assert_eq!(shares("a cat runs", "A dog runs."), (0.0, 1.0));
        assert_eq!(shares("a big dog runs", "A dog (runs)."), (0.0, 1.0));
        assert_eq!(shares("a dog", "A dog runs far."), (0.0, 0.0));
        assert_eq!(shares("", "A dog."), (0.0, 0.0));
        assert_eq!(shares("", "(!)"), (0.0, 0.0));
        assert_eq!(shares("mans hat", "A man's hat"), (0.0, 0.0));
        assert_eq!(agreement(&[]).unwrap(), Agreement::default());
    }

    #[test]
    fn the_nearest_reference_counts() {
        let pair = |candidate| Pair { candidate, references: vec!["two cats", "a dog (brown)", "!"] };
        let pairs = [pair("a dog brown"), pair("two cats sleep"), pair("a bird"), pair("")];
        assert_eq!(agreement(&pairs).unwrap(), Agreement { exact: 0.25, within_one_word: 0.5 });
    }

    #[test]
    fn distance_counts_words() {
        assert_eq!(distance(&["a", "b", "c"], &["a", "c"]), 1);
        assert_eq!(distance::<&str>(&[], &["a", "b"]), 2);
        assert_eq!(distance(&["a", "b", "c", "d"], &["b", "c", "d", "a"]), 2);
    }
}
