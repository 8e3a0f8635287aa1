//! Writes one shard: the first column goes straight to the file, the others wait in memory for their place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use super::index::{Part, ShardRecord};
use super::shard::{Column, Element, Kind, PAGE, RowHash, SAMPLE_HASH};
use super::{files, hash_hex};
use crate::error::At;
use crate::{Error, Result};

/// Numbers of a tensor's header entry that grow with the rows: its shape and both ends.
const NUMBERS: usize = 3;
/// Decimal digits of the largest of them.
const DIGITS: usize = 20;

/// What a shard holds: its columns, the first of them fixed, and its metadata.
#[derive(Debug, Clone)]
pub struct Layout {
    pub schema: Vec<Column>,
    pub metadata: BTreeMap<String, String>,
}

impl Layout {
    /// A schema with the entries of its metadata.
    pub fn new<'a>(schema: Vec<Column>, metadata: impl IntoIterator<Item = (&'a str, String)>) -> Layout {
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Layout { schema, metadata }
    }
}

/// One row of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a fixed or ragged column.
    Bytes(Vec<u8>),
    /// Of a group: its rows, each with a value for every column of the group.
    Group(Vec<Vec<Vec<u8>>>),
}

/// The hash of a row, as `sample_hash` holds it.
pub fn row_hash(row: &[Value]) -> u64 {
    let mut hash = RowHash::default();
    for value in row {
        match value {
            Value::Bytes(bytes) => hash.value(bytes),
            Value::Group(members) => {
                hash.count(members.len());
                members.iter().flatten().for_each(|bytes| hash.value(bytes));
            }
        }
    }
    hash.finish()
}

/// A column that waits in memory.
struct Buffer {
    values: Vec<u8>,
    /// Where each row begins, in items (for a group: in rows), and the end.
    offsets: Vec<u64>,
}

/// A shard in the making; it has its name only when it is whole.
pub struct ShardWriter {
    path: PathBuf,
    file: BufWriter<File>,
    layout: Layout,
    header_bytes: usize,
    streamed: Xxh3,
    buffers: Vec<Buffer>,
    hashes: Vec<u64>,
}

impl ShardWriter {
    /// Begins the shard `path`, aside.
    pub fn create(path: &Path, layout: Layout) -> Result<ShardWriter> {
        if layout.schema.first().is_none_or(|column| column.kind != Kind::Fixed) {
            return Err(Error::failed(
                "a shard's first column must be a fixed one: it is written as it comes",
            ));
        }
        let aside = files::partial(path);
        let buffers: Vec<Buffer> =
            layout.schema.iter().map(|_| Buffer { values: Vec::new(), offsets: vec![0] }).collect();
        let mut writer = ShardWriter {
            path: path.into(),
            file: BufWriter::with_capacity(1 << 20, File::create(&aside).at("create", &aside)?),
            layout,
            header_bytes: 0,
            streamed: Xxh3::new(),
            buffers,
            hashes: Vec::new(),
        };
        // The header is written last, into room kept for the longest that it can become.
        let tensors = writer.tensors(1);
        let growth = (tensors.len() + 1) * NUMBERS * DIGITS;
        writer.header_bytes = (8 + writer.header(&tensors).len() + growth).next_multiple_of(PAGE);
        writer.write(&vec![b' '; writer.header_bytes])?;
        Ok(writer)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.hashes.len()
    }

    /// Adds a row: one value for each column that is not a member of a group, in the order of the schema.
    ///
    /// # Errors
    /// If the file cannot be written, or the row does not fit the schema.
    pub fn push(&mut self, row: Vec<Value>, hash: u64) -> Result<()> {
        let columns: Vec<usize> =
            (0..self.layout.schema.len()).filter(|&c| self.layout.schema[c].of.is_none()).collect();
        if columns.len() != row.len() {
            return Err(Error::failed(format!(
                "a row of {} values for {} columns",
                row.len(),
                columns.len()
            )));
        }
        for (index, value) in columns.into_iter().zip(row) {
            match value {
                Value::Bytes(bytes) if index == 0 => {
                    if bytes.len() != self.layout.schema[0].row_bytes() {
                        return Err(Error::failed(format!(
                            "a row of {} bytes in a fixed column",
                            bytes.len()
                        )));
                    }
                    self.streamed.update(&bytes);
                    self.write(&bytes)?;
                }
                Value::Bytes(bytes) => self.keep(index, &bytes),
                Value::Group(members) => {
                    let end =
                        self.buffers[index].offsets.last().map_or(0, |&last| last) + members.len() as u64;
                    self.buffers[index].offsets.push(end);
                    let name = &self.layout.schema[index].name;
                    let inner: Vec<usize> = (0..self.layout.schema.len())
                        .filter(|&c| self.layout.schema[c].of.as_ref() == Some(name))
                        .collect();
                    for member in members {
                        inner.iter().zip(member).for_each(|(&column, bytes)| self.keep(column, &bytes));
                    }
                }
            }
        }
        self.hashes.push(hash);
        Ok(())
    }

