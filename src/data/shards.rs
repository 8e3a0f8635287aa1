//! The shards of one split, as rows in one sequence.

use std::path::{Path, PathBuf};

use super::hash_hex;
use super::index::{INDEX, ShardRecord};
use super::shard::Shard;
use crate::{Error, Result};

/// Open shards in their order.
#[derive(Debug, Default)]
pub struct Shards {
    shards: Vec<Shard>,
    /// The first row of each shard.
    starts: Vec<usize>,
    len: usize,
}

impl Shards {
    /// Opens the shards that an index names and compares each with its record; `check` says what else is wrong.
    ///
    /// # Errors
    /// If a file was cut or exchanged, or `check` finds something.
    pub fn open(
        folder: &Path,
        records: &[ShardRecord],
        check: impl Fn(&Shard) -> std::result::Result<(), String>,
    ) -> Result<Shards> {
        let mut all = Shards::default();
        for record in records {
            all.starts.push(all.len);
            all.len += record.samples;
            all.shards.push(open(&folder.join(&record.file), record, &check)?);
        }
        Ok(all)
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The shard of row `row`, and the row's number there.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn place(&self, row: usize) -> (&Shard, usize) {
        assert!(row < self.len, "sample {row} of a split of {}", self.len);
        let shard = self.starts.partition_point(|&start| start <= row) - 1;
        (&self.shards[shard], row - self.starts[shard])
    }
}

/// The splits of a data set, by name.
#[derive(Debug)]
pub struct Splits<T>(pub Vec<(String, T)>);

impl<T: Clone> Splits<T> {
    /// Their names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The one of this name, of the data set in `folder`.
    ///
    /// # Errors
    /// If there is none of that name; the error lists those that are there.
    pub fn get(&self, name: &str, folder: &Path) -> Result<T> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, split)| split.clone()).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            Error::failed(format!(
                "{}: has no split {name:?}, only {}; choose one of them, or prepare the data with one",
                folder.display(),
                known.join(", ")
            ))
        })
    }
}

fn open(
    path: &PathBuf,
    record: &ShardRecord,
    check: &impl Fn(&Shard) -> std::result::Result<(), String>,
) -> Result<Shard> {
    let wrong = |what: String| {
        Error::failed(format!("{}: {what}; run `evoke verify`, then make the data set again", path.display()))
    };
    let length = std::fs::metadata(path).map(|file| file.len() as usize);
    if let Ok(length) = length
        && length != record.bytes
    {
        return Err(wrong(format!(
            "has {length} bytes, and {INDEX} says {}: it was cut or exchanged",
            record.bytes
        )));
    }
    let shard = Shard::open(path)?;
    if hash_hex(shard.header()) != record.header.hash {
        return Err(wrong(format!("its header does not have the hash that {INDEX} names")));
    }
    if shard.rows() != record.samples {
        return Err(wrong(format!("has {} rows, and {INDEX} says {}", shard.rows(), record.samples)));
    }
    check(&shard).map_err(wrong)?;
    Ok(shard)
}

/// Text that was checked when its shard was opened.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

/// Refuses a column whose rows are not all text.
pub fn check_text(shard: &Shard, column: usize) -> std::result::Result<(), String> {
    match (0..shard.column_rows(column)).all(|row| std::str::from_utf8(shard.bytes(column, row)).is_ok()) {
        true => Ok(()),
        false => {
            let name = shard.schema().nth(column).map_or("a column", |column| column.name.as_str());
            Err(format!("{name} is not UTF-8"))
        }
    }
}
