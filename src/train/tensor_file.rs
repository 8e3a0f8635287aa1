//! One safetensors file of a checkpoint: written straight from f32 slices, read back with every byte checked.
//!
//! The file is the plain format (8 bytes of header length, a JSON header, the data), so Python's `safetensors`
//! opens it. Its length and hashes are not in it but in `state.json`, which is written after it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::files::Files;
use crate::error::At;
use crate::{Error, Result};

// The format is little endian, and slices are written as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "checkpoints need a little-endian machine");

const LENGTH_BYTES: usize = 8;

/// A named array of f32, borrowed from wherever it lives: row-major, `data.len()` is the product of `shape`.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: &'a [f32],
}

/// What `state.json` knows of a tensor file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Length of the whole file.
    pub bytes: u64,
    /// Length of the header, its 8 length bytes included.
    pub header_bytes: u64,
    pub header_hash: String,
    /// xxh3-64 over the bytes of each tensor, as 16 hexadecimal digits.
    pub tensors: BTreeMap<String, String>,
}

/// A tensor's entry in the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// xxh3-64 as 16 hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Writes `tensors` to `path`, synced. The weights are not copied: each slice goes out in one write.
///
/// Errors: the write's own, or two tensors of one name, or a shape that does not fit its data.
pub fn write(files: &dyn Files, path: &Path, tensors: &[Tensor]) -> Result<FileRecord> {
    let header = header(path, tensors)?;
    let data_bytes: usize = tensors.iter().map(|tensor| size_of_val(tensor.data)).sum();
    let mut record = FileRecord {
        bytes: (header.len() + data_bytes) as u64,
        header_bytes: header.len() as u64,
        header_hash: hash(&header),
        tensors: BTreeMap::new(),
    };
    let mut file = files.create(path).at("create", path)?;
    files.write(&mut file, &header).at("write", path)?;
    for tensor in tensors {
        let bytes: &[u8] = bytemuck::cast_slice(tensor.data);
        record.tensors.insert(tensor.name.clone(), hash(bytes));
        files.write(&mut file, bytes).at("write", path)?;
    }
    files.sync(&file).at("sync", path)?;
    Ok(record)
}

fn header(path: &Path, tensors: &[Tensor]) -> Result<Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut offset = 0;
    for Tensor { name, shape, data } in tensors {
        let broken = |what: &str| Error::failed(format!("{}: tensor {name} {what}", path.display()));
        if shape.iter().product::<usize>() != data.len() {
            return Err(broken(&format!("has {} values, but shape {shape:?}", data.len())));
        }
        let end = offset + size_of_val(*data) as u64;
        let entry = Entry { dtype: "F32".to_string(), shape: shape.clone(), data_offsets: [offset, end] };
        if name == "__metadata__" || entries.insert(name.clone(), entry).is_some() {
            return Err(broken("is there twice; a checkpoint needs one name for each"));
        }
        offset = end;
    }
    let json = serde_json::to_vec(&entries)
        .map_err(|error| Error::failed(format!("{}: cannot write the header: {error}", path.display())))?;
    // Spaces up to a multiple of 8, as the format asks, so that the data is aligned in a memory map.
    let padded = json.len().next_multiple_of(LENGTH_BYTES);
    let mut header = Vec::with_capacity(LENGTH_BYTES + padded);
    header.extend_from_slice(&(padded as u64).to_le_bytes());
    header.extend_from_slice(&json);
    header.resize(LENGTH_BYTES + padded, b' ');
    Ok(header)
}

/// A tensor file whose length and header have been checked. Tensors are checked as they are read.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    record: FileRecord,
    entries: BTreeMap<String, Entry>,
}

