//! Stores rows of any schema: made in parallel, stored in order, in shards of bounded size.
//!
//! The bytes depend on the rows alone, not on threads or on how often the work was stopped. Memory holds a window of
//! rows and the smaller columns of one shard; the first column goes straight to the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::files;
use super::index::{Contents, INDEX, Index, ShardRecord, SplitRecord, TOKENIZER};
use super::journal::{JOURNAL, Journal, Place, SkippedRow, Step};
use super::picture::Skipped;
use super::shard_writer::{Layout, ShardWriter, Value as Cell, row_hash};
use super::sound::{FileRecord, FileReport};
use crate::error::At;
use crate::{Error, Result};

/// Pictures or clips in one shard, in bytes, unless told otherwise.
pub const SHARD_BYTES: usize = 256 << 20;
/// The report of what was left out, beside the index.
pub const REPORT: &str = "prepare-report.json";
/// Rows in work for each thread: enough that a slow picture does not keep the others waiting.
const WINDOW: usize = 16;

/// What the rows of a data set are.
pub struct Table {
    pub layout: Layout,
    /// The most rows in a shard; at least one.
    pub rows_per_shard: usize,
    /// One of them, for messages: `picture`, `clip`.
    pub what: &'static str,
}

/// Where a split's rows come from. `cells(i)` gives the same for the same `i`, on any thread.
pub trait Rows: Sync {
    /// How many rows there are, those included that will be skipped.
    fn count(&self) -> usize;

    /// The name of row `i` for reports.
    fn name(&self, i: usize) -> String;

    /// Makes row `i` as the columns of the table, or says why it cannot be made.
    fn cells(&self, i: usize) -> Result<Vec<Cell>, Skipped>;
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub dataset: String,
    pub splits: BTreeMap<String, SplitReport>,
    /// Of streams: what became of each file, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileReport>,
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
pub struct Store {
    out: PathBuf,
    table: Table,
    journal: Journal,
    splits: Vec<String>,
    /// Shards of a stream that are being written, by split.
    open: BTreeMap<String, ShardWriter>,
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

impl Store {
    /// Begins a data set in `out`, or continues one that was stopped. `options` is everything that decides its bytes.
    ///
    /// # Errors
    /// See [`check_free`]; also if an unfinished data set there was begun with other options.
    pub fn create(out: &Path, table: Table, options: &Value, overwrite: bool) -> Result<Store> {
        check_free(out, overwrite)?;
        std::fs::create_dir_all(out).at("create the folder", out)?;
        if overwrite {
            remove_dataset(out)?;
        }
        let journal = Journal::open(out, options)?;
        Ok(Store { out: out.into(), table, journal, splits: Vec::new(), open: BTreeMap::new() })
    }

    /// Rows of `split` that an earlier start has finished.
    pub fn finished(&self, split: &str) -> usize {
        self.journal.progress(split).next
    }

    /// Writes a split, from where an earlier start stopped. `progress` is called after every window of rows.
    ///
    /// # Errors
    /// If a file cannot be written; finished shards are kept, and the same call continues after them.
    pub fn split(&mut self, split: &str, source: &dyn Rows, progress: &dyn Fn(Tick)) -> Result<()> {
        self.splits.push(split.into());
        self.fill(split, source, progress).map_err(|error| self.given_up(error))
    }

    /// Gives room back after an error, and says what is kept.
    pub fn given_up(&mut self, error: Error) -> Error {
        // A full disk needs the room more than a shard that will be made again.
        for split in &self.splits {
            let unfinished = shard_name(split, self.journal.progress(split).shards.len());
            let _ = files::remove(&files::partial(&self.out.join(unfinished)));
        }
        let kept: usize = self.splits.iter().map(|name| self.journal.progress(name).shards.len()).sum();
        Error::failed(format!(
            "{error}; the {kept} finished shards are kept, the same command goes on from there"
        ))
    }

    /// Rows of all splits that an earlier start has finished.
    pub fn stored(&self) -> usize {
        self.splits.iter().map(|split| self.journal.progress(split).next).sum()
    }

