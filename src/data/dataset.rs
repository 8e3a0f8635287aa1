//! A prepared data set, opened for reading: splits of pictures with captions, straight from the memory map.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::hash_hex;
use super::index::{Captioned, Index, TOKENIZER};
use super::picture::Preprocessing;
use super::shard::{Shard, picture_schema};
use super::shards::{Shards, Splits, check_text, text};
use super::vocabulary::Vocabulary;
use crate::error::At;
use crate::{Error, Result};

// Places in `picture_schema`.
const PIXELS: usize = 0;
const SAMPLE_KEY: usize = 1;
const CAPTIONS: usize = 2;
const CAPTION_TEXT: usize = 3;
const CAPTION_TOKENS: usize = 4;

/// A folder that `evoke prepare` made: `index.json`, `tokenizer.json` and shards.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    index: Index,
    vocabulary: Vocabulary,
    splits: Splits<Split>,
}

impl Dataset {
    /// Opens a data set and checks its structure: the index's hash, the tokenizer's hash, and of each shard the
    /// length, the header's hash, every offset, every caption's encoding and every token's range.
    ///
    /// # Errors
    /// If anything of that does not hold, or the folder holds no complete data set. Values (pixels) are not read
    /// here; `evoke verify` reads every byte.
    pub fn open(folder: &Path) -> Result<Dataset> {
        let index = Index::<Captioned>::load(folder)?;
        let contents = &index.contents;
        let path = folder.join(TOKENIZER);
        let wrong = |what: &str| {
            let way_out = "put the right one back or make the data set again";
            Error::failed(format!("{}: {what}; {way_out}", path.display()))
        };
        // Compared before it is parsed: damaged text never reaches the parser.
        let json = std::fs::read(&path).at("read", &path)?;
        if hash_hex(&json) != contents.tokenizer.hash {
            return Err(wrong("is damaged, or not the tokenizer that the index names"));
        }
        let json = String::from_utf8(json).map_err(|_| wrong("is not UTF-8 text"))?;
        let vocabulary = Vocabulary::from_json(json).map_err(|error| wrong(&error.to_string()))?;
        if vocabulary.size() != contents.tokenizer.size {
            return Err(wrong("has another size than the index says"));
        }
        let mut splits = Vec::new();
        for (name, record) in &index.splits {
            let shards = Shards::open(folder, &record.shards, |shard| check(shard, contents))?;
            splits.push((name.clone(), Split { shards: Arc::new(shards) }));
        }
        Ok(Dataset { folder: folder.into(), index, vocabulary, splits: Splits(splits) })
    }

    /// Height of every picture in pixels.
    pub fn height(&self) -> usize {
        self.index.contents.preprocessing.height
    }

    /// Width of every picture in pixels.
    pub fn width(&self) -> usize {
        self.index.contents.preprocessing.width
    }

    /// How pictures were made, and are to be made when they are captioned.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.index.contents.preprocessing
    }

    /// The tokenizer that made the tokens.
    pub fn tokenizer(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The table of contents.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The folder it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The identity of the data: two data sets with the same hash hold the same bytes. 16 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.index.hash
    }

    /// The names of the splits, sorted.
    pub fn split_names(&self) -> impl Iterator<Item = &str> {
        self.splits.names()
    }

    /// A split by its name.
    ///
    /// # Errors
    /// If there is none of that name; the error lists those that are there.
    pub fn split(&self, name: &str) -> Result<Split> {
        self.splits.get(name, &self.folder)
    }
}

/// Samples of one split, in their stored order. A clone shares the maps.
#[derive(Debug, Clone)]
pub struct Split {
    shards: Arc<Shards>,
}

/// All of these panic if the sample or caption is not there, as indexing a slice does.
impl Split {
    /// How many pictures.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// True when there is no picture.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The picture's pixels: u8 `[height, width, 3]`, RGB.
    pub fn pixels(&self, sample: usize) -> &[u8] {
        let (shard, row) = self.shards.place(sample);
        shard.bytes(PIXELS, row)
    }

    /// How many captions the picture has; at least one.
    pub fn caption_count(&self, sample: usize) -> usize {
        let (shard, row) = self.shards.place(sample);
        shard.range(CAPTIONS, row).len()
    }

    /// A caption's tokens, without start and end.
    pub fn caption_tokens(&self, sample: usize, caption: usize) -> &[u32] {
        let (shard, row) = self.caption(sample, caption);
        shard.words(CAPTION_TOKENS, row)
    }

    /// A caption as it was written.
    pub fn caption_text(&self, sample: usize, caption: usize) -> &str {
        let (shard, row) = self.caption(sample, caption);
        text(shard.bytes(CAPTION_TEXT, row))
    }

    /// The picture's name: its file name, or the number of a scene.
    pub fn key(&self, sample: usize) -> &str {
        let (shard, row) = self.shards.place(sample);
        text(shard.bytes(SAMPLE_KEY, row))
    }

    fn caption(&self, sample: usize, caption: usize) -> (&Shard, usize) {
        let (shard, row) = self.shards.place(sample);
        let captions = shard.range(CAPTIONS, row);
        assert!(caption < captions.len(), "caption {caption} of {}", captions.len());
        (shard, captions.start + caption)
    }
}

/// What else has to hold of a shard of pictures: its tokenizer, its columns, every encoding and every token's range.
fn check(shard: &Shard, contents: &Captioned) -> std::result::Result<(), String> {
    if shard.metadata().get("tokenizer") != Some(&contents.tokenizer.hash) {
        return Err("was made with another tokenizer".into());
    }
    let schema = picture_schema(contents.preprocessing.height, contents.preprocessing.width);
    if !shard.schema().eq(&schema) {
        return Err("does not hold the columns of captioned pictures".into());
    }
    for column in [SAMPLE_KEY, CAPTION_TEXT] {
        check_text(shard, column)?;
    }
    let tokens: &[u32] = bytemuck::cast_slice(shard.values(CAPTION_TOKENS));
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= contents.tokenizer.size) {
        return Err(format!("caption_tokens holds {token}, beyond the vocabulary"));
    }
    if (0..shard.rows()).any(|row| shard.range(CAPTIONS, row).is_empty()) {
        return Err("holds a picture without a caption".into());
    }
    Ok(())
}
