//! Sound with or without pictures: clips of one length, frames as RGB and samples as whole numbers, and for drawn scenes
//! the strikes that are heard.
//!
//! [`Format`] says what every clip of a set is, [`writer`] writes sets from any source of clips, [`set`] reads them.
//! Films and sound files come through [`ffmpeg`] or [`wav`], are cut by [`cutter`], and [`stream`] stores their clips.

pub mod cutter;
pub mod ffmpeg;
mod format;
pub mod loudness;
pub mod probe;
mod record;
pub mod recordings;
pub mod set;
pub mod stream;
pub mod wav;
pub mod writer;

pub use super::codes::Encoding;
pub use format::{ClipRow, Format, Strike};
pub use record::{FileRecord, FileReport, Why, median};
pub use set::{SoundSet, SoundSplit};
pub use writer::{SoundPlan, SoundSource, SoundWriter};

#[cfg(test)]
mod tests;
