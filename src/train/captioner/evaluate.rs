//! Evaluation: the loss, the captions' scores, and whether the decoder looks at the picture at all.
//!
//! A captioner that gives every picture the same sentence can have a good BLEU-1. So these stand together: nats a
//! token with the true picture, with another's and with none; CIDEr-D matched and with captions dealt to other
//! pictures; the share of distinct captions; and how much cross-attention varies between pictures.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::loader::{Batch, gather};
use crate::data::vocabulary::START;
use crate::data::{Split, Vocabulary, choose};
use crate::decode::{self, Method};
use crate::device::StepState;
use crate::eval::{Pair, agreement, score_tokens, tokenize_pairs};
use crate::models::captioner::{Purpose, Session};
use crate::train::task;

/// Pictures in one pass of an evaluation.
const BATCH: usize = 32;
/// The pixel of the picture "none": the middle of the range.
const GREY: u8 = 128;
/// Fewest nats a token by which another's picture must be worse, or the decoder is said to ignore the picture.
const LEAST_USE: f64 = 0.02;

/// What an evaluation found. Means over the pictures looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub pictures: usize,
    /// Negative log-likelihood in nats a token, with the true picture, another's, and a grey one.
    pub nats_true: f64,
    pub nats_other: f64,
    pub nats_none: f64,
    /// Captions that equal one of the references, word for word.
    pub exact: f64,
    /// Captions that equal one when at most one word is changed, added or left out.
    pub within_one_word: f64,
    #[serde(rename = "BLEU-4")]
    pub bleu4: f64,
    #[serde(rename = "ROUGE-L")]
    pub rouge_l: f64,
    #[serde(rename = "CIDEr-D")]
    pub cider_d: f64,
    #[serde(rename = "CIDEr-D-dealt")]
    pub cider_d_dealt: f64,
    pub distinct_share: f64,
    pub reference_distinct_share: f64,
    /// Mean total variation distance of the last layer's cross-attention between a picture and the mean picture.
    pub attention_variation: f64,
}

impl task::Report for Report {
    fn line(&self) -> String {
        format!(
            "{:.3} nats a token (another's picture {:.3}, none {:.3}), {:.1} % exact, CIDEr-D {:.3} (dealt {:.3}), \
             {:.0} % distinct",
            self.nats_true,
            self.nats_other,
            self.nats_none,
            100.0 * self.exact,
            self.cider_d,
            self.cider_d_dealt,
            100.0 * self.distinct_share
        )
    }

    fn judged(&self) -> f64 {
        self.nats_true
    }

    /// Where the decoder makes nothing of the picture.
    fn warning(&self) -> Option<String> {
        let gain = self.nats_other - self.nats_true;
        // Written so that a NaN warns too.
        if gain > LEAST_USE {
            return None;
        }
        Some(format!(
            "the decoder ignores the picture: another picture's loss ({:.3} nats a token) is as good as the true one's \
             ({:.3}), and {:.0} % of the captions are distinct; train longer, lower the learning rate, or raise \
             model.word_dropout or loss.parallel_prediction",
            self.nats_other,
            self.nats_true,
            100.0 * self.distinct_share
        ))
    }

    fn curves(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("nats_true", self.nats_true),
            ("nats_other", self.nats_other),
            ("nats_none", self.nats_none),
            ("exact", self.exact),
            ("within_one_word", self.within_one_word),
            ("BLEU-4", self.bleu4),
            ("ROUGE-L", self.rouge_l),
            ("CIDEr-D", self.cider_d),
            ("CIDEr-D-dealt", self.cider_d_dealt),
            ("distinct_share", self.distinct_share),
            ("attention_variation", self.attention_variation),
        ]
    }
}

/// A picture's caption beside what people said.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub sample: usize,
    pub caption: String,
}

pub use crate::train::task::spread;

