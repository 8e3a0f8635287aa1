//! The world's clips as a sound set's writer wants them.

use super::world::World;
use crate::data::codes;
use crate::data::picture::Skipped;
use crate::data::scenes::Split;
use crate::data::sound::{ClipRow, Encoding, Format, SoundSource, Strike};

impl World {
    /// What every clip of a set from this world is.
    pub fn format(&self, encoding: Encoding) -> Format {
        let options = self.options();
        Format {
            sample_rate: options.sample_rate,
            samples: self.samples(),
            encoding,
            frames: self.frames(),
            height: options.side,
            width: options.side,
            frame_rate: options.frame_rate,
            gain: false,
        }
    }
}

/// One split of the world.
pub struct MovingScenes<'a> {
    pub world: &'a World,
    pub split: Split,
    /// Clips.
    pub len: usize,
    pub encoding: Encoding,
}

impl SoundSource for MovingScenes<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn name(&self, i: usize) -> String {
        format!("{}-{i:06}", self.split.name())
    }

    fn row(&self, i: usize) -> Result<ClipRow, Skipped> {
        let clip = self.world.clip(self.split, i as u64);
        let strike = |strike: &super::Strike| Strike {
            seconds: strike.seconds as f32,
            hertz: strike.hertz as f32,
            loudness: strike.loudness as f32,
        };
        Ok(ClipRow {
            key: self.name(i),
            frames: clip.frames,
            samples: codes::encode_all(self.encoding, &clip.wave),
            strikes: clip.strikes.iter().map(strike).collect(),
        })
    }
}
