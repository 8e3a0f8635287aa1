//! `evoke plan video`: the room that a film takes as a data set.

use serde::Serialize;

use super::Output;
use super::prepare::size;
use super::prepare_media::{fraction, positive};
use crate::Result;
use crate::data::sound::Encoding;

/// The size of a film as a data set, before it is made
#[derive(Debug, clap::Args)]
pub(super) struct VideoArgs {
    /// The film's length
    #[arg(long, value_name = "MINUTES", value_parser = positive)]
    minutes: f64,
    /// Frames a second: a number or a fraction as 30000/1001
    #[arg(long, default_value = "3", value_name = "RATE", value_parser = fraction)]
    fps: (u32, u32),
    /// Pixels of a frame: one number for squares, or HEIGHTxWIDTH
    #[arg(long, default_value = "96x176", value_parser = size)]
    size: (usize, usize),
    /// Samples a second
    #[arg(long, default_value_t = 16_000, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How samples are stored
    #[arg(long, value_enum, default_value = "mu-law-8")]
    encoding: Encoding,
}

#[derive(Serialize)]
struct Report {
    frames: u64,
    picture_bytes: u64,
    samples: u64,
    sound_bytes: u64,
    bytes: u64,
}

impl VideoArgs {
    pub(super) fn run(self, out: &Output) -> Result<()> {
        let seconds = self.minutes * 60.0;
        let frames = (seconds * f64::from(self.fps.0) / f64::from(self.fps.1)).floor() as u64;
        let samples = (seconds * f64::from(self.rate)).floor() as u64;
        let picture_bytes = frames.saturating_mul((self.size.0 * self.size.1 * 3) as u64);
        let sound_bytes = samples.saturating_mul(self.encoding.bytes() as u64);
        let bytes = picture_bytes.saturating_add(sound_bytes);
        out.result(&Report { frames, picture_bytes, samples, sound_bytes, bytes }, |r| {
            let (height, width) = self.size;
            let (pictures, sound) = (gigabytes(r.picture_bytes), gigabytes(r.sound_bytes));
            format!(
                "frames  {pictures:>9} GB  {} of {height} x {width} pixels, 3 bytes each\n\
                 sound   {sound:>9} GB  {} samples, {} byte{} each\n\
                 both    {:>9} GB",
                r.frames,
                r.samples,
                self.encoding.bytes(),
                if self.encoding.bytes() == 1 { "" } else { "s" },
                gigabytes(r.bytes)
            )
        })
    }
}

/// Billions of bytes, to a tenth, and small ones to three digits more.
fn gigabytes(bytes: u64) -> String {
    let value = bytes as f64 / 1e9;
    if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}
