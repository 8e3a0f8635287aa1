//! Writes a data set: rows from any source, made in parallel, stored in order, in shards of bounded size.
//!
//! The bytes depend on the rows alone, not on threads or on how often the work was stopped. Memory holds a window of
//! rows and the captions of one shard; pixels go straight to the file.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::files;
use super::index::{INDEX, Index, ShardRecord, SplitRecord, TOKENIZER};
use super::journal::{JOURNAL, Journal, SkippedRow, Step};
use super::picture::{Preprocessing, Skipped};
use super::shard::{Column, FORMAT, picture_schema};
use super::shard_writer::{Layout, ShardWriter, Value as Cell, row_hash};
use super::vocabulary::Vocabulary;
use crate::error::At;
use crate::{Error, Result};

/// Pixels in one shard, in bytes, unless told otherwise.
pub const SHARD_BYTES: usize = 256 << 20;
/// The report of what was left out, beside the index.
pub const REPORT: &str = "prepare-report.json";
/// Rows in work for each thread: enough that a slow picture does not keep the others waiting.
const WINDOW: usize = 16;

/// One picture with its captions.
#[derive(Debug, Clone)]
pub struct Row {
    /// The picture's name.
    pub key: String,
    /// u8 `[height, width, 3]`, RGB.
    pub pixels: Vec<u8>,
    /// As they were written; at least one.
    pub captions: Vec<String>,
}

/// Where rows come from. `row(i)` gives the same for the same `i`, on any thread.
pub trait Source: Sync {
    /// How many rows there are, those included that will be skipped.
    fn len(&self) -> usize;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of row `i` for reports.
    fn name(&self, i: usize) -> String;

    /// Makes row `i`, or says why it cannot be made.
    fn row(&self, i: usize) -> Result<Row, Skipped>;
}

/// What decides a data set's bytes beside its rows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `coco`, `captions`, `scenes`: what the index calls it.
    pub source: String,
    /// What else the rows depend on. An unfinished data set continues only if this is the same.
    pub identity: Value,
    pub preprocessing: Preprocessing,
    /// The most bytes of pixels in a shard.
    pub shard_bytes: usize,
}

/// How far a split is, for a progress line.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// Rows done, kept from an earlier start included.
    pub done: usize,
    pub total: usize,
    /// Rows that an earlier, interrupted start had done.
    pub resumed: usize,
    pub skipped: usize,
}

/// What was made and what was left out; `prepare-report.json` and `prepare --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub dataset: String,
    pub splits: std::collections::BTreeMap<String, SplitReport>,
}

/// One split of a [`Report`].
#[derive(Debug, Clone, Default, Serialize)]
pub struct SplitReport {
    pub samples: usize,
    pub captions: usize,
    pub shards: usize,
    pub bytes: usize,
    pub skipped: Vec<SkippedRow>,
}

/// A data set in the making.
pub struct Writer {
    out: PathBuf,
    plan: Plan,
    vocabulary: Vocabulary,
    schema: Vec<Column>,
    journal: Journal,
    splits: Vec<String>,
}

/// Refuses a folder that `prepare` must not write to, before any work is done.
///
/// # Errors
/// If it holds a complete data set (and `overwrite` is false), or files that are not a data set's.
pub fn check_free(out: &Path, overwrite: bool) -> Result<()> {
    if out.join(INDEX).exists() && !out.join(JOURNAL).exists() && !overwrite {
        return Err(Error::failed(format!(
            "{}: already holds a complete data set; add --overwrite to make it again, or choose another folder",
            out.display()
        )));
    }
    if out.exists() && !out.is_dir() {
        return Err(Error::failed(format!("{}: is not a folder; choose another name", out.display())));
    }
    if out.exists() && !out.join(INDEX).exists() && !out.join(JOURNAL).exists() {
        for entry in std::fs::read_dir(out).at("read the folder", out)? {
            let name = entry.at("read the folder", out)?.file_name().to_string_lossy().into_owned();
            if !is_ours(&name) {
                return Err(Error::failed(format!(
                    "{}: holds {name}, which is no part of a data set; choose a new or empty folder",
                    out.display()
                )));
            }
        }
    }
    Ok(())
}

