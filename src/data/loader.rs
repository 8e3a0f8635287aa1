//! Batches of captioned pictures for training: a pure function of (seed, pass).
//!
//! [`Visits`] says which pictures a pass visits; each comes with one of its captions.

use super::vocabulary::{END, MASK, PAD, START};
use super::{Split, Visits, choose};
use crate::ops::philox;

/// Caption lengths are rounded up to multiples of this, so that few plans serve all batches.
const LENGTH_BUCKET: usize = 4;
/// Sets the loader's draws apart from all others of the same seed.
const WORD_STREAM: u32 = 0x10ad;
const PASS_STREAM: u32 = 0x10ae;

/// What a pass reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// (batch, height, width, 3).
    pub pixels: Vec<u8>,
    /// (batch, length): the start token, then words.
    pub words: Vec<u32>,
    /// (batch, length): words, then the end token, then padding.
    pub targets: Vec<u32>,
    pub batch: usize,
    pub length: usize,
    /// All words are masks, and the decoder is to see both ways.
    pub parallel: bool,
    /// Which samples of the split these are.
    pub samples: Vec<usize>,
}

impl Batch {
    /// Targets that count in the loss.
    pub fn target_words(&self) -> usize {
        self.targets.iter().filter(|&&t| t != PAD).count()
    }
}

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub visits: Visits,
    /// Longest caption, the end token included.
    pub max_words: usize,
    pub word_dropout: f32,
    /// Share of passes that are parallel predictions.
    pub parallel: f32,
}

impl Recipe {
    /// The batch of pass number `pass`, counted from 0.
    pub fn make(&self, split: &Split, pass: u64) -> Batch {
        let (epoch, samples) = self.visits.of_pass(split.len(), pass);
        let seed = self.visits.seed;
        let picks: Vec<(usize, usize)> =
            samples.iter().map(|&s| (s, choose(seed, epoch, s, split.caption_count(s)))).collect();
        let mut made = gather(split, &picks, self.max_words);
        let key = [seed as u32, (seed >> 32) as u32];
        let draw = |stream: u32, element: u64| {
            f64::from(philox::value(key, [stream, pass as u32], element)) / 65536.0
        };
        made.parallel = draw(PASS_STREAM, 0) < f64::from(self.parallel);
        if made.parallel {
            made.words.fill(MASK);
        } else if self.word_dropout > 0.0 {
            for (i, word) in made.words.iter_mut().enumerate() {
                if i % made.length > 0 && draw(WORD_STREAM, i as u64) < f64::from(self.word_dropout) {
                    *word = MASK;
                }
            }
        }
        made
    }
}

/// A batch of given samples with given captions, as evaluation needs it.
pub fn gather(split: &Split, picks: &[(usize, usize)], max_words: usize) -> Batch {
    let captions: Vec<&[u32]> = picks
        .iter()
        .map(|&(sample, caption)| {
            let tokens = split.caption_tokens(sample, caption);
            &tokens[..tokens.len().min(max_words - 1)]
        })
        .collect();
    let longest = captions.iter().map(|c| c.len() + 1).max().unwrap_or(1);
    let length = longest.next_multiple_of(LENGTH_BUCKET).min(max_words);
    let mut words = vec![PAD; picks.len() * length];
    let mut targets = words.clone();
    for (row, caption) in captions.iter().enumerate() {
        let start = row * length;
        words[start] = START;
        // The last word is a target only: nothing comes after it.
        let shown = caption.len().min(length - 1);
        words[start + 1..start + 1 + shown].copy_from_slice(&caption[..shown]);
        targets[start..start + caption.len()].copy_from_slice(caption);
        targets[start + caption.len()] = END;
    }
    let samples: Vec<usize> = picks.iter().map(|pick| pick.0).collect();
    let mut pixels = Vec::new();
    for &sample in &samples {
        pixels.extend_from_slice(split.pixels(sample));
    }
    Batch { pixels, words, targets, batch: picks.len(), length, parallel: false, samples }
}
