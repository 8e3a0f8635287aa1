//! WAV files, read without ffmpeg.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use hound::{SampleFormat, WavReader};

use super::cutter::Samples;

/// An open file; channels are mixed to one.
pub struct Wav {
    reader: WavReader<BufReader<File>>,
    channels: usize,
    /// What a whole number is divided by; 1 for floats.
    scale: f32,
    /// Samples that the header promises and that are still to come, of one channel.
    left: usize,
}

impl Wav {
    /// What is wrong with a file of no samples.
    pub const EMPTY: &str = "has no samples";

    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// Why it is not a WAV file that can be read here.
    pub fn open(path: &Path) -> Result<Wav, String> {
        let reader =
            WavReader::open(path).map_err(|error| format!("is no WAV file that can be read: {error}"))?;
        let spec = reader.spec();
        let scale = match spec.sample_format {
            SampleFormat::Float => 1.0,
            SampleFormat::Int => 2f32.powi(i32::from(spec.bits_per_sample) - 1),
        };
        if spec.channels == 0 || spec.sample_rate == 0 {
            return Err("is no WAV file that can be read: it has no channels or no rate".into());
        }
        let left = reader.duration() as usize;
        if left == 0 {
            return Err(Wav::EMPTY.into());
        }
        Ok(Wav { reader, channels: usize::from(spec.channels), scale, left })
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.reader.spec().sample_rate
    }

    /// Samples of one channel that are still to come, as the header says.
    pub fn left(&self) -> usize {
        self.left
    }
}

impl Samples for Wav {
    fn read(&mut self, into: &mut Vec<f32>, count: usize) -> Result<(), String> {
        let numbers = count.min(self.left) * self.channels;
        let mut sum = 0.0;
        for number in 0..numbers {
            let next = match self.reader.spec().sample_format {
                SampleFormat::Float => self.reader.samples::<f32>().next(),
                SampleFormat::Int => self.reader.samples::<i32>().next().map(|x| x.map(|x| x as f32)),
            };
            let value = match next {
                Some(Ok(value)) => value,
                Some(Err(_)) | None => {
                    let missing = self.left - number / self.channels;
                    self.left = 0;
                    return Err(format!("is cut off: {missing} of its samples are missing"));
                }
            };
            sum += value / self.scale;
            if number % self.channels == self.channels - 1 {
                into.push(sum / self.channels as f32);
                sum = 0.0;
            }
        }
        self.left -= numbers / self.channels;
        Ok(())
    }
}