impl Writer {
    /// Begins a data set in `out`, or continues one that was stopped.
    ///
    /// # Errors
    /// See [`check_free`]; also if an unfinished data set there was begun with other options.
    pub fn create(out: &Path, plan: Plan, vocabulary: Vocabulary, overwrite: bool) -> Result<Writer> {
        check_free(out, overwrite)?;
        std::fs::create_dir_all(out).at("create the folder", out)?;
        if overwrite {
            remove_dataset(out)?;
        }
        let options = json!({
            "source": plan.source, "from": plan.identity, "preprocessing": plan.preprocessing,
            "tokenizer": vocabulary.hash(), "shard_bytes": plan.shard_bytes,
        });
        let journal = Journal::open(out, &options)?;
        vocabulary.save(&out.join(TOKENIZER))?;
        let schema = picture_schema(plan.preprocessing.height, plan.preprocessing.width);
        Ok(Writer { out: out.into(), plan, vocabulary, schema, journal, splits: Vec::new() })
    }

    /// Rows of `split` that an earlier start has finished.
    pub fn finished(&self, split: &str) -> usize {
        self.journal.progress(split).next
    }

    /// Writes a split, from where an earlier start stopped. `progress` is called after every window of rows.
    ///
    /// # Errors
    /// If a file cannot be written; finished shards are kept, and the same call continues after them.
    pub fn split(&mut self, split: &str, source: &dyn Source, progress: &dyn Fn(Tick)) -> Result<()> {
        self.splits.push(split.into());
        self.fill(split, source, progress).map_err(|error| {
            // A full disk needs the room more than a shard that will be made again.
            let unfinished = shard_name(split, self.journal.progress(split).shards.len());
            let _ = files::remove(&files::partial(&self.out.join(unfinished)));
            let kept: usize = self.splits.iter().map(|name| self.journal.progress(name).shards.len()).sum();
            Error::failed(format!(
                "{error}; the {kept} finished shards are kept, the same command goes on from there"
            ))
        })
    }

    fn fill(&mut self, split: &str, source: &dyn Source, progress: &dyn Fn(Tick)) -> Result<()> {
        let begun = self.journal.progress(split);
        if begun.done {
            return Ok(());
        }
        let rows_per_shard = (self.plan.shard_bytes / self.plan.preprocessing.bytes().max(1)).max(1);
        let window = WINDOW * rayon::current_num_threads();
        let (mut next, mut shards) = (begun.next, begun.shards.len());
        let (mut skipped, mut skips) = (Vec::new(), begun.skipped.len());
        let mut writer: Option<ShardWriter> = None;
        let (schema, vocabulary) = (self.schema.clone(), self.vocabulary.clone());
        let mut ready = make(&schema, &vocabulary, source, next, window);
        while next < source.len() {
            let from = next + ready.len();
            // The next window is made while this one is stored.
            let (store, following) = rayon::join(
                || -> Result<()> {
                    for made in std::mem::take(&mut ready) {
                        next += 1;
                        match made {
                            Ok((cells, hash)) => {
                                let open = match &mut writer {
                                    Some(open) => open,
                                    None => writer.insert(self.begin(split, shards)?),
                                };
                                open.push(cells, hash)?;
                                if open.rows() == rows_per_shard
                                    && let Some(full) = writer.take()
                                {
                                    let record = Some(full.finish()?);
                                    shards += 1;
                                    let (split, skipped) = (split.to_owned(), std::mem::take(&mut skipped));
                                    let step = Step { split, shard: record, skipped, next, done: false };
                                    self.journal.note(step)?;
                                }
                            }
                            Err(reason) => {
                                skips += 1;
                                skipped.push(SkippedRow {
                                    picture: source.name(next - 1),
                                    reason: reason.reason,
                                });
                            }
                        }
                    }
                    Ok(())
                },
                || make(&schema, &vocabulary, source, from, window),
            );
            store?;
            ready = following;
            progress(Tick { done: next, total: source.len(), resumed: begun.next, skipped: skips });
        }
        let shard = writer.map(ShardWriter::finish).transpose()?;
        self.journal.note(Step { split: split.into(), shard, skipped, next, done: true })
    }

