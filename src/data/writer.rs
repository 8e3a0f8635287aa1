//! Writes a data set of pictures with captions: rows from any source, through the `store`.

use std::path::Path;

use serde_json::{Value, json};

use super::index::{Captioned, Index, TOKENIZER};
use super::picture::{Preprocessing, Skipped};
use super::shard::{Column, FORMAT, picture_schema};
use super::shard_writer::{Layout, Value as Cell};
use super::store::{Rows, Store, Table};
use super::vocabulary::Vocabulary;
use crate::Result;

pub use super::store::{REPORT, Report, SHARD_BYTES, SplitReport, Tick, check_free};

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

/// A data set in the making.
pub struct Writer {
    store: Store,
    plan: Plan,
    vocabulary: Vocabulary,
    schema: Vec<Column>,
}

impl Writer {
    /// Begins a data set in `out`, or continues one that was stopped.
    ///
    /// # Errors
    /// See [`check_free`]; also if an unfinished data set there was begun with other options.
    pub fn create(out: &Path, plan: Plan, vocabulary: Vocabulary, overwrite: bool) -> Result<Writer> {
        let options = json!({
            "source": plan.source, "from": plan.identity, "preprocessing": plan.preprocessing,
            "tokenizer": vocabulary.hash(), "shard_bytes": plan.shard_bytes,
        });
        let schema = picture_schema(plan.preprocessing.height, plan.preprocessing.width);
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("tokenizer", vocabulary.hash()),
            ("preprocessing", json!(plan.preprocessing).to_string()),
            ("columns", json!(schema).to_string()),
        ];
        let table = Table {
            layout: Layout::new(schema.clone(), metadata),
            rows_per_shard: (plan.shard_bytes / plan.preprocessing.bytes().max(1)).max(1),
            what: "picture",
        };
        let store = Store::create(out, table, &options, overwrite)?;
        vocabulary.save(&out.join(TOKENIZER))?;
        Ok(Writer { store, plan, vocabulary, schema })
    }

    /// Rows of `split` that an earlier start has finished.
    pub fn finished(&self, split: &str) -> usize {
        self.store.finished(split)
    }

    /// Writes a split, from where an earlier start stopped. `progress` is called after every window of rows.
    ///
    /// # Errors
    /// If a file cannot be written; finished shards are kept, and the same call continues after them.
    pub fn split(&mut self, split: &str, source: &dyn Source, progress: &dyn Fn(Tick)) -> Result<()> {
        let rows = Captions { source, schema: &self.schema, vocabulary: &self.vocabulary };
        self.store.split(split, &rows, progress)
    }

    /// Writes the report and, last, the index; then the data set is complete.
    ///
    /// # Errors
    /// If no picture at all could be used, or a file cannot be written.
    pub fn finish(self) -> Result<Report> {
        let contents = Captioned::new(&self.plan.preprocessing, &self.vocabulary);
        self.store.finish(Index::new(&self.plan.source, contents))
    }
}

/// A source's rows as the columns of [`picture_schema`].
struct Captions<'a> {
    source: &'a dyn Source,
    schema: &'a [Column],
    vocabulary: &'a Vocabulary,
}

impl Rows for Captions<'_> {
    fn count(&self) -> usize {
        self.source.len()
    }

    fn name(&self, i: usize) -> String {
        self.source.name(i)
    }

    fn cells(&self, i: usize) -> Result<Vec<Cell>, Skipped> {
        let row = self.source.row(i)?;
        let bytes = self.schema[0].row_bytes();
        if row.pixels.len() != bytes {
            return Err(Skipped::new(format!("has {} bytes, not {bytes}", row.pixels.len())));
        }
        let captions: Vec<Vec<Vec<u8>>> = row
            .captions
            .iter()
            .map(|caption| caption.split_whitespace().collect::<Vec<_>>().join(" "))
            .map(|caption| (self.vocabulary.encode(&caption), caption))
            .filter(|(tokens, _)| !tokens.is_empty())
            .map(|(tokens, text)| {
                vec![text.into_bytes(), tokens.iter().flat_map(|t| t.to_le_bytes()).collect()]
            })
            .collect();
        if captions.is_empty() {
            return Err(Skipped::new("has no caption"));
        }
        Ok(vec![Cell::Bytes(row.pixels), Cell::Bytes(row.key.into_bytes()), Cell::Group(captions)])
    }
}
