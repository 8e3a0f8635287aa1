//! A sound set, opened for reading: splits of clips, straight from the memory map.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{Format, Strike};
use crate::data::index::{Index, SoundFormat};
use crate::data::shard::Shard;
use crate::data::shards::{Shards, Splits, check_text, text};
use crate::{Error, Result};

/// A folder that `evoke prepare video`, `audio` or `scenes --video` made: `index.json` and shards.
#[derive(Debug)]
pub struct SoundSet {
    folder: PathBuf,
    index: Index<SoundFormat>,
    splits: Splits<SoundSplit>,
}

impl SoundSet {
    /// Opens a set and checks its structure: the index's hash, and of each shard the length, the header's hash, its
    /// format, every offset and the encoding of every name.
    ///
    /// # Errors
    /// If anything of that does not hold, or the folder holds no complete data set, or one of pictures with captions.
    /// Values (pixels, samples) are not read here; `evoke verify` reads every byte.
    pub fn open(folder: &Path) -> Result<SoundSet> {
        let index = Index::<SoundFormat>::load(folder)?;
        let format = &index.contents.sound;
        format.check().map_err(|error| Error::failed(format!("{}: {error}", folder.display())))?;
        let mut splits = Vec::new();
        for (name, record) in &index.splits {
            let shards = Shards::open(folder, &record.shards, |shard| check(shard, format))?;
            let columns = Columns::of(format);
            splits.push((name.clone(), SoundSplit { shards: Arc::new(shards), columns }));
        }
        Ok(SoundSet { folder: folder.into(), index, splits: Splits(splits) })
    }

    /// What every clip is.
    pub fn format(&self) -> &Format {
        &self.index.contents.sound
    }

    /// The identity of the data: two sets with the same hash hold the same bytes. 16 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.index.hash
    }

    /// The folder it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The table of contents.
    pub fn index(&self) -> &Index<SoundFormat> {
        &self.index
    }

    /// The names of the splits, sorted.
    pub fn split_names(&self) -> impl Iterator<Item = &str> {
        self.splits.names()
    }

    /// A split by its name.
    ///
    /// # Errors
    /// If there is none of that name; the error lists those that are there.
    pub fn split(&self, name: &str) -> Result<SoundSplit> {
        self.splits.get(name, &self.folder)
    }
}

/// Places in the schema.
#[derive(Debug, Clone, Copy)]
struct Columns {
    frames: Option<usize>,
    samples: usize,
    key: usize,
    strikes: usize,
}

impl Columns {
    fn of(format: &Format) -> Columns {
        let first = usize::from(format.pictures());
        let frames = format.pictures().then_some(0);
        Columns { frames, samples: first, key: first + 1, strikes: first + 2 }
    }
}

/// Clips of one split, in their stored order. A clone shares the maps.
#[derive(Debug, Clone)]
pub struct SoundSplit {
    shards: Arc<Shards>,
    columns: Columns,
}

/// All of these panic if the clip is not there, as indexing a slice does.
impl SoundSplit {
    /// How many clips.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// True when there is no clip.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The clip's name: its file and the second where it begins, or the number of a scene.
    pub fn key(&self, clip: usize) -> &str {
        let (shard, row) = self.shards.place(clip);
        text(shard.bytes(self.columns.key, row))
    }

    /// The clip's frames: u8 `[frames, height, width, 3]`, RGB; empty in a set without pictures.
    pub fn frames(&self, clip: usize) -> &[u8] {
        let (shard, row) = self.shards.place(clip);
        self.columns.frames.map_or(&[], |column| shard.bytes(column, row))
    }

    /// The clip's samples as stored codes, one byte each or two with the lower first.
    pub fn samples(&self, clip: usize) -> &[u8] {
        let (shard, row) = self.shards.place(clip);
        shard.bytes(self.columns.samples, row)
    }

    /// What is heard in a scene's clip, in order of time; empty for real sound.
    pub fn strikes(&self, clip: usize) -> &[Strike] {
        let (shard, row) = self.shards.place(clip);
        bytemuck::cast_slice(shard.bytes(self.columns.strikes, row))
    }
}

/// What else has to hold of a shard of clips.
fn check(shard: &Shard, format: &Format) -> std::result::Result<(), String> {
    let said = shard.metadata().get("sound").and_then(|text| serde_json::from_str::<Format>(text).ok());
    if said.as_ref() != Some(format) {
        return Err("was made with another format of clips".into());
    }
    if !shard.schema().eq(&format.schema()) {
        return Err("does not hold the columns of clips".into());
    }
    check_text(shard, Columns::of(format).key)
}
