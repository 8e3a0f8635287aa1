//! A shard: a valid safetensors file used as columns, read through the memory map.
//!
//! - a **fixed** column `x` is one tensor `[rows, ...]`;
//! - a **ragged** column `x` is its values in one tensor, and `x.offsets` u64 `[rows + 1]`;
//! - a **group** `x` is `x.offsets` alone: row `i` owns the rows `offsets[i]..offsets[i + 1]` of the ragged columns
//!   that are `of` the group (a picture's captions).
//!
//! The columns stand in the metadata as JSON. `sample_hash` u64 `[rows]` is xxh3 over a row of all other columns.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::error::At;
use crate::{Error, Result};

/// The data region of a shard starts at a multiple of this, so that columns can be mapped by pages.
pub const PAGE: usize = 4096;
/// What the metadata's `format` says.
pub const FORMAT: &str = "evoke-shard-1";
/// The column of row hashes; every shard has it and no schema lists it.
pub const SAMPLE_HASH: &str = "sample_hash";

/// How a column's rows lie in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Fixed,
    Ragged,
    Group,
}

/// The type of a column's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    U8,
    U16,
    U32,
    F32,
    U64,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::U16 => 2,
            Element::U32 | Element::F32 => 4,
            Element::U64 => 8,
        }
    }

    pub(super) fn dtype(self) -> Dtype {
        match self {
            Element::U8 => Dtype::U8,
            Element::U16 => Dtype::U16,
            Element::U32 => Dtype::U32,
            Element::F32 => Dtype::F32,
            Element::U64 => Dtype::U64,
        }
    }
}

/// One column of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub element: Element,
    /// The shape of one row of a fixed column; of a ragged one the shape of one item, empty for single numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row: Vec<usize>,
    /// The group whose rows these are; `None`: the shard's own rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl Column {
    /// A column whose rows all have the shape `row`.
    pub fn fixed(name: &str, element: Element, row: &[usize]) -> Column {
        Column { name: name.into(), kind: Kind::Fixed, element, row: row.to_vec(), of: None }
    }

    /// A column whose rows differ in length.
    pub fn ragged(name: &str, element: Element) -> Column {
        Column { name: name.into(), kind: Kind::Ragged, element, row: Vec::new(), of: None }
    }

    /// Rows that own rows of other columns.
    pub fn group(name: &str) -> Column {
        Column { name: name.into(), kind: Kind::Group, element: Element::U64, row: Vec::new(), of: None }
    }

    /// This column's rows belong to the group `name`.
    pub fn of(mut self, name: &str) -> Column {
        self.of = Some(name.into());
        self
    }

    /// The items of this ragged column have the shape `row`.
    pub fn with_row(mut self, row: &[usize]) -> Column {
        self.row = row.to_vec();
        self
    }

    /// Bytes of one row of a fixed column, or of one item of a ragged one.
    pub fn row_bytes(&self) -> usize {
        self.row.iter().product::<usize>() * self.element.size()
    }

    /// The tensor that holds this column's offsets.
    pub fn offsets_name(&self) -> String {
        format!("{}.offsets", self.name)
    }
}

/// The columns of pictures with captions. `pixels` u8 `[rows, height, width, 3]`, rows from the top, RGB.
pub fn picture_schema(height: usize, width: usize) -> Vec<Column> {
    vec![
        Column::fixed("pixels", Element::U8, &[height, width, 3]),
        Column::ragged("sample_key", Element::U8),
        Column::group("captions"),
        Column::ragged("caption_text", Element::U8).of("captions"),
        Column::ragged("caption_tokens", Element::U32).of("captions"),
    ]
}

/// Where a column lies in the mapped file.
#[derive(Debug, Clone)]
struct Place {
    column: Column,
    values: Range<usize>,
    offsets: Range<usize>,
    rows: usize,
}

/// An open shard. Every length, offset and shape has been checked, so no read can leave the map.
///
/// The map is shared with the file: a file that is cut short while it is open is beyond any check made here.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    rows: usize,
    header_bytes: usize,
    places: Vec<Place>,
    sample_hash: Range<usize>,
    metadata: BTreeMap<String, String>,
}

