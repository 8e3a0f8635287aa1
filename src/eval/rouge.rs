//! ROUGE-L (Lin 2004): the longest common subsequence, as pycocoevalcap 1.2 computes it.

use super::Tokens;
use super::ngrams::Numbering;

/// Weighs recall against precision, as COCO's evaluation does.
const BETA: f64 = 1.2;

/// The mean over pictures, in 0..=1; 0 without pictures.
///
/// Precision and recall are each the largest over the references, taken apart: they may come from two references.
pub fn rouge_l(pictures: &[Tokens]) -> f64 {
    if pictures.is_empty() {
        return 0.0;
    }
    pictures.iter().map(of_picture).sum::<f64>() / pictures.len() as f64
}

fn of_picture(picture: &Tokens) -> f64 {
    let mut numbering = Numbering::default();
    // The oracle reads an empty caption as one empty word; so a score of 0 / 0 never arises.
    let mut numbers = |words| {
        let numbers = numbering.numbers(words);
        if numbers.is_empty() { vec![0] } else { numbers }
    };
    let candidate = numbers(&picture.candidate);
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    for reference in &picture.references {
        let reference = numbers(reference);
        let common = longest_common_subsequence(&candidate, &reference) as f64;
        precision = precision.max(common / candidate.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
}

/// The length of the longest common subsequence, in one row of memory.
fn longest_common_subsequence(a: &[u32], b: &[u32]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::longest_common_subsequence;

    #[test]
    fn longest_common_subsequence_of_known_pairs() {
        assert_eq!(longest_common_subsequence(&[1, 2, 3, 4], &[2, 4, 3, 4]), 3);
        assert_eq!(longest_common_subsequence(&[1, 1, 1], &[1, 2, 1]), 2);
        assert_eq!(longest_common_subsequence(&[1, 2], &[]), 0);
    }
}
