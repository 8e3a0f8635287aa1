//! What every clip of a sound set is, and one clip.

use serde::{Deserialize, Serialize};

use super::Encoding;
use crate::data::shard::{Column, Element};
use crate::{Error, Result};

/// What every clip of a set is; stored in `index.json` and in a run's `data.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples of a clip.
    pub samples: usize,
    pub encoding: Encoding,
    /// Frames of a clip; 0: a set without pictures.
    pub frames: usize,
    /// Height of a frame in pixels; 0 without pictures.
    pub height: usize,
    /// Width of a frame in pixels; 0 without pictures.
    pub width: usize,
    /// Frames a second, as a fraction. Frame `n` is what is seen at `n / frame_rate` seconds.
    pub frame_rate: (u32, u32),
    /// Each clip was made as loud as it can be without clipping.
    pub gain: bool,
}

impl Format {
    /// Bytes of a clip's frames.
    pub fn frame_bytes(&self) -> usize {
        self.frames * self.height * self.width * 3
    }

    /// Bytes of a clip's samples as they are stored.
    pub fn sample_bytes(&self) -> usize {
        self.samples * self.encoding.bytes()
    }

    /// True where clips have frames.
    pub fn pictures(&self) -> bool {
        self.frames > 0
    }

    /// The length of a clip.
    pub fn seconds(&self) -> f64 {
        self.samples as f64 / f64::from(self.sample_rate)
    }

    /// Refuses what cannot be a clip.
    ///
    /// # Errors
    /// If a rate or the length is 0, or frames have no pixels.
    pub fn check(&self) -> Result<()> {
        let pixels = self.height * self.width;
        let what = if self.sample_rate == 0 || self.frame_rate.0 == 0 || self.frame_rate.1 == 0 {
            "a rate is 0"
        } else if self.samples == 0 {
            "a clip has no samples"
        } else if self.pictures() != (pixels > 0) {
            "frames and their size do not fit together"
        } else {
            return Ok(());
        };
        Err(Error::usage(format!("{what}: choose rates, seconds and a size above 0")))
    }

    /// The columns of a shard. Without pictures there is no `frames`.
    pub fn schema(&self) -> Vec<Column> {
        let element = if self.encoding.bytes() == 1 { Element::U8 } else { Element::U16 };
        let frames = [self.frames, self.height, self.width, 3];
        let mut columns = Vec::new();
        if self.pictures() {
            columns.push(Column::fixed("frames", Element::U8, &frames));
        }
        columns.extend([
            Column::fixed("samples", element, &[self.samples]),
            Column::ragged("sample_key", Element::U8),
            Column::ragged("strikes", Element::F32).with_row(&[Strike::NUMBERS]),
        ]);
        columns
    }
}

/// A sound event of a scene's clip, for judging.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Strike {
    /// From the clip's start.
    pub seconds: f32,
    /// The lowest partial.
    pub hertz: f32,
    /// Peak amplitude, 0..1.
    pub loudness: f32,
}

impl Strike {
    /// f32 numbers of one strike.
    pub const NUMBERS: usize = size_of::<Strike>() / size_of::<f32>();
}

/// One clip, as a source makes it for the writer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClipRow {
    /// The clip's name.
    pub key: String,
    /// u8 `[frames, height, width, 3]`, RGB; empty without pictures.
    pub frames: Vec<u8>,
    /// Codes as they are stored: [`crate::data::codes::encode_all`].
    pub samples: Vec<u8>,
    /// In the order in which they are heard; empty for real sound.
    pub strikes: Vec<Strike>,
}
