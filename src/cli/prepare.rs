//! `evoke prepare`: pictures and captions, films, or sound into a data set. One subcommand for each kind of source.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::Output;
use super::prepare_audio::Audio;
use super::prepare_progress::write_split;
use super::prepare_scenes;
use super::prepare_video::Video;
use crate::data::captions::{self, Item, PictureFiles};
use crate::data::picture::{Fit, Preprocessing};
use crate::data::vocabulary::{Kind, Vocabulary};
use crate::data::writer::{self, Plan, Source, Writer};
use crate::data::{coco, hash_hex};
use crate::error::At;
use crate::{Error, Result};

/// Make a data set of pictures with captions, of films, or of sound
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    source: Kinds,
}

#[derive(Debug, clap::Subcommand)]
enum Kinds {
    Coco(Coco),
    Captions(Captions),
    Scenes(prepare_scenes::Args),
    Video(Video),
    Audio(Audio),
}

/// From COCO's annotation files and their folders of pictures
#[derive(Debug, clap::Args)]
struct Coco {
    /// captions_train*.json
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// The folder of its pictures
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// captions_val*.json
    #[arg(long, value_name = "FILE", requires = "val_images", conflicts_with = "val_share")]
    val_annotations: Option<PathBuf>,
    /// The folder of its pictures
    #[arg(long, value_name = "DIR", requires = "val_annotations")]
    val_images: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// From a JSONL or TSV file of paths and captions, or a folder whose pictures have a .txt beside them
#[derive(Debug, clap::Args)]
struct Captions {
    /// FILE.jsonl with {"path": ..., "caption": ...}, FILE.tsv with path TAB caption, or a folder
    #[arg(value_name = "FILE|FOLDER")]
    from: PathBuf,
    /// Where the file's relative paths start [default: the file's own folder]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The folder to write; started again after a stop, the same command goes on where it was
    #[arg(long, value_name = "DATA")]
    out: PathBuf,
    /// Pixels: one number for squares, or HEIGHTxWIDTH
    #[arg(long, default_value = "224", value_parser = size)]
    size: (usize, usize),
    /// How pictures of another shape are made to fit
    #[arg(long, value_enum, default_value = "crop")]
    fit: Fit,
    /// How captions are cut into tokens
    #[arg(long, value_enum, default_value = "words")]
    tokenizer: Kind,
    /// The most tokens, the five special ones included
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    vocabulary: usize,
    /// How often a word has to occur in the training captions
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_count: u64,
    /// Use the tokenizer.json of another data set or of a run instead of learning one, so that its model fits this data
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tokenizer", "vocabulary", "min_count"])]
    tokenizer_file: Option<PathBuf>,
    /// Share of the pictures that becomes the split `val`, chosen by a hash of their names
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    val_share: f64,
    /// The most MiB of pixels in one shard
    #[arg(long, default_value_t = writer::SHARD_BYTES >> 20, value_name = "MIB")]
    shard_mib: usize,
    /// Replace a data set that is already there
    #[arg(long)]
    overwrite: bool,
}

/// What `prepare --json` prints.
#[derive(Serialize)]
pub(super) struct Summary {
    pub out: String,
    pub seconds: f64,
    pub pictures_per_second: f64,
    pub tokens: usize,
    #[serde(flatten)]
    pub report: writer::Report,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        match self.source {
            Kinds::Coco(args) => args.run(out),
            Kinds::Captions(args) => args.run(out),
            Kinds::Scenes(args) => args.run(out),
            Kinds::Video(args) => args.run(out),
            Kinds::Audio(args) => args.run(out),
        }
    }
}

impl Coco {
    fn run(self, out: &Output) -> Result<()> {
        writer::check_free(&self.common.out, self.common.overwrite)?;
        let mut orphans = 0;
        let mut read = |annotations: &Path, images: &Path| -> Result<Vec<Item>> {
            let read = coco::read(annotations, images)?;
            orphans += read.orphans;
            Ok(read.items)
        };
        let train = read(&self.annotations, &self.images)?;
        let mut identity = json!({"annotations": file_hash(&self.annotations)?, "images": self.images});
        let splits = match (&self.val_annotations, &self.val_images) {
            (Some(annotations), Some(images)) => {
                identity["val_annotations"] = json!(file_hash(annotations)?);
                identity["val_images"] = json!(images);
                (train, read(annotations, images)?)
            }
            _ => captions::hash_split(train, self.common.val_share),
        };
        if orphans > 0 {
            out.note(format!(
                "{orphans} captions belong to pictures that the annotations do not list; left out"
            ));
        }
        self.common.prepare(out, "coco", identity, splits)
    }
}