    /// Writes the report and, last, the index; then the data set is complete.
    ///
    /// # Errors
    /// If no picture at all could be used, or a file cannot be written.
    pub fn finish(self) -> Result<Report> {
        let mut index = Index::new(&self.plan.source, &self.plan.preprocessing, &self.vocabulary);
        let mut report = Report { dataset: String::new(), splits: Default::default() };
        for split in &self.splits {
            let progress = self.journal.progress(split);
            let sum = |of: fn(&ShardRecord) -> usize| progress.shards.iter().map(of).sum();
            let made = SplitReport {
                samples: sum(|s| s.samples),
                captions: sum(|s| s.captions),
                shards: progress.shards.len(),
                bytes: sum(|s| s.bytes),
                skipped: progress.skipped,
            };
            let record =
                SplitRecord { samples: made.samples, captions: made.captions, shards: progress.shards };
            if record.samples > 0 {
                index.splits.insert(split.clone(), record);
            }
            report.splits.insert(split.clone(), made);
        }
        let path = self.out.join(REPORT);
        let usable = !index.splits.is_empty();
        let index = index.seal()?;
        if usable {
            report.dataset = index.hash.clone();
        }
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Error::failed(format!("{}: cannot be written: {error}", path.display())))?;
        files::write_whole(&path, (text + "\n").as_bytes())?;
        if !usable {
            // Nothing to go on from: the next try starts anew, perhaps with the right folder of pictures.
            self.journal.remove()?;
            let first = report.splits.values().flat_map(|split| &split.skipped).next();
            let example =
                first.map_or(String::new(), |row| format!(" (first: {}: {})", row.picture, row.reason));
            return Err(Error::failed(format!(
                "no picture could be used{example}; {} lists the reasons",
                path.display()
            )));
        }
        index.save(&self.out)?;
        self.journal.remove()?;
        Ok(report)
    }

    fn begin(&self, split: &str, number: usize) -> Result<ShardWriter> {
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("tokenizer", self.vocabulary.hash()),
            ("preprocessing", json!(self.plan.preprocessing).to_string()),
            ("columns", json!(self.schema).to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let path = self.out.join(shard_name(split, number));
        ShardWriter::create(&path, Layout { schema: self.schema.clone(), metadata })
    }
}

type Made = Result<(Vec<Cell>, u64), Skipped>;

/// Makes the rows `from..from + count` on all threads, in order.
fn make(
    schema: &[Column],
    vocabulary: &Vocabulary,
    source: &dyn Source,
    from: usize,
    count: usize,
) -> Vec<Made> {
    let to = source.len().min(from + count);
    // One picture a task: their costs differ by orders of magnitude.
    (from..to)
        .into_par_iter()
        .with_max_len(1)
        .map(|i| source.row(i).and_then(|row| cells(schema, vocabulary, row)))
        .collect()
}

/// A row as the columns of [`picture_schema`], with its hash.
fn cells(schema: &[Column], vocabulary: &Vocabulary, row: Row) -> Made {
    if row.pixels.len() != schema[0].row_bytes() {
        return Err(Skipped::new(format!("has {} bytes, not {}", row.pixels.len(), schema[0].row_bytes())));
    }
    let captions: Vec<Vec<Vec<u8>>> = row
        .captions
        .iter()
        .map(|caption| caption.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|caption| (vocabulary.encode(&caption), caption))
        .filter(|(tokens, _)| !tokens.is_empty())
        .map(|(tokens, text)| vec![text.into_bytes(), tokens.iter().flat_map(|t| t.to_le_bytes()).collect()])
        .collect();
    if captions.is_empty() {
        return Err(Skipped::new("has no caption"));
    }
    let cells = vec![Cell::Bytes(row.pixels), Cell::Bytes(row.key.into_bytes()), Cell::Group(captions)];
    let hash = row_hash(&cells);
    Ok((cells, hash))
}

/// Removes the files of a data set, and only those; the index first, so that no half of it looks complete.
fn remove_dataset(out: &Path) -> Result<()> {
    files::remove(&out.join(INDEX))?;
    for entry in std::fs::read_dir(out).at("read the folder", out)? {
        let path = entry.at("read the folder", out)?.path();
        if is_ours(&path.file_name().unwrap_or_default().to_string_lossy()) {
            files::remove(&path)?;
        }
    }
    files::sync_folder(out)
}

fn shard_name(split: &str, number: usize) -> String {
    format!("{split}-{number:05}.safetensors")
}

/// A file that `prepare` writes: `train-00000.safetensors` for any split, or one of the named ones.
fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(".partial").unwrap_or(name);
    if [INDEX, TOKENIZER, REPORT, JOURNAL].contains(&name) {
        return true;
    }
    let number = name.strip_suffix(".safetensors").and_then(|stem| stem.rsplit_once('-'));
    number.is_some_and(|(_, digits)| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
}