impl Shard {
    /// Maps the file and checks its structure; the values themselves are checked by [`super::verify`].
    ///
    /// # Errors
    /// If the file is missing, truncated, no safetensors file, or its columns do not fit together.
    pub fn open(path: &Path) -> Result<Shard> {
        let map = map(path)?;
        let wrong = |what: String| {
            Error::failed(format!(
                "{}: is not a whole shard: {what}; run `evoke verify`, then make it again with `evoke prepare`",
                path.display()
            ))
        };
        let (header, _) = SafeTensors::read_metadata(&map).map_err(|error| wrong(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&map).map_err(|error| wrong(error.to_string()))?;
        let header_bytes = header + 8;
        if header_bytes % PAGE != 0 {
            return Err(wrong(format!("its data starts at byte {header_bytes}, not on a page")));
        }
        let metadata = metadata(&map[8..header_bytes]).map_err(|error| wrong(error.to_string()))?;
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(wrong(format!("its format is {:?}, not {FORMAT}", metadata.get("format"))));
        }
        let schema: Vec<Column> = serde_json::from_str(metadata.get("columns").map_or("", String::as_str))
            .map_err(|error| wrong(format!("its list of columns is damaged: {error}")))?;

        let start = map.as_ptr() as usize;
        let tensor = |name: &str, element: Element| -> Result<(Range<usize>, Vec<usize>)> {
            let view = tensors.tensor(name).map_err(|_| wrong(format!("it has no tensor {name}")))?;
            if view.dtype() != element.dtype() {
                return Err(wrong(format!("{name} is {:?}, not {element:?}", view.dtype())));
            }
            let begin = view.data().as_ptr() as usize - start;
            if !begin.is_multiple_of(element.size()) {
                return Err(wrong(format!("{name} is not aligned")));
            }
            Ok((begin..begin + view.data().len(), view.shape().to_vec()))
        };
        let (sample_hash, shape) = tensor(SAMPLE_HASH, Element::U64)?;
        let [rows] = shape[..] else { return Err(wrong(format!("{SAMPLE_HASH} has the shape {shape:?}"))) };

        let mut places: Vec<Place> = Vec::with_capacity(schema.len());
        for column in schema {
            let name = column.name.clone();
            let rows = match &column.of {
                None => rows,
                // A group stands before its members, so its own rows are known and checked.
                Some(group) => places
                    .iter()
                    .find(|place| place.column.kind == Kind::Group && place.column.name == *group)
                    .map(|place| last(&map, &place.offsets))
                    .ok_or_else(|| wrong(format!("{name} belongs to {group}, which is not there")))?,
            };
            let (mut values, mut offsets) = (0..0, 0..0);
            if column.kind != Kind::Group {
                let (range, shape) = tensor(&name, column.element)?;
                let expected: Vec<usize> = std::iter::once(rows).chain(column.row.iter().copied()).collect();
                if column.kind == Kind::Fixed && shape != expected {
                    return Err(wrong(format!("{name} has the shape {shape:?}, not {expected:?}")));
                }
                values = range;
            }
            if column.kind != Kind::Fixed {
                let offsets_name = column.offsets_name();
                let (range, shape) = tensor(&offsets_name, Element::U64)?;
                if Some(range.len() / 8) != rows.checked_add(1) || shape.len() != 1 {
                    return Err(wrong(format!("{offsets_name} has the shape {shape:?} for {rows} rows")));
                }
                offsets = range;
                let steps: &[u64] = bytemuck::cast_slice(&map[offsets.clone()]);
                if steps[0] != 0 || steps.windows(2).any(|pair| pair[0] > pair[1]) {
                    return Err(wrong(format!("{offsets_name} does not rise from 0")));
                }
                // Offsets count items.
                if column.kind == Kind::Ragged
                    && steps[rows].checked_mul(column.row_bytes() as u64) != Some(values.len() as u64)
                {
                    return Err(wrong(format!(
                        "{offsets_name} ends at {}, not at the end of {name}",
                        steps[rows]
                    )));
                }
            }
            places.push(Place { column, values, offsets, rows });
        }
        Ok(Shard { path: path.into(), rows, header_bytes, places, sample_hash, metadata, map })
    }

    /// How many samples the shard holds.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many rows column `column` has: those of its group where it belongs to one.
    pub fn column_rows(&self, column: usize) -> usize {
        self.places[column].rows
    }

