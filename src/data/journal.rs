//! The journal of an unfinished `prepare`: one JSON line for each finished shard, so that a kill costs one shard.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::index::ShardRecord;
use super::sound::FileRecord;
use super::{files, verify};
use crate::error::At;
use crate::{Error, Result};

/// What the journal is called in its folder.
pub const JOURNAL: &str = "prepare-journal.jsonl";

/// A picture that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkippedRow {
    pub picture: String,
    pub reason: String,
}

/// How far a split has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    pub shards: Vec<ShardRecord>,
    pub skipped: Vec<SkippedRow>,
    /// The next row of the source.
    pub next: usize,
    pub done: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<Value>,
    /// Of all splits that one instant concerns: all of them count, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
    /// How far the sources of a stream have come with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    /// Files of a stream that have ended since the line before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileRecord>,
}

/// Where a stream of clips goes on: see [`super::sound::stream`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Place {
    /// The lane whose turn it is.
    pub turn: usize,
    /// Of each lane, its file (a number in its own count) and how many clips of it are stored.
    pub lanes: Vec<(usize, usize)>,
}

/// What one line adds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    pub split: String,
    pub shard: Option<ShardRecord>,
    pub skipped: Vec<SkippedRow>,
    pub next: usize,
    pub done: bool,
}

/// An open journal; it is locked, so two programs cannot write one data set.
pub struct Journal {
    path: PathBuf,
    file: File,
    splits: BTreeMap<String, Progress>,
    place: Place,
    files: Vec<FileRecord>,
}

impl Journal {
    /// Opens the journal in `folder`, or begins one. Shards it names that are not whole are forgotten, and so is
    /// everything after them.
    ///
    /// # Errors
    /// If it was begun with other options, or another program has it open.
    pub fn open(folder: &Path, options: &Value) -> Result<Journal> {
        let path = folder.join(JOURNAL);
        // As it will be read back: a fraction can lose its last bit on the way through text.
        let as_read = serde_json::from_str::<Value>(&options.to_string()).unwrap_or_else(|_| options.clone());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .at("write", &path)?;
        if file.try_lock().is_err() {
            return Err(Error::failed(format!(
                "{}: another `evoke prepare` is writing here",
                folder.display()
            )));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).at("read", &path)?;

        let mut journal =
            Journal { path, file, splits: BTreeMap::new(), place: Place::default(), files: Vec::new() };
        let mut kept = 0;
        // A kill can tear the last line; it ends without a line feed then.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Ok(read) = serde_json::from_str::<Line>(line) else { break };
            if let Some(begun) = &read.options
                && *begun != as_read
            {
                return Err(other_options(folder, begun, &as_read));
            }
            if read.options.is_none() && read.steps.is_empty() {
                break;
            }
            let mut shards = read.steps.iter().filter_map(|step| step.shard.as_ref());
            if shards.any(|record| !verify::shard(folder, record).is_empty()) {
                break;
            }
            journal.add(read);
            kept += line.len();
        }
        journal.file.set_len(kept as u64).at("write", &journal.path)?;
        journal.file.seek(SeekFrom::End(0)).at("write", &journal.path)?;
        if kept == 0 {
            journal.write(&Line { options: Some(options.clone()), ..Line::default() })?;
            files::sync_folder(folder)?;
        }
        Ok(journal)
    }

    /// How far a split has come.
    pub fn progress(&self, split: &str) -> Progress {
        self.splits.get(split).cloned().unwrap_or_default()
    }

    /// Where the stream goes on.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Files of the stream that have ended, in the order of their end.
    pub fn files(&self) -> &[FileRecord] {
        &self.files
    }

    /// Notes, durably, that a shard is finished or a split is done.
    pub fn note(&mut self, step: Step) -> Result<()> {
        self.commit(Line { steps: vec![step], ..Line::default() })
    }

    /// Notes, durably and all at once, what a stream has stored, where it goes on, and which files have ended.
    pub fn note_stream(&mut self, steps: Vec<Step>, place: Place, files: Vec<FileRecord>) -> Result<()> {
        self.commit(Line { steps, place: Some(place), files, ..Line::default() })
    }

    fn commit(&mut self, line: Line) -> Result<()> {
        self.write(&line)?;
        self.add(line);
        Ok(())
    }

    fn add(&mut self, line: Line) {
        for step in line.steps {
            let progress = self.splits.entry(step.split).or_default();
            progress.shards.extend(step.shard);
            progress.skipped.extend(step.skipped);
            progress.next = step.next;
            progress.done = step.done;
        }
        self.place = line.place.unwrap_or(std::mem::take(&mut self.place));
        self.files.extend(line.files);
    }

    /// The work is done: removes the journal.
    pub fn remove(self) -> Result<()> {
        files::remove(&self.path)?;
        files::sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)
            .map_err(|error| Error::failed(format!("{}: cannot be written: {error}", self.path.display())))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).at("write", &self.path)
    }
}

