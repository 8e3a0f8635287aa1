//! Scores of captions: BLEU, ROUGE-L, CIDEr-D as COCO computes them, and the figures that show collapse.
//!
//! [`score`] takes sentences; [`score_tokens`] and the metrics beside it take words that are already split, so that
//! they can be compared with other programs on the same words. The oracle is pycocoevalcap 1.2.

mod bleu;
mod cider;
mod distinct;
mod exact;
mod ngrams;
mod rouge;
pub mod sound;
mod tokenize;

use serde::ser::{Serialize, SerializeStruct, Serializer};

pub use bleu::bleu;
pub use cider::cider_d;
pub use distinct::distinct_share;
pub use exact::{Agreement, agreement, distance};
pub use rouge::rouge_l;
pub use tokenize::tokenize;

/// What was said of a picture, and what people said of it.
#[derive(Debug, Clone)]
pub struct Pair<'a> {
    pub candidate: &'a str,
    pub references: Vec<&'a str>,
}

/// A [`Pair`] as words.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokens {
    pub candidate: Vec<String>,
    pub references: Vec<Vec<String>>,
}

/// The scores of a set of captions. A picture without references counts as one on which nothing is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// BLEU-1 to BLEU-4, each in 0..=1.
    pub bleu: [f64; 4],
    /// In 0..=1.
    pub rouge_l: f64,
    /// In 0..=10; always 0 for a single picture.
    pub cider_d: f64,
    /// The share of distinct candidates.
    pub distinct_share: f64,
    /// The share of distinct sentences among the first references, one a picture: what the data itself reaches.
    pub reference_distinct_share: f64,
    /// CIDEr-D when every picture is given the caption of another. Near `cider_d`, the pictures were not looked at.
    pub cider_d_dealt: f64,
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Scores", 9)?;
        for (name, value) in ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"].into_iter().zip(&self.bleu) {
            fields.serialize_field(name, value)?;
        }
        fields.serialize_field("ROUGE-L", &self.rouge_l)?;
        fields.serialize_field("CIDEr-D", &self.cider_d)?;
        fields.serialize_field("distinct_share", &self.distinct_share)?;
        fields.serialize_field("reference_distinct_share", &self.reference_distinct_share)?;
        fields.serialize_field("CIDEr-D-dealt", &self.cider_d_dealt)?;
        fields.end()
    }
}

/// Splits the sentences of each pair into words.
pub fn tokenize_pairs(pairs: &[Pair]) -> Vec<Tokens> {
    pairs
        .iter()
        .map(|pair| Tokens {
            candidate: tokenize(pair.candidate),
            references: pair.references.iter().map(|reference| tokenize(reference)).collect(),
        })
        .collect()
}

/// All scores of captions given as sentences.
pub fn score(pairs: &[Pair]) -> Scores {
    score_tokens(&tokenize_pairs(pairs))
}

/// All scores of captions given as words.
pub fn score_tokens(pictures: &[Tokens]) -> Scores {
    let cider = cider::Cider::new(pictures);
    Scores {
        bleu: bleu(pictures),
        rouge_l: rouge_l(pictures),
        cider_d: cider.mean(0),
        distinct_share: distinct_share(pictures.iter().map(|picture| picture.candidate.as_slice())),
        reference_distinct_share: distinct_share(
            pictures.iter().filter_map(|picture| picture.references.first().map(Vec::as_slice)),
        ),
        cider_d_dealt: cider.mean(distinct::deal(pictures.len())),
    }
}

#[cfg(test)]
mod tests;