impl TensorFile {
    /// Opens `path` and holds it to what `state.json` says of it.
    pub fn open(path: &Path, record: &FileRecord) -> Result<Self> {
        let mut file = File::open(path).at("open", path)?;
        let length = file.metadata().at("read", path)?.len();
        let damaged = |what: String| Error::failed(format!("{}: {what}", path.display()));
        if length < record.header_bytes {
            return Err(damaged(format!(
                "cut short within the header, at byte {length} of {}",
                record.bytes
            )));
        }
        let mut header = vec![0; record.header_bytes as usize];
        file.read_exact(&mut header).at("read the header of", path)?;
        if hash(&header) != record.header_hash {
            return Err(damaged("the header is damaged".to_string()));
        }
        let entries: BTreeMap<String, Entry> = header
            .get(LENGTH_BYTES..)
            .and_then(|json| serde_json::from_slice(json).ok())
            .ok_or_else(|| damaged("the header is not that of a safetensors file".to_string()))?;
        if length != record.bytes {
            let cut = entries.iter().find(|(_, entry)| {
                let end = record.header_bytes + entry.data_offsets[1];
                length < end && length >= record.header_bytes + entry.data_offsets[0]
            });
            return Err(damaged(match cut {
                Some((name, _)) => {
                    format!("cut short within tensor {name}, at byte {length} of {}", record.bytes)
                }
                None => format!("has {length} bytes, but {} were saved", record.bytes),
            }));
        }
        Ok(TensorFile { path: path.to_path_buf(), file, record: record.clone(), entries })
    }

    /// Names and shapes, in the order of names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// Reads the tensor `name` of shape `shape` into `values`, and checks its hash.
    ///
    /// Errors: no such tensor, another shape, a damaged byte (then `values` holds what was read: do not use it).
    pub fn read(&self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<()> {
        let place = self.path.display();
        let entry = self.entries.get(name).ok_or_else(|| {
            Error::failed(format!("{place}: holds no tensor {name}; it was saved by another model"))
        })?;
        if entry.shape != shape || shape.iter().product::<usize>() != values.len() {
            return Err(Error::failed(format!(
                "{place}: tensor {name} has shape {:?}, but {shape:?} is wanted; it was saved by another model",
                entry.shape
            )));
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.record.header_bytes + entry.data_offsets[0]))
            .and_then(|_| file.read_exact(bytes))
            .at("read", &self.path)?;
        if self.record.tensors.get(name) != Some(&hash(bytes)) {
            return Err(Error::failed(format!("{place}: tensor {name} is damaged")));
        }
        Ok(())
    }

    /// Reads every tensor once and keeps none.
    pub fn verify(&self) -> Result<()> {
        let mut values = Vec::new();
        for (name, entry) in &self.entries {
            values.resize(entry.shape.iter().product(), 0.0);
            self.read(name, &entry.shape, &mut values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Disk;
    use super::*;

    fn tensor<'a>(name: &str, shape: &[usize], data: &'a [f32]) -> Tensor<'a> {
        Tensor { name: name.to_string(), shape: shape.to_vec(), data }
    }

    #[test]
    fn the_safetensors_crate_reads_what_we_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let values = [1.5f32, -2.0, f32::NAN, 4.0, 5.0, 6.0];
        write(&Disk, &path, &[tensor("b", &[2, 3], &values), tensor("a", &[], &values[..1])]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("b").unwrap().shape(), [2, 3]);
        assert_eq!(read.tensor("b").unwrap().data(), bytemuck::cast_slice::<f32, u8>(&values));
        assert_eq!(read.tensor("a").unwrap().data(), 1.5f32.to_le_bytes());
    }

    #[test]
    fn an_empty_file_and_an_empty_tensor_are_files_too() {
        let folder = tempfile::tempdir().unwrap();
        for (name, tensors) in [("none", vec![]), ("empty", vec![tensor("e", &[0, 4], &[])])] {
            let path = folder.path().join(name);
            let record = write(&Disk, &path, &tensors).unwrap();
            TensorFile::open(&path, &record).unwrap().verify().unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_the_tensor_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let error = write(&Disk, &path, &[tensor("w", &[3], &[1.0])]).unwrap_err().to_string();
        assert!(error.contains("tensor w has 1 values, but shape [3]"), "{error}");
        let twice = [tensor("w", &[1], &[1.0]), tensor("w", &[1], &[1.0])];
        assert!(write(&Disk, &path, &twice).unwrap_err().to_string().contains("tensor w is there twice"));

        let record = write(&Disk, &path, &twice[..1]).unwrap();
        let file = TensorFile::open(&path, &record).unwrap();
        let mut one = [0.0];
        file.read("w", &[1], &mut one).unwrap();
        assert_eq!(one, [1.0]);
        assert!(file.read("v", &[1], &mut one).unwrap_err().to_string().contains("no tensor v"));
        let error = file.read("w", &[1, 1], &mut one).unwrap_err().to_string();
        assert!(error.contains("tensor w has shape [1], but [1, 1] is wanted"), "{error}");
    }
}