/// Names the options that differ, so that the user sees which word of the command changed.
fn other_options(folder: &Path, begun: &Value, now: &Value) -> Error {
    let mut differences = Vec::new();
    differ("", begun, now, &mut differences);
    Error::failed(format!(
        "{}: holds an unfinished data set that was begun with other options ({}); use the same ones to finish it, \
         --overwrite to begin again, or another folder",
        folder.display(),
        differences.join(", ")
    ))
}

fn differ(name: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let value =
                    |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differ(&inner, &value(left), &value(right), found);
            }
        }
        _ if a != b => found.push(format!("{name} was {a}, now {b}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(split: &str, next: usize, done: bool) -> Step {
        let skipped = vec![SkippedRow { picture: format!("{next}"), reason: "broken".into() }];
        Step { split: split.into(), shard: None, skipped, next, done }
    }

    #[test]
    fn a_journal_cut_anywhere_continues_from_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let (path, options) = (folder.path().join(JOURNAL), json!({"size": 4}));
        let mut journal = Journal::open(folder.path(), &options).unwrap();
        journal.note(step("train", 5, false)).unwrap();
        journal.note(step("train", 9, true)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (1..=whole.len()).filter(|&n| whole[n - 1] == b'\n').collect();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let progress = Journal::open(folder.path(), &options).unwrap().progress("train");
            let lines = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(
                (progress.next, progress.done),
                [(0, false), (0, false), (5, false), (9, true)][lines]
            );
            assert_eq!(progress.skipped.len(), lines.saturating_sub(1));
            // What was torn is gone from the file, so the next line does not continue it.
            let kept = std::fs::read(&path).unwrap();
            assert!(whole.starts_with(&kept) && kept.ends_with(b"\n"));
        }
    }

    #[test]
    fn fractions_are_the_same_options_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for share in (1..100).map(|n| 1.0 / f64::from(n)) {
            std::fs::remove_file(folder.path().join(JOURNAL)).ok();
            let options = json!({"val_share": share});
            drop(Journal::open(folder.path(), &options).unwrap());
            assert!(Journal::open(folder.path(), &options).is_ok(), "{share}");
        }
    }

    #[test]
    fn other_options_are_named() {
        let folder = tempfile::tempdir().unwrap();
        drop(Journal::open(folder.path(), &json!({"size": 4, "fit": {"mode": "crop"}})).unwrap());
        let error = Journal::open(folder.path(), &json!({"size": 4, "fit": {"mode": "pad"}})).err().unwrap();
        assert!(error.to_string().contains(r#"fit.mode was "crop", now "pad""#), "{error}");
    }

    #[test]
    fn two_programs_do_not_write_one_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let _held = Journal::open(folder.path(), &json!({})).unwrap();
        let error = Journal::open(folder.path(), &json!({})).err().unwrap();
        assert!(error.to_string().contains("another"), "{error}");
    }
}
