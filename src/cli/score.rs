//! `evoke score`: how good captions are, from two files in COCO's formats; no Java.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use super::Output;
use crate::error::At;
use crate::eval::{self, Pair, Scores};
use crate::{Error, Result};

/// Score captions against references: BLEU, ROUGE-L, CIDEr-D, and how distinct they are
#[derive(Debug, clap::Args)]
pub struct Args {
    /// COCO results: [{"image_id": 42, "caption": "a dog"}, ...]
    #[arg(long, value_name = "FILE")]
    candidates: PathBuf,
    /// COCO captions: {"annotations": [{"image_id": 42, "id": 7, "caption": "A dog."}, ...]}
    #[arg(long, value_name = "FILE")]
    references: PathBuf,
}

/// A picture's number or name; 42 and "42" are the same picture.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => Ok(Id(number.to_string())),
            serde_json::Value::String(text) => Ok(Id(text)),
            other => Err(D::Error::custom(format!("image_id must be a number or a string, not {other}"))),
        }
    }
}

/// A line of either file; other fields are of no account here.
#[derive(Debug, Deserialize)]
struct Caption {
    image_id: Id,
    caption: String,
}

#[derive(Debug, Deserialize)]
struct References {
    annotations: Vec<Caption>,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Pictures that were scored: those with a candidate.
    pictures: usize,
    /// Pictures with references but no candidate, which were left out.
    without_candidate: usize,
    #[serde(flatten)]
    scores: Scores,
    exact_share: f64,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let candidates: Vec<Caption> =
            read(&self.candidates, "a list of {\"image_id\": ..., \"caption\": ...}")?;
        let references: References =
            read(&self.references, "an object whose \"annotations\" list image_id and caption")?;
        let (pairs, without_candidate) = self.pair(&candidates, &references.annotations)?;

        let tokens = eval::tokenize_pairs(&pairs);
        let report = Report {
            pictures: pairs.len(),
            without_candidate,
            scores: eval::score_tokens(&tokens),
            exact_share: eval::agreement(&pairs)?.exact,
        };
        if without_candidate > 0 {
            out.note(format!(
                "note: {without_candidate} of {} pictures have no candidate and were left out",
                without_candidate + pairs.len()
            ));
        }
        if pairs.len() == 1 {
            out.note("note: CIDEr-D weighs words by how few pictures have them, so with one picture it is 0");
        }
        out.result(&report, table)
    }

    /// Each candidate with its references, in the order of the references' file, and the number of pictures left out.
    fn pair<'a>(
        &self,
        candidates: &'a [Caption],
        annotations: &'a [Caption],
    ) -> Result<(Vec<Pair<'a>>, usize)> {
        let (results, captions) = (self.candidates.display(), self.references.display());
        if annotations.is_empty() {
            return Err(Error::failed(format!(
                "{captions}: \"annotations\" is empty; give a file that has references"
            )));
        }
        if candidates.is_empty() {
            return Err(Error::failed(format!(
                "{results}: no candidates; give one caption for each picture"
            )));
        }
        let mut places: HashMap<&Id, usize> = HashMap::new();
        let mut pictures: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
        for annotation in annotations {
            let place = *places.entry(&annotation.image_id).or_insert_with(|| {
                pictures.push((None, Vec::new()));
                pictures.len() - 1
            });
            pictures[place].1.push(&annotation.caption);
        }
        let unknown: HashSet<&Id> =
            candidates.iter().map(|c| &c.image_id).filter(|id| !places.contains_key(id)).collect();
        for candidate in candidates {
            let id = &candidate.image_id.0;
            let Some(&place) = places.get(&candidate.image_id) else {
                let others = match unknown.len() {
                    1 => String::new(),
                    n => format!(" (nor for {} more pictures)", n - 1),
                };
                return Err(Error::failed(format!(
                    "{results}: image_id {id} has a candidate, but {captions} has no references for it{others}; \
                     give the references of the same pictures"
                )));
            };
            if pictures[place].0.replace(&candidate.caption).is_some() {
                return Err(Error::failed(format!(
                    "{results}: image_id {id} has more than one candidate; keep one caption for each picture"
                )));
            }
        }
        let all = pictures.len();
        let pairs: Vec<Pair> = pictures
            .into_iter()
            .filter_map(|(candidate, references)| Some(Pair { candidate: candidate?, references }))
            .collect();
        let without = all - pairs.len();
        Ok((pairs, without))
    }
}

/// Reads a JSON file; `expected` says what it should hold.
fn read<T: DeserializeOwned>(path: &Path, expected: &str) -> Result<T> {
    let bytes = std::fs::read(path).at("read", path)?;
    // Some editors begin a file with a byte order mark, which JSON does not know.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|error| {
        let kind = if error.is_data() { "not in COCO's format" } else { "not JSON" };
        Error::failed(format!("{}: {kind}: {error}; expected {expected}", path.display()))
    })
}

fn table(report: &Report) -> String {
    let scores = &report.scores;
    let mut lines = vec![format!("{:<26}{:>7}", "pictures", report.pictures)];
    let mut line = |name: &str, value: f64| lines.push(format!("{name:<26}{value:>7.4}"));
    for (n, value) in scores.bleu.iter().enumerate() {
        line(&format!("BLEU-{}", n + 1), *value);
    }
    line("ROUGE-L", scores.rouge_l);
    line("CIDEr-D", scores.cider_d);
    line("CIDEr-D, captions dealt", scores.cider_d_dealt);
    line("exact captions", report.exact_share);
    line("distinct captions", scores.distinct_share);
    line("distinct references", scores.reference_distinct_share);
    lines.join("\n")
}
