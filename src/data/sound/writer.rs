//! Writes a sound set: clips from any source, through the store.

use std::path::Path;

use serde_json::{Value, json};

use super::format::{ClipRow, Format};
use super::record::median;
use crate::Result;
use crate::data::index::{Index, SoundFormat};
use crate::data::picture::Skipped;
use crate::data::shard::FORMAT;
use crate::data::shard_writer::{Layout, Value as Cell};
use crate::data::store::{Report, Rows, Store, Table, Tick};

/// Where a split's clips come from. `row(i)` gives the same for the same `i`, on any thread.
pub trait SoundSource: Sync {
    /// How many clips there are, those included that will be skipped.
    fn len(&self) -> usize;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of clip `i` for reports.
    fn name(&self, i: usize) -> String;

    /// Makes clip `i`, or says why it cannot be made.
    fn row(&self, i: usize) -> Result<ClipRow, Skipped>;
}

/// What decides a set's bytes beside its clips.
#[derive(Debug, Clone)]
pub struct SoundPlan {
    /// `video`, `audio`, `scenes`: what the index calls it.
    pub source: String,
    /// What else the clips depend on. An unfinished set continues only if this is the same.
    pub identity: Value,
    pub format: Format,
    /// The most bytes of frames and samples in a shard; [`crate::data::writer::SHARD_BYTES`] unless told otherwise.
    pub shard_bytes: usize,
}

/// A sound set in the making.
pub struct SoundWriter {
    store: Store,
    plan: SoundPlan,
}

impl SoundWriter {
    /// Begins a set in `out`, or continues one that was stopped.
    ///
    /// # Errors
    /// See [`crate::data::writer::check_free`]; also if an unfinished data set there was begun with other options, or
    /// the format is none.
    pub fn create(out: &Path, plan: SoundPlan, overwrite: bool) -> Result<SoundWriter> {
        plan.format.check()?;
        let options = json!({
            "source": plan.source, "from": plan.identity, "sound": plan.format, "shard_bytes": plan.shard_bytes,
        });
        let schema = plan.format.schema();
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("sound", json!(plan.format).to_string()),
            ("columns", json!(schema).to_string()),
        ];
        let row = plan.format.frame_bytes() + plan.format.sample_bytes();
        let table = Table {
            layout: Layout::new(schema, metadata),
            rows_per_shard: (plan.shard_bytes / row).max(1),
            what: "clip",
        };
        Ok(SoundWriter { store: Store::create(out, table, &options, overwrite)?, plan })
    }

    /// Clips of `split` that an earlier start has finished.
    pub fn finished(&self, split: &str) -> usize {
        self.store.finished(split)
    }

    /// Writes a split, from where an earlier start stopped. `progress` is called after every window of clips.
    ///
    /// # Errors
    /// If a file cannot be written; finished shards are kept, and the same call continues after them.
    pub fn split(&mut self, split: &str, source: &dyn SoundSource, progress: &dyn Fn(Tick)) -> Result<()> {
        let rows = Clips { source, format: &self.plan.format };
        self.store.split(split, &rows, progress)
    }

    /// As [`SoundWriter::finish`], with the median loudness of all clips of a stream.
    ///
    /// # Errors
    /// As there.
    pub fn finish_stream(self) -> Result<(Report, Option<f64>)> {
        let levels: Vec<f32> =
            self.store.journal().files().iter().flat_map(|file| file.levels.iter().copied()).collect();
        Ok((self.finish()?, median(&levels)))
    }

    /// What a stream needs.
    pub(super) fn parts(&mut self) -> (&mut Store, &Format) {
        (&mut self.store, &self.plan.format)
    }

    /// Writes the report and, last, the index; then the set is complete.
    ///
    /// # Errors
    /// If no clip at all could be used, or a file cannot be written.
    pub fn finish(self) -> Result<Report> {
        let contents = SoundFormat { sound: self.plan.format };
        self.store.finish(Index::new(&self.plan.source, contents))
    }
}

/// A source's clips as the columns of [`Format::schema`].
struct Clips<'a> {
    source: &'a dyn SoundSource,
    format: &'a Format,
}

impl Rows for Clips<'_> {
    fn count(&self) -> usize {
        self.source.len()
    }

    fn name(&self, i: usize) -> String {
        self.source.name(i)
    }

    fn cells(&self, i: usize) -> Result<Vec<Cell>, Skipped> {
        cells(self.format, self.source.row(i)?)
    }
}

/// A clip as the columns of [`Format::schema`].
pub(super) fn cells(format: &Format, row: ClipRow) -> Result<Vec<Cell>, Skipped> {
    for (what, has, needs) in [
        ("frames", row.frames.len(), format.frame_bytes()),
        ("samples", row.samples.len(), format.sample_bytes()),
    ] {
        if has != needs {
            return Err(Skipped::new(format!("has {has} bytes of {what}, not {needs}")));
        }
    }
    let mut cells = Vec::with_capacity(4);
    if format.pictures() {
        cells.push(Cell::Bytes(row.frames));
    }
    cells.extend([
        Cell::Bytes(row.samples),
        Cell::Bytes(row.key.into_bytes()),
        Cell::Bytes(bytemuck::cast_slice(&row.strikes).to_vec()),
    ]);
    Ok(cells)
}
