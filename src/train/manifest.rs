//! `state.json`: the run's state and what is needed to check the tensor files beside it; written last.
//!
//! Its last line holds the hash of everything before that line, so the file vouches for itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensor_file::{FileRecord, hash};
use crate::error::At;
use crate::{Error, Result};

/// The name of the file that makes a checkpoint folder a checkpoint.
pub const STATE: &str = "state.json";

const FORMAT: u32 = 1;

/// What `state.json` holds, beside its own hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub step: u64,
    /// The tensor files by file name.
    pub files: BTreeMap<String, FileRecord>,
    /// Whatever the training loop needs beside tensors. Floats here must be finite: JSON has no others.
    pub state: serde_json::Value,
}

impl Manifest {
    pub fn new(step: u64, files: BTreeMap<String, FileRecord>, state: serde_json::Value) -> Self {
        Manifest { format: FORMAT, step, files, state }
    }

    /// The bytes of `state.json`. Equal contents give equal bytes: all keys are sorted.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::failed(format!("{STATE}: the state has no form as JSON: {error}")))?;
        let mut bytes = text.trim_end_matches("\n}").as_bytes().to_vec();
        let end = ending(&bytes);
        bytes.extend_from_slice(end.as_bytes());
        Ok(bytes)
    }

    /// Reads `state.json` of the checkpoint `folder`; any changed byte in it is an error.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        Self::parse(&std::fs::read(&path).at("read", &path)?, &path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |what: &str| Error::failed(format!("{}: {what}", path.display()));
        let split = bytes.len().checked_sub(ending(b"").len()).ok_or_else(|| damaged("cut short"))?;
        let (body, end) = bytes.split_at(split);
        if end != ending(body).as_bytes() {
            return Err(damaged("damaged or cut short"));
        }
        let text = [body, b"\n}"].concat();
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| damaged(&format!("was written by another version of evoke ({error})")))?;
        if manifest.format != FORMAT {
            return Err(damaged(&format!("has format {}, this evoke reads {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }
}

/// What follows `body`: of one length whatever the body, so that a reader knows where it starts.
fn ending(body: &[u8]) -> String {
    format!(",\n  \"hash\": \"{}\"\n}}\n", hash(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let record = FileRecord {
            bytes: 16,
            header_bytes: 8,
            header_hash: hash(b"h"),
            tensors: BTreeMap::from([("w".to_string(), hash(b"t"))]),
        };
        let state = serde_json::json!({ "mean": 0.1 + 0.2, "seed": u64::MAX });
        Manifest::new(7, BTreeMap::from([("weights.safetensors".to_string(), record)]), state)
    }

    #[test]
    fn it_is_one_json_document_and_comes_back_equal() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = manifest().to_bytes().unwrap();
        std::fs::write(folder.path().join(STATE), &bytes).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), manifest());
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["state"]["seed"], u64::MAX);
        assert_eq!(json["hash"].as_str().unwrap().len(), 16);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = manifest().to_bytes().unwrap();
        let refused = |bytes: &[u8]| {
            let error = Manifest::parse(bytes, Path::new(STATE)).unwrap_err().to_string();
            assert!(error.contains(STATE) && !error.contains('\n'), "{error}");
        };
        for at in 0..bytes.len() {
            refused(&bytes[..at]);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                refused(&flipped);
            }
        }
        refused(&[&bytes[..], b" "].concat());
    }
}
