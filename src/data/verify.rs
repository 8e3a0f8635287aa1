//! Checks every byte of a data set against the hashes in its index, and names what has changed.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::index::{self, Captioned, Contents, INDEX, Index, Part, ShardRecord, SoundFormat, TOKENIZER};
use super::shard::{self, Shard};
use super::sound::SoundSet;
use super::{Dataset, hash_hex};
use crate::Result;

/// The most rows a fault lists; a column that is wholly wrong needs no list.
const ROWS_LISTED: usize = 16;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    pub file: String,
    /// The tensor, or `header`; empty for the file as a whole.
    pub column: String,
    pub what: String,
    /// The rows whose hash does not match, where that can be told: at most 16.
    pub rows: Vec<usize>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.column.is_empty() {
            write!(f, "{}: ", self.column)?;
        }
        f.write_str(&self.what)?;
        if !self.rows.is_empty() {
            write!(f, " (rows {:?})", self.rows)?;
        }
        Ok(())
    }
}

/// What [`dataset`] found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub files: usize,
    pub bytes: usize,
    pub faults: Vec<Fault>,
}

/// Reads every byte of the data set in `folder`.
///
/// # Errors
/// Only if there is no complete data set at all; everything else is a fault of the report.
pub fn dataset(folder: &Path) -> Result<Report> {
    if index::format(folder).as_deref() == Some(SoundFormat::FORMAT) {
        let beside = |_: &Index<SoundFormat>| None;
        return check(folder, 0, beside, |folder| SoundSet::open(folder).map(drop));
    }
    let tokenizer = |index: &Index<Captioned>| match std::fs::read(folder.join(TOKENIZER)) {
        Ok(bytes) if hash_hex(&bytes) == index.contents.tokenizer.hash => None,
        Ok(_) => Some(fault(TOKENIZER, "", format!("its content does not match the hash in {INDEX}"))),
        Err(error) => Some(fault(TOKENIZER, "", format!("cannot read: {error}"))),
    };
    check(folder, 1, tokenizer, |folder| Dataset::open(folder).map(drop))
}

/// Reads every byte of a data set of one kind: the index, `files` beside it that `beside` looks at, and the shards.
fn check<C: Contents>(
    folder: &Path,
    files: usize,
    beside: impl Fn(&Index<C>) -> Option<Fault>,
    open: impl Fn(&Path) -> Result<()>,
) -> Result<Report> {
    let index = match Index::<C>::load(folder) {
        Ok(index) => index,
        // There is an index, but not the one that was written: a fault like any other.
        Err(error) if folder.join(INDEX).is_file() => {
            let fault = fault(INDEX, "", error.to_string());
            return Ok(Report { files: 1, bytes: 0, faults: vec![fault] });
        }
        Err(error) => return Err(error),
    };
    let shards: Vec<&ShardRecord> = index.splits.values().flat_map(|split| &split.shards).collect();
    let mut faults: Vec<Fault> = beside(&index).into_iter().collect();
    faults.extend(shards.iter().flat_map(|record| self::shard(folder, record)));
    if faults.is_empty() {
        // All bytes are as they were written; what remains is that they fit together.
        faults.extend(open(folder).err().map(|error| fault(INDEX, "", error.to_string())));
    }
    let bytes = shards.iter().map(|record| record.bytes).sum();
    Ok(Report { files: shards.len() + 1 + files, bytes, faults })
}

/// Compares one shard with its record.
pub fn shard(folder: &Path, record: &ShardRecord) -> Vec<Fault> {
    let path = folder.join(&record.file);
    let map = match shard::map(&path) {
        Ok(map) => map,
        Err(error) => return vec![fault(&record.file, "", error.to_string())],
    };
    let mut faults = Vec::new();
    if map.len() != record.bytes {
        let what = format!("has {} bytes, and {INDEX} says {}", map.len(), record.bytes);
        faults.push(fault(&record.file, "", what));
    }
    let parts = std::iter::once(("header", &record.header))
        .chain(record.columns.iter().map(|(name, part)| (name.as_str(), part)));
    let parts: Vec<(&str, &Part)> = parts.collect();
    let changed: Vec<&str> = parts
        .into_par_iter()
        .filter(|(_, part)| {
            let bytes = part.begin.checked_add(part.bytes).and_then(|end| map.get(part.begin..end));
            bytes.map(hash_hex).as_deref() != Some(&part.hash)
        })
        .map(|(name, _)| name)
        .collect();
    drop(map);
    let rows = if changed.is_empty() { Vec::new() } else { changed_rows(&path) };
    for column in changed {
        let what = format!("its bytes do not match the hash in {INDEX}");
        faults.push(Fault { rows: rows.clone(), ..fault(&record.file, column, what) });
    }
    faults
}

/// The first rows whose own hash does not match; none when the shard cannot be opened at all.
fn changed_rows(path: &Path) -> Vec<usize> {
    let Ok(shard) = Shard::open(path) else { return Vec::new() };
    let rows: BTreeSet<usize> = (0..shard.rows())
        .into_par_iter()
        .filter(|&row| shard.row_hash(row) != shard.sample_hash(row))
        .collect();
    rows.into_iter().take(ROWS_LISTED).collect()
}

fn fault(file: &str, column: &str, what: String) -> Fault {
    Fault { file: file.into(), column: column.into(), what, rows: Vec::new() }
}
