//! `index.json`: what a data set holds and the hashes of every byte of it. Written last, so its presence means complete.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::picture::Preprocessing;
use super::sound::Format;
use super::vocabulary::{Kind, Vocabulary};
use super::{files, hash_hex};
use crate::error::At;
use crate::{Error, Result};

/// What the index is called in its folder.
pub const INDEX: &str = "index.json";
/// What the tokenizer is called in its folder.
pub const TOKENIZER: &str = "tokenizer.json";
/// Stands where the index's own hash goes while that hash is computed.
const NO_HASH: &str = "0000000000000000";

/// What one kind of data set says of itself in the index, beside what all kinds say.
pub trait Contents: std::fmt::Debug + Clone + PartialEq + Serialize + DeserializeOwned {
    /// What the index's `format` says.
    const FORMAT: &'static str;
    /// What such a set holds, for messages.
    const WHAT: &'static str;
    /// The commands that make one.
    const MAKE: &'static str;
}

/// Every kind there is: its format and what it holds.
const KINDS: [(&str, &str); 2] =
    [(Captioned::FORMAT, Captioned::WHAT), (SoundFormat::FORMAT, SoundFormat::WHAT)];

/// A data set's table of contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "C: Contents")]
pub struct Index<C = Captioned> {
    pub format: String,
    /// What the samples were made from: `coco`, `captions`, `scenes`, `video`, `audio`.
    pub source: String,
    #[serde(flatten)]
    pub contents: C,
    /// By name: `train`, `val`, and where there is one `unseen`.
    pub splits: BTreeMap<String, SplitRecord>,
    /// xxh3 over this file with 16 zeros in place of these digits. The last field.
    pub hash: String,
}

/// Pictures with captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Captioned {
    pub preprocessing: Preprocessing,
    pub tokenizer: TokenizerRecord,
}

impl Contents for Captioned {
    const FORMAT: &'static str = "evoke-dataset-1";
    const WHAT: &'static str = "pictures with captions";
    const MAKE: &'static str = "`evoke prepare scenes`, `coco` or `captions`";
}

impl Captioned {
    pub fn new(preprocessing: &Preprocessing, vocabulary: &Vocabulary) -> Captioned {
        Captioned {
            preprocessing: preprocessing.clone(),
            tokenizer: TokenizerRecord {
                kind: vocabulary.kind(),
                size: vocabulary.size(),
                hash: vocabulary.hash(),
            },
        }
    }
}

/// Sound, with or without pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoundFormat {
    pub sound: Format,
}

impl Contents for SoundFormat {
    const FORMAT: &'static str = "evoke-sound-1";
    const WHAT: &'static str = "sound";
    const MAKE: &'static str = "`evoke prepare video`, `audio` or `scenes --video`";
}

/// The tokenizer that made the tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenizerRecord {
    pub kind: Kind,
    /// Tokens, the special ones included.
    pub size: usize,
    /// xxh3 of `tokenizer.json`.
    pub hash: String,
}

/// One split: its shards in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitRecord {
    pub samples: usize,
    /// 0, and left out, where samples have no captions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub captions: usize,
    pub shards: Vec<ShardRecord>,
}

/// One shard, with what is needed to check every byte of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub file: String,
    pub bytes: usize,
    pub samples: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub captions: usize,
    /// The header, its length field and padding included.
    pub header: Part,
    /// By tensor name. With the header they cover the file.
    pub columns: BTreeMap<String, Part>,
}

/// A range of a file, in bytes, and its xxh3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub begin: usize,
    pub bytes: usize,
    pub hash: String,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What the index in `folder` says it is, if it says so at all; nothing else of it is checked.
pub fn format(folder: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Known {
        format: String,
    }
    let bytes = std::fs::read(folder.join(INDEX)).ok()?;
    serde_json::from_slice::<Known>(&bytes).ok().map(|known| known.format)
}

impl<C: Contents> Index<C> {
    /// An index of no splits yet.
    pub fn new(source: &str, contents: C) -> Index<C> {
        Index {
            format: C::FORMAT.into(),
            source: source.into(),
            contents,
            splits: BTreeMap::new(),
            hash: NO_HASH.into(),
        }
    }

    /// Reads and checks the index of a data set's folder.
    ///
    /// # Errors
    /// If there is none (the data set is not complete, or not one), it is of another kind or format, or any byte of it
    /// has changed.
    pub fn load(folder: &Path) -> Result<Index<C>> {
        let path = folder.join(INDEX);
        if !folder.exists() {
            return Err(Error::failed(format!(
                "{}: no such folder; `evoke prepare` makes one",
                folder.display()
            )));
        }
        if !path.exists() {
            return Err(Error::failed(format!(
                "{}: holds no complete data set (no {INDEX}); run the `evoke prepare` that makes it, again if it was \
                 stopped",
                folder.display()
            )));
        }
        let bytes = std::fs::read(&path).at("read", &path)?;
        let wrong =
            |what: String| Error::failed(format!("{}: {what}; make the data set again", path.display()));
        let said = format(folder);
        let other = KINDS.iter().find(|(format, _)| *format != C::FORMAT && said.as_deref() == Some(format));
        if let Some((_, what)) = other {
            return Err(Error::failed(format!(
                "{}: holds {what}, and this needs {}; {} makes such a data set",
                folder.display(),
                C::WHAT,
                C::MAKE
            )));
        }
        let index: Index<C> =
            serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is damaged: {error}")))?;
        if index.format != C::FORMAT {
            let reads = C::FORMAT;
            return Err(wrong(format!("has the format {:?}, and this program reads {reads}", index.format)));
        }
        // Comparing the text, not the values, notices a changed byte between the values too.
        if index.text()?.as_bytes() != bytes {
            return Err(wrong("is damaged: its content does not match its own hash".into()));
        }
        Ok(index)
    }

    /// Sets the hash of the content.
    pub fn seal(mut self) -> Result<Index<C>> {
        self.hash = self.own_hash()?;
        Ok(self)
    }

    /// Writes the index, whole.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::write_whole(&folder.join(INDEX), self.text()?.as_bytes())
    }

    /// The file's text: the content, and the hash that the content has, whatever `self.hash` says.
    fn text(&self) -> Result<String> {
        let own = Index { hash: self.own_hash()?, ..self.clone() };
        own.plain()
    }

    fn own_hash(&self) -> Result<String> {
        let blank = Index { hash: NO_HASH.into(), ..self.clone() };
        Ok(hash_hex(blank.plain()?.as_bytes()))
    }

    fn plain(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::failed(format!("{INDEX} cannot be written: {error}")))?;
        Ok(text + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::Fit;
    use super::super::vocabulary;
    use super::*;

    #[test]
    fn any_flipped_byte_of_the_index_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let vocabulary = Vocabulary::train(["a b"], vocabulary::Kind::Words, 10, 1).unwrap();
        let mut index =
            Index::new("captions", Captioned::new(&Preprocessing::new(4, 4, Fit::Crop), &vocabulary));
        index.splits.insert("train".into(), SplitRecord { samples: 1, captions: 1, shards: Vec::new() });
        let saved = index.seal().unwrap();
        saved.save(folder.path()).unwrap();
        assert_eq!(Index::load(folder.path()).unwrap(), saved);
        let path = folder.path().join(INDEX);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, &changed).unwrap();
            assert!(Index::<Captioned>::load(folder.path()).is_err(), "byte {at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(Index::<Captioned>::load(folder.path()).is_err(), "cut at {at}");
        }
    }
}
