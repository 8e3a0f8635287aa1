//! `evoke evaluate`: score a run on a split of a data set.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::Output;
use super::method::MethodArgs;
use crate::config::{self, Model as _};
use crate::data::Dataset;
use crate::device::Device;
use crate::error::At;
use crate::train::captioner::{evaluate, load};
use crate::train::run_folder::RunFolder;
use crate::train::task::Report as _;
use crate::{Error, Result};

/// Score a run on held-out pictures or clips: losses, scores, and whether the decoder looks at what it is shown
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the run
    pub(super) run: PathBuf,
    /// Folder that `evoke prepare` made, with the run's tokenizer or format of sound
    #[arg(long)]
    pub(super) data: PathBuf,
    /// Which split
    #[arg(long, default_value = "val")]
    pub(super) split: String,
    /// Pictures or clips to look at, spread over the split; 0 means all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) pictures: usize,
    #[command(flatten)]
    pub(super) method: MethodArgs,
    /// Write the captions in COCO's results format, for `evoke score` and other tools
    #[arg(long, value_name = "RESULTS.json")]
    results: Option<PathBuf>,
    /// Of a foley run: clips to make the sound of and to judge, spread over the split
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) listen: usize,
    /// A page to see those clips and to hear truth and model
    #[arg(long, value_name = "PAGE.html", requires = "listen")]
    pub(super) page: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub(super) device: String,
}

#[derive(Debug, Serialize)]
struct Report {
    step: u64,
    split: String,
    #[serde(flatten)]
    report: evaluate::Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        match RunFolder::model(&self.run)? {
            config::Foley::NAME => self.hear(out), // evaluate_sound.rs
            _ => self.describe(out),
        }
    }

    fn describe(self, out: &Output) -> Result<()> {
        let method = self.method.method()?;
        let device = Device::parse(&self.device)?;
        let mut trained = load::load(&self.run, device, &mut |line| out.note(line))?;
        let data = Dataset::open(&self.data)?;
        trained.identity.check(&data)?;
        let split = data.split(&self.split)?;
        let samples = evaluate::spread(split.len(), self.pictures);
        if samples.is_empty() {
            return Err(Error::failed(format!(
                "{}: the split {:?} holds no pictures; choose another with --split",
                self.data.display(),
                self.split
            )));
        }
        let (report, described) =
            evaluate::evaluate(&mut trained.session, &trained.vocabulary, &split, &samples, method)?;
        if let Some(path) = &self.results {
            let results: Vec<_> = described
                .iter()
                .map(|d| json!({"image_id": image_id(&data, split.key(d.sample)), "caption": d.caption}))
                .collect();
            std::fs::write(path, json!(results).to_string()).at("write", path)?;
        }
        let warning = report.warning();
        let report = Report { step: trained.step, split: self.split, report, warning };
        out.result(&report, told)
    }
}

/// What COCO's files call a picture: the number at the end of its name (`COCO_val2014_000000000042.jpg` is 42); other
/// data sets have names alone.
fn image_id(data: &Dataset, key: &str) -> serde_json::Value {
    let stem = key.rsplit_once('.').map_or(key, |(stem, _)| stem);
    let digits = stem.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u64>() {
        Ok(number) if data.index().source == "coco" => json!(number),
        _ => json!(key),
    }
}

fn told(report: &Report) -> String {
    let r = &report.report;
    let mut text = format!(
        "{} pictures of {:?}, step {}\n\n\
         nats a token     {:>8.4}   with the true picture\n\
         \x20                {:>8.4}   with another's\n\
         \x20                {:>8.4}   with none\n\
         whole caption    {:>7.1} %   is one of the references, word for word\n\
         \x20                {:>7.1} %   is within one word of one\n\
         CIDEr-D          {:>8.4}   matched\n\
         \x20                {:>8.4}   dealt to other pictures\n\
         BLEU-4           {:>8.4}\n\
         ROUGE-L          {:>8.4}\n\
         distinct         {:>7.1} %   of the captions ({:.1} % of the references)\n\
         attention varies {:>8.4}   between pictures (0: never, 1: wholly)",
        r.pictures,
        report.split,
        report.step,
        r.nats_true,
        r.nats_other,
        r.nats_none,
        100.0 * r.exact,
        100.0 * r.within_one_word,
        r.cider_d,
        r.cider_d_dealt,
        r.bleu4,
        r.rouge_l,
        100.0 * r.distinct_share,
        100.0 * r.reference_distinct_share,
        r.attention_variation
    );
    if let Some(warning) = &report.warning {
        text.push_str(&format!("\n\nwarning: {warning}"));
    }
    text
}
