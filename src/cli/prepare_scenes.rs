//! `evoke prepare scenes`: the embedded world, drawn from a seed.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::Output;
use super::prepare::Summary;
use super::prepare_motion::Moving;
use super::prepare_progress::write_split;
use crate::Result;
use crate::data::picture::{Fit, Preprocessing, Skipped};
use crate::data::scenes::{Level, Split, World, WorldOptions};
use crate::data::vocabulary::{Kind, Vocabulary};
use crate::data::writer::{self, Plan, Row, Source, Writer};

/// Pictures whose captions the tokenizer is learned from: every word of the world occurs among them.
const TOKENIZER_SCENES: u64 = 4000;
/// The special tokens and every word of the richest world fit easily.
const VOCABULARY: usize = 1000;

/// From the embedded world of coloured shapes, still or moving: train, val, and unseen combinations
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    scenes: Scenes,
    #[command(flatten)]
    moving: Moving,
}

/// Still scenes, with captions.
#[derive(Debug, clap::Args)]
pub(super) struct Scenes {
    /// The folder to write
    #[arg(long, value_name = "DATA")]
    pub out: PathBuf,
    /// Training pictures, or clips: then 2000 unless told otherwise
    #[arg(long, default_value_t = 20_000, default_value_if("video", "true", "2000"), value_name = "N")]
    pub train: usize,
    /// Held-out pictures of combinations that training has seen; 200 clips
    #[arg(long, default_value_t = 1000, default_value_if("video", "true", "200"), value_name = "N")]
    pub val: usize,
    /// Pictures of combinations that training never sees; 200 clips
    #[arg(long, default_value_t = 1000, default_value_if("video", "true", "200"), value_name = "N")]
    pub unseen: usize,
    /// Pixels of a side; 32 for clips
    #[arg(long, default_value_t = 64, default_value_if("video", "true", "32"), value_name = "PIXELS")]
    pub size: usize,
    /// How much there is to see; of clips four colours and two sizes, or six and three
    #[arg(long, value_enum, default_value = "small")]
    pub level: Level,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Replace a data set that is already there
    #[arg(long)]
    pub overwrite: bool,
}

/// One split of the world, as the writer wants it.
struct Scenery<'a> {
    world: &'a World,
    split: Split,
    len: usize,
    side: usize,
}

impl Source for Scenery<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn name(&self, i: usize) -> String {
        format!("{}-{i:06}", self.split.name())
    }

    fn row(&self, i: usize) -> Result<Row, Skipped> {
        let scene = self.world.scene(self.split, i as u64);
        Ok(Row { key: self.name(i), pixels: scene.pixels(self.side), captions: scene.captions() })
    }
}

impl Args {
    pub(super) fn run(self, out: &Output) -> Result<()> {
        if self.moving.video {
            return self.moving.run(&self.scenes, out);
        }
        out.result(&self.scenes.prepare(out)?, Summary::text)
    }
}

impl Scenes {
    /// Draws and writes the data set.
    ///
    /// # Errors
    /// If the folder is taken or cannot be written.
    pub(super) fn prepare(&self, out: &Output) -> Result<Summary> {
        let started = Instant::now();
        writer::check_free(&self.out, self.overwrite)?;
        if !(16..=1024).contains(&self.size) {
            return Err(crate::Error::usage(format!(
                "--size {}: scenes are 16 to 1024 pixels wide",
                self.size
            )));
        }
        let options = WorldOptions { level: self.level, side: self.size };
        let world = World::new(options, self.seed);
        let texts: Vec<String> =
            (0..TOKENIZER_SCENES).flat_map(|i| world.scene(Split::Train, i).captions()).collect();
        let vocabulary = Vocabulary::train(&texts, Kind::Words, VOCABULARY, 1)?;
        let tokens = vocabulary.size();
        let plan = Plan {
            source: "scenes".into(),
            identity: json!({"level": format!("{:?}", self.level), "seed": self.seed}),
            preprocessing: Preprocessing::new(self.size, self.size, Fit::Crop),
            shard_bytes: writer::SHARD_BYTES,
        };
        let mut writer = Writer::create(&self.out, plan, vocabulary, self.overwrite)?;
        let mut made = 0;
        for (split, len) in [(Split::Train, self.train), (Split::Val, self.val), (Split::Unseen, self.unseen)]
        {
            if len > 0 {
                made += len - writer.finished(split.name());
                write_split(
                    out,
                    &mut writer,
                    split.name(),
                    &Scenery { world: &world, split, len, side: self.size },
                )?;
            }
        }
        let report = writer.finish()?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Summary {
            out: self.out.display().to_string(),
            seconds,
            pictures_per_second: made as f64 / seconds,
            tokens,
            report,
        })
    }
}