    /// The journal, for streams: where they go on.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Adds a row of a stream to a split; true when a shard has become full and [`Store::flush`] is due.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn push(&mut self, split: &str, cells: Vec<Cell>) -> Result<bool> {
        if !self.open.contains_key(split) {
            self.know(split);
            let writer = self.begin(split, self.journal.progress(split).shards.len())?;
            self.open.insert(split.into(), writer);
        }
        let Some(writer) = self.open.get_mut(split) else { return Ok(false) };
        let hash = row_hash(&cells);
        writer.push(cells, hash)?;
        Ok(writer.rows() >= self.table.rows_per_shard)
    }

    /// Finishes the shards of all splits and notes them with the stream's place and the files that have ended.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn flush(&mut self, place: Place, files: Vec<FileRecord>, done: bool) -> Result<()> {
        let mut steps = Vec::new();
        for split in self.splits.clone() {
            let rows = self.open.get(&split).map_or(0, ShardWriter::rows);
            let shard = self.open.remove(&split).map(ShardWriter::finish).transpose()?;
            let next = self.journal.progress(&split).next + rows;
            steps.push(Step { split, shard, skipped: Vec::new(), next, done });
        }
        match steps.is_empty() {
            true => Ok(()),
            false => self.journal.note_stream(steps, place, files),
        }
    }

    /// Names a split of a stream, so that the report has it also where no clip of it was kept.
    pub fn know(&mut self, split: &str) {
        if !self.splits.iter().any(|known| known == split) {
            self.splits.push(split.into());
        }
    }

    fn fill(&mut self, split: &str, source: &dyn Rows, progress: &dyn Fn(Tick)) -> Result<()> {
        let begun = self.journal.progress(split);
        if begun.done {
            return Ok(());
        }
        let window = WINDOW * rayon::current_num_threads();
        let (mut next, mut shards) = (begun.next, begun.shards.len());
        let (mut skipped, mut skips) = (Vec::new(), begun.skipped.len());
        let mut writer: Option<ShardWriter> = None;
        let mut ready = make(source, next, window);
        while next < source.count() {
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
                                if open.rows() == self.table.rows_per_shard
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
                || make(source, from, window),
            );
            store?;
            ready = following;
            progress(Tick { done: next, total: source.count(), resumed: begun.next, skipped: skips });
        }
        let shard = writer.map(ShardWriter::finish).transpose()?;
        self.journal.note(Step { split: split.into(), shard, skipped, next, done: true })
    }

    /// Writes the report and, last, the index, which comes without its splits; then the data set is complete.
    ///
    /// # Errors
    /// If no row at all could be used, or a file cannot be written.
    pub fn finish<C: Contents>(self, mut index: Index<C>) -> Result<Report> {
        let mut report = Report::default();
        report.files = self.journal.files().iter().map(FileRecord::report).collect();
        report.files.sort_by(|a, b| a.path.cmp(&b.path));
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
            let rows = report.splits.values().flat_map(|split| &split.skipped);
            let rows = rows.map(|row| (row.picture.as_str(), row.reason.as_str()));
            let files =
                report.files.iter().filter_map(|file| Some((file.path.as_str(), file.reason.as_deref()?)));
            let example = rows.chain(files).next();
            let example = example.map_or(String::new(), |(name, why)| format!(" (first: {name}: {why})"));
            return Err(Error::failed(format!(
                "no {} could be used{example}; {} lists the reasons",
                self.table.what,
                path.display()
            )));
        }
        index.save(&self.out)?;
        self.journal.remove()?;
        Ok(report)
    }

    fn begin(&self, split: &str, number: usize) -> Result<ShardWriter> {
        let path = self.out.join(shard_name(split, number));
        ShardWriter::create(&path, self.table.layout.clone())
    }
}

type Made = Result<(Vec<Cell>, u64), Skipped>;

/// Makes the rows `from..from + count` on all threads, in order.
fn make(source: &dyn Rows, from: usize, count: usize) -> Vec<Made> {
    let to = source.count().min(from + count);
    // One row a task: their costs differ by orders of magnitude.
    (from..to)
        .into_par_iter()
        .with_max_len(1)
        .map(|i| {
            let cells = source.cells(i)?;
            let hash = row_hash(&cells);
            Ok((cells, hash))
        })
        .collect()
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