/// Evaluates `session` on these samples of the split.
///
/// # Errors
/// If a plan cannot be made.
pub fn evaluate(
    session: &mut Session,
    vocabulary: &Vocabulary,
    split: &Split,
    samples: &[usize],
    method: Method,
) -> Result<(Report, Vec<Described>)> {
    let count = samples.len();
    let mut report = Report { pictures: count, ..Report::default() };
    if count == 0 {
        return Ok((report, Vec::new()));
    }
    losses(session, split, samples, &mut report)?;
    report.attention_variation = attention_variation(session, split, &samples[..count.min(BATCH)])?;
    let mut described = Vec::new();
    for chunk in samples.chunks(BATCH) {
        let mut pixels = Vec::new();
        for &sample in chunk {
            pixels.extend_from_slice(split.pixels(sample));
        }
        let captions = decode::describe(session, vocabulary, &pixels, method)?;
        described.extend(chunk.iter().zip(captions).map(|(&sample, caption)| Described { sample, caption }));
    }
    let pairs: Vec<Pair> = described
        .iter()
        .map(|d| Pair {
            candidate: &d.caption,
            references: (0..split.caption_count(d.sample)).map(|j| split.caption_text(d.sample, j)).collect(),
        })
        .collect();
    let tokens = tokenize_pairs(&pairs);
    let scores = score_tokens(&tokens);
    let agreement = agreement(&pairs)?;
    (report.exact, report.within_one_word) = (agreement.exact, agreement.within_one_word);
    report.bleu4 = scores.bleu[3];
    report.rouge_l = scores.rouge_l;
    report.cider_d = scores.cider_d;
    report.cider_d_dealt = scores.cider_d_dealt;
    report.distinct_share = scores.distinct_share;
    report.reference_distinct_share = scores.reference_distinct_share;
    Ok((report, described))
}

/// Fills in the three losses.
fn losses(session: &mut Session, split: &Split, samples: &[usize], report: &mut Report) -> Result<()> {
    let max_words = session.model.config.max_words;
    let (mut nats, mut words) = ([0.0; 3], 0);
    for (chunk_start, chunk) in samples.chunks(BATCH).enumerate().map(|(i, c)| (i * BATCH, c)) {
        let picks: Vec<(usize, usize)> =
            chunk.iter().map(|&s| (s, choose(0, 0, s, split.caption_count(s)))).collect();
        let batch = gather(split, &picks, max_words);
        words += batch.target_words();
        // Half of the set away, so that neighbours that look alike do not help.
        let other: Vec<u8> = (0..chunk.len())
            .flat_map(|i| {
                split.pixels(samples[(chunk_start + i + samples.len() / 2) % samples.len()]).to_vec()
            })
            .collect();
        let none = vec![GREY; batch.pixels.len()];
        for (sum, pixels) in nats.iter_mut().zip([&batch.pixels, &other, &none]) {
            *sum += nats_of(session, &batch, pixels)?;
        }
    }
    let mean = nats.map(|sum| sum / words as f64);
    [report.nats_true, report.nats_other, report.nats_none] = mean;
    Ok(())
}

/// Sum of the nats of a batch's captions, given `pixels`.
fn nats_of(session: &mut Session, batch: &Batch, pixels: &[u8]) -> Result<f64> {
    let purpose = Purpose { train: false, both_ways: false, label_smoothing: 0.0 };
    let step = session.step(batch.batch, batch.length, purpose)?;
    session.memory.write(&step.program, step.ends.pixels, pixels);
    session.memory.write(&step.program, step.ends.words, &batch.words);
    session.memory.write(&step.program, step.ends.targets, &batch.targets);
    session.memory.write(&step.program, step.ends.scale, &[1.0f32]);
    session.run(&step.program, &StepState::default())?;
    let nats = session.memory.read(&step.program, step.ends.loss.sums)[1];
    session.memory.check()?;
    Ok(f64::from(nats))
}

/// How differently the first word looks at different pictures, averaged over heads: 0 is the same place always.
fn attention_variation(session: &mut Session, split: &Split, samples: &[usize]) -> Result<f64> {
    let batch = samples.len();
    let looker = session.looker(batch, 1)?;
    let ends = looker.ends;
    let bytes: Vec<u8> = samples.iter().flat_map(|&s| split.pixels(s).to_vec()).collect();
    session.memory.write(&looker.program, ends.pixels, &bytes);
    session.memory.write(&looker.program, ends.words, &vec![START; batch]);
    session.run(&looker.program, &StepState::default())?;
    let weights = session.memory.read(&looker.program, ends.weights);
    session.memory.check()?;
    let heads = session.model.config.heads;
    let keys = weights.len() / (batch * heads);
    let mut total = 0.0;
    for head in 0..heads {
        let row = |b: usize| &weights[(b * heads + head) * keys..][..keys];
        let mean: Vec<f64> =
            (0..keys).map(|k| (0..batch).map(|b| f64::from(row(b)[k])).sum::<f64>() / batch as f64).collect();
        for b in 0..batch {
            total += row(b).iter().zip(&mean).map(|(w, m)| (f64::from(*w) - m).abs()).sum::<f64>() / 2.0;
        }
    }
    Ok(total / (heads * batch) as f64)
}