impl Captions {
    fn run(self, out: &Output) -> Result<()> {
        writer::check_free(&self.common.out, self.common.overwrite)?;
        let items = captions::read(&self.from, self.images.as_deref())?;
        let listing: String =
            items.iter().map(|item| format!("{}\t{:?}\n", item.key, item.captions)).collect();
        let identity =
            json!({"captions": hash_hex(listing.as_bytes()), "path": self.from, "images": self.images});
        let splits = captions::hash_split(items, self.common.val_share);
        self.common.prepare(out, "captions", identity, splits)
    }
}

impl Common {
    /// The tokenizer that was given, or one learned from the training captions.
    fn vocabulary(&self, train: &[Item]) -> Result<Vocabulary> {
        let Some(file) = &self.tokenizer_file else {
            let texts = train.iter().flat_map(|item| &item.captions);
            return Vocabulary::train(texts, self.tokenizer, self.vocabulary, self.min_count);
        };
        Vocabulary::load(file).map_err(|error| match error {
            Error::Failed(what) => {
                Error::failed(format!("{what}; give the tokenizer.json of a data set or of a run"))
            }
            other => other,
        })
    }

    /// Finds the tokenizer, then makes one pass over the pictures.
    fn prepare(
        self,
        out: &Output,
        source: &str,
        mut identity: Value,
        (train, val): (Vec<Item>, Vec<Item>),
    ) -> Result<()> {
        let started = Instant::now();
        identity["val_share"] = json!(self.val_share);
        let vocabulary = self.vocabulary(&train)?;
        let tokens = vocabulary.size();
        let preprocessing = Preprocessing::new(self.size.0, self.size.1, self.fit);
        let plan = Plan {
            source: source.into(),
            identity,
            preprocessing: preprocessing.clone(),
            shard_bytes: self.shard_mib << 20,
        };
        let mut writer = Writer::create(&self.out, plan, vocabulary, self.overwrite)?;
        let mut made = 0;
        for (name, items) in [("train", train), ("val", val)] {
            if items.is_empty() {
                continue;
            }
            let source = PictureFiles { items, preprocessing: preprocessing.clone() };
            made += source.len() - writer.finished(name);
            write_split(out, &mut writer, name, &source)?;
        }
        let report = writer.finish()?;
        let seconds = started.elapsed().as_secs_f64();
        let summary = Summary {
            out: self.out.display().to_string(),
            seconds,
            pictures_per_second: made as f64 / seconds,
            tokens,
            report,
        };
        out.result(&summary, Summary::text)
    }
}

impl Summary {
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}: data set {}, {} tokens", self.out, self.report.dataset, self.tokens);
        for (name, split) in &self.report.splits {
            text += &format!(
                "\n{name:8}{} pictures, {} captions, {} shards, {:.1} MiB",
                split.samples,
                split.captions,
                split.shards,
                split.bytes as f64 / f64::from(1 << 20)
            );
            if let Some(first) = split.skipped.first() {
                text += &format!(
                    "; {} skipped (first: {}: {}), all in {}",
                    split.skipped.len(),
                    first.picture,
                    first.reason,
                    writer::REPORT
                );
            }
        }
        text + &format!("\n{:.1} s, {:.0} pictures/s", self.seconds, self.pictures_per_second)
    }
}

fn file_hash(path: &Path) -> Result<String> {
    Ok(hash_hex(&std::fs::read(path).at("read", path)?))
}

/// `224` or `96x128`.
pub(super) fn size(text: &str) -> std::result::Result<(usize, usize), String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |text: &str| text.parse().ok().filter(|side| (1..=4096).contains(side));
    match (side(height), side(width)) {
        (Some(height), Some(width)) => Ok((height, width)),
        _ => Err("expected pixels from 1 to 4096: 224, or HEIGHTxWIDTH as in 96x128".into()),
    }
}

pub(super) fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to below 1, as in 0.05".into())
}