    /// Completes the shard and gives it its name.
    pub fn finish(mut self) -> Result<ShardRecord> {
        let rows = self.rows();
        let tensors = self.tensors(rows);
        let mut columns = BTreeMap::new();
        let mut position = self.header_bytes;
        for tensor in &tensors {
            let bytes: Vec<u8>;
            let hash = match &tensor.source {
                Origin::Streamed => format!("{:016x}", self.streamed.digest()),
                Origin::Zeros => {
                    bytes = vec![0; tensor.bytes];
                    self.write(&bytes)?;
                    hash_hex(&bytes)
                }
                Origin::Hashes => {
                    bytes = self.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
                    self.write(&bytes)?;
                    hash_hex(&bytes)
                }
                Origin::Offsets(column) => {
                    bytes = self.buffers[*column].offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
                    self.write(&bytes)?;
                    hash_hex(&bytes)
                }
                Origin::Values(column) => {
                    bytes = std::mem::take(&mut self.buffers[*column].values);
                    self.write(&bytes)?;
                    hash_hex(&bytes)
                }
            };
            columns.insert(tensor.name.clone(), Part { begin: position, bytes: tensor.bytes, hash });
            position += tensor.bytes;
        }
        let mut header = ((self.header_bytes - 8) as u64).to_le_bytes().to_vec();
        header.extend(self.header(&tensors).into_bytes());
        header.resize(self.header_bytes, b' ');

        let aside = files::partial(&self.path);
        self.file.seek(SeekFrom::Start(0)).at("write", &aside)?;
        self.write(&header)?;
        self.file.flush().at("write", &aside)?;
        files::publish(self.file.get_ref(), &self.path)?;
        let captions = self.layout.schema.iter().position(|column| column.kind == Kind::Group);
        Ok(ShardRecord {
            file: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: position,
            samples: rows,
            captions: captions.map_or(0, |c| self.buffers[c].offsets.last().map_or(0, |&end| end as usize)),
            header: Part { begin: 0, bytes: self.header_bytes, hash: hash_hex(&header) },
            columns,
        })
    }

    fn keep(&mut self, column: usize, bytes: &[u8]) {
        let size = self.layout.schema[column].row_bytes();
        let buffer = &mut self.buffers[column];
        buffer.values.extend_from_slice(bytes);
        buffer.offsets.push((buffer.values.len() / size) as u64);
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write", files::partial(&self.path))
    }

    /// Every tensor in the order it has in the file: the streamed one, then those of eight bytes, four, two and one, so
    /// that each is aligned.
    fn tensors(&self, rows: usize) -> Vec<Tensor> {
        let schema = &self.layout.schema;
        let shape = std::iter::once(rows).chain(schema[0].row.iter().copied()).collect();
        let streamed = rows.saturating_mul(schema[0].row_bytes());
        let mut tensors =
            vec![Tensor::new(&schema[0].name, schema[0].element, shape, streamed, Origin::Streamed)];
        // Only pictures of odd sizes need it: the formats' readers take no holes between tensors.
        let padding = streamed.next_multiple_of(8) - streamed;
        if padding > 0 {
            tensors.push(Tensor::new("padding", Element::U8, vec![padding], padding, Origin::Zeros));
        }
        tensors.push(Tensor::new(
            SAMPLE_HASH,
            Element::U64,
            vec![rows],
            rows.saturating_mul(8),
            Origin::Hashes,
        ));
        for (index, column) in schema.iter().enumerate().skip(1).filter(|(_, c)| c.kind != Kind::Fixed) {
            let offsets = self.buffers[index].offsets.len();
            let source = Origin::Offsets(index);
            tensors.push(Tensor::new(
                &column.offsets_name(),
                Element::U64,
                vec![offsets],
                offsets * 8,
                source,
            ));
        }
        for element in [Element::U64, Element::U32, Element::F32, Element::U16, Element::U8] {
            let of_size = |c: &Column| c.element == element && c.kind != Kind::Group;
            for (index, column) in schema.iter().enumerate().skip(1).filter(|(_, c)| of_size(c)) {
                let bytes = self.buffers[index].values.len();
                // Rows of a fixed column, items of a ragged one; both have the shape that the schema names.
                let count = bytes / column.row_bytes();
                let shape = std::iter::once(count).chain(column.row.iter().copied()).collect();
                tensors.push(Tensor::new(&column.name, element, shape, bytes, Origin::Values(index)));
            }
        }
        tensors
    }

    fn header(&self, tensors: &[Tensor]) -> String {
        let mut position = 0usize;
        let mut entries = vec![format!("\"__metadata__\":{}", json!(self.layout.metadata))];
        for tensor in tensors {
            let end = position.saturating_add(tensor.bytes);
            let dtype = format!("{:?}", tensor.element);
            let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [position, end]});
            entries.push(format!("{}:{entry}", json!(tensor.name)));
            position = end;
        }
        format!("{{{}}}", entries.join(","))
    }
}

struct Tensor {
    name: String,
    element: Element,
    shape: Vec<usize>,
    bytes: usize,
    source: Origin,
}

enum Origin {
    Streamed,
    Zeros,
    Hashes,
    Offsets(usize),
    Values(usize),
}

impl Tensor {
    fn new(name: &str, element: Element, shape: Vec<usize>, bytes: usize, source: Origin) -> Tensor {
        Tensor { name: name.into(), element, shape, bytes, source }
    }
}
