//! Beam search for one picture: a pure state machine over log-probabilities, so that tests can drive it by hand.
//!
//! A hypothesis's score is the sum of its log-probabilities over ((5 + length) / 6)^alpha. A finished one leaves the
//! beam. The search ends when no open hypothesis can still win, or at the longest caption.

use super::Caption;
use crate::data::vocabulary::END;

/// An unfinished caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    pub tokens: Vec<u32>,
    /// Sum of log-probabilities in nats.
    pub log_probability: f32,
}

/// The search for one picture's caption.
#[derive(Debug)]
pub struct Search {
    width: usize,
    alpha: f32,
    most: usize,
    open: Vec<Hypothesis>,
    finished: Vec<(f32, Caption)>,
}

impl Search {
    /// A beam of `width` hypotheses; captions have at most `most` tokens, the end token included.
    pub fn new(width: usize, alpha: f32, most: usize) -> Search {
        let empty = Hypothesis { tokens: Vec::new(), log_probability: 0.0 };
        Search { width, alpha, most, open: vec![empty], finished: Vec::new() }
    }

    /// The hypotheses that are to be extended.
    pub fn open(&self) -> &[Hypothesis] {
        &self.open
    }

    /// Extends every open hypothesis: `log_probabilities[i]` belongs to `open()[i]`. Returns for each hypothesis
    /// that is now open the index of the one it came from.
    pub fn advance(&mut self, log_probabilities: &[Vec<f32>]) -> Vec<usize> {
        // Candidates are (score, parent, token): equal scores are different candidates, and stand in a fixed order.
        let mut candidates: Vec<(f32, usize, u32)> = Vec::new();
        for (parent, (hypothesis, next)) in self.open.iter().zip(log_probabilities).enumerate() {
            for (token, log_probability) in next.iter().enumerate() {
                if *log_probability > f32::NEG_INFINITY {
                    candidates.push((hypothesis.log_probability + log_probability, parent, token as u32));
                }
            }
        }
        let order = |a: &(f32, usize, u32), b: &(f32, usize, u32)| {
            b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2))
        };
        // At most one end for each parent can stand before the `width` best that go on.
        let wanted = (self.width + self.open.len()).min(candidates.len());
        if wanted < candidates.len() {
            candidates.select_nth_unstable_by(wanted, order);
            candidates.truncate(wanted);
        }
        candidates.sort_by(order);

        let (mut open, mut parents) = (Vec::new(), Vec::new());
        for (rank, (log_probability, parent, token)) in candidates.into_iter().enumerate() {
            let mut tokens = self.open[parent].tokens.clone();
            if token == END {
                // An end outside the best `width` is no better than what it competes with.
                if rank < self.width {
                    self.finish(tokens, log_probability, 1);
                }
            } else if open.len() < self.width {
                tokens.push(token);
                open.push(Hypothesis { tokens, log_probability });
                parents.push(parent);
            }
        }
        self.open = open;
        if self.open.first().is_some_and(|h| h.tokens.len() >= self.most) {
            for hypothesis in std::mem::take(&mut self.open) {
                self.finish(hypothesis.tokens, hypothesis.log_probability, 0);
            }
            parents.clear();
        }
        if self.nobody_can_win() {
            self.open.clear();
            parents.clear();
        }
        parents
    }

    fn finish(&mut self, tokens: Vec<u32>, log_probability: f32, end: usize) {
        let score = log_probability / self.penalty(tokens.len() + end);
        self.finished.push((score, Caption { tokens, log_probability }));
    }

    /// ((5 + length) / 6)^alpha.
    fn penalty(&self, length: usize) -> f32 {
        ((5.0 + length as f32) / 6.0).powf(self.alpha)
    }

    /// Log-probabilities only fall, and the length's divisor is largest at the longest caption.
    fn nobody_can_win(&self) -> bool {
        let best = self.finished.iter().map(|(score, _)| *score).fold(f32::NEG_INFINITY, f32::max);
        let penalty = self.penalty(self.most).max(self.penalty(1));
        self.open.iter().all(|h| h.log_probability / penalty <= best)
    }

    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// The best finished caption; the empty one where the model gave no probability to anything.
    pub fn best(&self) -> Caption {
        let mut best: Option<&(f32, Caption)> = None;
        for candidate in &self.finished {
            if best.is_none_or(|b| candidate.0 > b.0) {
                best = Some(candidate);
            }
        }
        best.map_or(Caption { tokens: Vec::new(), log_probability: f32::NEG_INFINITY }, |b| b.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::log_softmax;

    const A: u32 = 5;
    const B: u32 = 6;
    const WORDS: usize = 7;

    /// A model given as a function of the tokens so far: probabilities of A, B and END.
    fn run(search: &mut Search, model: impl Fn(&[u32]) -> [f32; 3]) -> Caption {
        while !search.is_done() {
            let next: Vec<Vec<f32>> = search
                .open()
                .iter()
                .map(|h| {
                    let [a, b, end] = model(&h.tokens);
                    let mut row = vec![f32::NEG_INFINITY; WORDS];
                    (row[A as usize], row[B as usize], row[END as usize]) = (a.ln(), b.ln(), end.ln());
                    row
                })
                .collect();
            search.advance(&next);
        }
        search.best()
    }

    #[test]
    fn bug_raw_logits_were_summed_instead_of_log_probabilities() {
        // Logits shifted by a constant are the same distribution: a sum of logits would prefer the longer caption.
        let logits = vec![0.0, 0.0, 9.0, 0.0, 0.0, 10.0, 8.0];
        let shifted: Vec<f32> = logits.iter().map(|v| v + 100.0).collect();
        let (a, b) = (log_softmax(&logits), log_softmax(&shifted));
        for (a, b) in a.iter().zip(&b) {
            assert!(a == b || (a - b).abs() < 1e-4);
        }
        let total: f32 = a.iter().map(|v| v.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "log-probabilities must sum to one: {total}");
        assert!(a.iter().all(|v| *v <= 0.0));
    }

    #[test]
    fn bug_hypotheses_of_equal_score_overwrote_each_other() {
        let mut search = Search::new(2, 0.0, 5);
        let mut row = vec![f32::NEG_INFINITY; WORDS];
        (row[A as usize], row[B as usize]) = (0.5f32.ln(), 0.5f32.ln());
        search.advance(&[row]);
        assert_eq!(search.open().len(), 2, "equal scores are two hypotheses");
        assert_ne!(search.open()[0].tokens, search.open()[1].tokens);
    }

    #[test]
    fn bug_prefixes_that_were_not_extended_stayed_in_the_beam() {
        let mut search = Search::new(3, 0.0, 6);
        for length in 1..4 {
            let rows: Vec<Vec<f32>> = search
                .open()
                .iter()
                .map(|_| {
                    let mut row = vec![f32::NEG_INFINITY; WORDS];
                    (row[A as usize], row[B as usize]) = (0.6f32.ln(), 0.4f32.ln());
                    row
                })
                .collect();
            search.advance(&rows);
            assert!(
                search.open().iter().all(|h| h.tokens.len() == length),
                "every hypothesis grew by one word"
            );
        }
    }

    #[test]
    fn bug_search_returned_at_the_first_end_of_any_beam() {
        // Ending at once has probability .4; "A" then the end has .6 * .9 = .54.
        let mut search = Search::new(2, 0.0, 5);
        let best =
            run(&mut search, |tokens| if tokens.is_empty() { [0.6, 1e-9, 0.4] } else { [0.05, 0.05, 0.9] });
        assert_eq!(best.tokens, [A]);
        assert!((best.log_probability - 0.54f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn a_wide_beam_finds_what_greedy_misses() {
        // A first (.6) leads to two equal ways of .5; B first (.4) leads to a sure one.
        let model = |tokens: &[u32]| match tokens {
            [] => [0.6, 0.4, 1e-9],
            [A] => [0.5, 0.5, 1e-9],
            [B] => [1.0 - 2e-9, 1e-9, 1e-9],
            _ => [1e-9, 1e-9, 1.0 - 2e-9],
        };
        assert_eq!(run(&mut Search::new(1, 0.0, 6), model).tokens[0], A);
        assert_eq!(run(&mut Search::new(3, 0.0, 6), model).tokens, [B, A]);
    }

    #[test]
    fn search_matches_an_exhaustive_one_on_random_models() {
        for seed in 0..40u32 {
            let model = |tokens: &[u32]| {
                let mut h = seed.wrapping_mul(2654435761).wrapping_add(17);
                for t in tokens {
                    h = (h ^ t).wrapping_mul(16777619).rotate_left(7);
                }
                let raw = [1 + h % 7, 1 + (h >> 8) % 7, 1 + (h >> 16) % 7].map(|v| v as f32);
                let sum: f32 = raw.iter().sum();
                raw.map(|v| v / sum)
            };
            let (alpha, most) = (0.7, 4);
            let mut best = (f32::NEG_INFINITY, Vec::new());
            let mut stack = vec![(Vec::new(), 0.0f32)];
            while let Some((tokens, log_probability)) = stack.pop() {
                let mut consider = |score: f32, length: usize, tokens: &Vec<u32>| {
                    let normal = score / ((5.0 + length as f32) / 6.0).powf(alpha);
                    if normal > best.0 {
                        best = (normal, tokens.clone());
                    }
                };
                if tokens.len() == most {
                    consider(log_probability, most, &tokens);
                    continue;
                }
                let [a, b, end] = model(&tokens);
                consider(log_probability + end.ln(), tokens.len() + 1, &tokens);
                for (token, p) in [(A, a), (B, b)] {
                    let mut longer = tokens.clone();
                    longer.push(token);
                    stack.push((longer, log_probability + p.ln()));
                }
            }
            // A beam as wide as the tree holds everything.
            assert_eq!(run(&mut Search::new(64, alpha, most), model).tokens, best.1, "seed {seed}");
        }
    }
}
