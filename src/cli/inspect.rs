//! `evoke inspect`: what a data set holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{Output, inspect_sound};
use crate::Result;
use crate::data::index::{self, Contents, SoundFormat, TokenizerRecord};
use crate::data::picture::Preprocessing;
use crate::data::{Dataset, Split};

/// Show what a data set holds
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that `evoke prepare` made
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Pictures whose captions are shown from each split; clips of a sound set
    #[arg(long, default_value_t = 3, value_name = "N")]
    samples: usize,
}

#[derive(Serialize)]
struct Report {
    folder: String,
    hash: String,
    source: String,
    preprocessing: Preprocessing,
    tokenizer: TokenizerRecord,
    splits: BTreeMap<String, SplitReport>,
}

#[derive(Serialize)]
struct SplitReport {
    pictures: usize,
    captions: usize,
    shards: usize,
    bytes: usize,
    /// Tokens, without start and end.
    mean_caption: f64,
    longest_caption: usize,
    longest_text: String,
    /// Share of the tokens that are `<unk>`.
    unknown_share: f64,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Sample {
    key: String,
    captions: Vec<String>,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        if index::format(&self.data).as_deref() == Some(SoundFormat::FORMAT) {
            return inspect_sound::run(&self.data, self.samples, out);
        }
        let data = Dataset::open(&self.data)?;
        let mut splits = BTreeMap::new();
        for (name, record) in &data.index().splits {
            let mut report = describe(&data.split(name)?, self.samples);
            report.shards = record.shards.len();
            report.bytes = record.shards.iter().map(|shard| shard.bytes).sum();
            splits.insert(name.clone(), report);
        }
        let report = Report {
            folder: self.data.display().to_string(),
            hash: data.hash().to_owned(),
            source: data.index().source.clone(),
            preprocessing: data.preprocessing().clone(),
            tokenizer: data.index().contents.tokenizer.clone(),
            splits,
        };
        out.result(&report, Report::text)
    }
}

fn describe(split: &Split, samples: usize) -> SplitReport {
    let (mut captions, mut tokens, mut unknown) = (0, 0, 0);
    let mut longest = (0, "");
    for picture in 0..split.len() {
        for caption in 0..split.caption_count(picture) {
            let ids = split.caption_tokens(picture, caption);
            captions += 1;
            tokens += ids.len();
            unknown += ids.iter().filter(|&&id| id == crate::data::vocabulary::UNK).count();
            if ids.len() > longest.0 {
                longest = (ids.len(), split.caption_text(picture, caption));
            }
        }
    }
    let sample = |picture| Sample {
        key: split.key(picture).to_owned(),
        captions: (0..split.caption_count(picture))
            .map(|c| split.caption_text(picture, c).to_owned())
            .collect(),
    };
    SplitReport {
        pictures: split.len(),
        captions,
        shards: 0,
        bytes: 0,
        mean_caption: tokens as f64 / f64::from(captions.max(1) as u32),
        longest_caption: longest.0,
        longest_text: longest.1.to_owned(),
        unknown_share: unknown as f64 / tokens.max(1) as f64,
        samples: (0..split.len().min(samples)).map(sample).collect(),
    }
}

impl Report {
    fn text(&self) -> String {
        let (p, t) = (&self.preprocessing, &self.tokenizer);
        let mut text = format!(
            "{}: data set {} made by prepare {}\npictures  {} x {} pixels (height x width), fit {:?}, {}\n\
             tokenizer {}, {} tokens, {}",
            self.folder, self.hash, self.source, p.height, p.width, p.fit, p.filter, t.kind, t.size, t.hash
        );
        for (name, s) in &self.splits {
            text += &format!(
                "\n\n{name}: {} pictures, {} captions ({:.1} a picture), {} shards, {:.1} MiB\n  \
                 {:.1} tokens a caption, {:.2} % unknown; the longest has {}: {}",
                s.pictures,
                s.captions,
                s.captions as f64 / s.pictures.max(1) as f64,
                s.shards,
                s.bytes as f64 / f64::from(1 << 20),
                s.mean_caption,
                100.0 * s.unknown_share,
                s.longest_caption,
                s.longest_text
            );
            for sample in &s.samples {
                text += &format!("\n  {}", sample.key);
                sample.captions.iter().for_each(|caption| text += &format!("\n    {caption}"));
            }
        }
        text
    }
}