    /// The file it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata of the safetensors header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The columns, in the order of the schema.
    pub fn schema(&self) -> impl Iterator<Item = &Column> {
        self.places.iter().map(|place| &place.column)
    }

    /// The file's first bytes: the length, the header and its padding.
    pub fn header(&self) -> &[u8] {
        &self.map[..self.header_bytes]
    }

    /// The bytes of row `row` of the fixed or ragged column `column` (its place in the schema).
    ///
    /// # Panics
    /// If there is no such column or row.
    pub fn bytes(&self, column: usize, row: usize) -> &[u8] {
        let place = &self.places[column];
        assert!(row < place.rows, "row {row} of {} in {}", place.rows, place.column.name);
        let (from, to) = match place.column.kind {
            Kind::Fixed => {
                let bytes = place.column.row_bytes();
                (row * bytes, (row + 1) * bytes)
            }
            Kind::Ragged => {
                let size = place.column.row_bytes();
                let range = self.range(column, row);
                (range.start * size, range.end * size)
            }
            Kind::Group => (0, 0),
        };
        &self.map[place.values.clone()][from..to]
    }

    /// A row of a `u32` column.
    pub fn words(&self, column: usize, row: usize) -> &[u32] {
        bytemuck::cast_slice(self.bytes(column, row))
    }

    /// All values of a ragged column, one row after the other.
    pub fn values(&self, column: usize) -> &[u8] {
        &self.map[self.places[column].values.clone()]
    }

    /// The items of a ragged column (the rows of a group) that belong to row `row`.
    pub fn range(&self, column: usize, row: usize) -> Range<usize> {
        let place = &self.places[column];
        let steps: &[u64] = bytemuck::cast_slice(&self.map[place.offsets.clone()]);
        steps[row] as usize..steps[row + 1] as usize
    }

    /// What `sample_hash` says of a row.
    pub fn sample_hash(&self, row: usize) -> u64 {
        let hashes: &[u64] = bytemuck::cast_slice(&self.map[self.sample_hash.clone()]);
        hashes[row]
    }

    /// The hash of a row of all columns as they lie in the file; equal to `sample_hash` unless a byte changed.
    pub fn row_hash(&self, row: usize) -> u64 {
        let mut hash = RowHash::default();
        for (index, place) in self.places.iter().enumerate().filter(|(_, place)| place.column.of.is_none()) {
            if place.column.kind != Kind::Group {
                hash.value(self.bytes(index, row));
                continue;
            }
            let owned = self.range(index, row);
            hash.count(owned.len());
            for inner in owned {
                for (member, other) in self.places.iter().enumerate() {
                    if other.column.of.as_deref() == Some(&place.column.name) {
                        hash.value(self.bytes(member, inner));
                    }
                }
            }
        }
        hash.finish()
    }
}

/// A row's hash: every value with its length before it, a group's count before its rows.
#[derive(Default)]
pub(super) struct RowHash(Xxh3);

impl RowHash {
    pub fn value(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    pub fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    pub fn finish(self) -> u64 {
        self.0.digest()
    }
}

fn last(map: &Mmap, offsets: &Range<usize>) -> usize {
    let steps: &[u64] = bytemuck::cast_slice(&map[offsets.clone()]);
    steps.last().map_or(0, |&end| end as usize)
}

/// The `__metadata__` of a safetensors header.
fn metadata(header: &[u8]) -> serde_json::Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: BTreeMap<String, String>,
    }
    serde_json::from_slice::<Header>(header).map(|header| header.metadata)
}

/// Maps a file for reading.
pub(super) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).at("read", path)?;
    let kind = file.metadata().at("read", path)?;
    if !kind.is_file() || kind.len() == 0 {
        let what = if kind.is_file() { "an empty file" } else { "not a file" };
        return Err(Error::failed(format!("{}: is {what}, not a shard; make it again", path.display())));
    }
    // SAFETY: the map is read-only and private to this process, and every range read from it is checked against
    // its length when the shard is opened. Shards are never written in place (they are renamed into their names),
    // so this program does not change or shorten a file that it has mapped.
    unsafe { Mmap::map(&file) }.at("map", path)
}
