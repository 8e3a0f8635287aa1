//! Batches of clips for training: a pure function of (seed, pass). [`Visits`] says which clips a pass visits.

use crate::data::Visits;
use crate::data::codes;
use crate::data::sound::{Encoding, SoundSplit};
use crate::models::foley::{START, mask};
use crate::ops::philox;

/// Sets the draws of clips that are not shown apart from all others of the same seed.
const MASK_STREAM: u32 = 0x10af;
/// And those of the noise on what is shown.
const NOISE_STREAM: u32 = 0x2015;
/// A sample's noise is the sum of this many even draws, near enough to a normal one and the same on every machine.
const DRAWS: usize = 4;

/// What a pass reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// (batch * frames, height, width, 3); empty without pictures.
    pub frames: Vec<u8>,
    /// (batch, samples): the start token, then the samples but for the last.
    pub codes: Vec<u32>,
    /// (batch, samples).
    pub targets: Vec<u32>,
    pub batch: usize,
    /// Which clips of the split these are.
    pub clips: Vec<usize>,
}

impl Batch {
    /// Samples of a clip.
    pub fn samples(&self) -> usize {
        self.codes.len() / self.batch.max(1)
    }
}

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub visits: Visits,
    pub encoding: Encoding,
    /// Share of the clips whose samples are not shown.
    pub parallel: f32,
    /// The most noise on the samples that are shown, as a standard deviation in codes.
    pub noise: f32,
}

impl Recipe {
    /// The batch of pass number `pass`, counted from 0.
    pub fn make(&self, split: &SoundSplit, pass: u64) -> Batch {
        let (_, clips) = self.visits.of_pass(split.len(), pass);
        let seed = self.visits.seed;
        let mut made = gather(split, &clips, self.encoding);
        let key = [seed as u32, (seed >> 32) as u32];
        let samples = made.samples();
        for (clip, codes) in made.codes.chunks_mut(samples).enumerate() {
            let draw = f64::from(philox::value(key, [MASK_STREAM, pass as u32], clip as u64)) / 65536.0;
            if draw < f64::from(self.parallel) {
                codes.fill(mask(self.encoding.levels()));
            } else if self.noise > 0.0 {
                // The start token is no sample.
                let room = (DRAWS * samples).next_multiple_of(philox::GROUP) as u64;
                let strength =
                    f64::from(philox::value(key, [MASK_STREAM, !(pass as u32)], clip as u64)) / 65536.0;
                let mut draws = vec![0; room as usize];
                philox::fill(key, [NOISE_STREAM, pass as u32], clip as u64 * room, &mut draws);
                add_noise(&mut codes[1..], &draws, strength * f64::from(self.noise), self.encoding.levels());
            }
        }
        made
    }
}

/// Moves codes by noise of this standard deviation, to the nearest code that there is.
fn add_noise(codes: &mut [u32], draws: &[u16], deviation: f64, levels: usize) {
    // An even draw from 0 to 65,536 has a variance of 65,536^2 / 12.
    let unit = deviation * (12.0 / DRAWS as f64).sqrt() / 65536.0;
    for (code, draws) in codes.iter_mut().zip(draws.chunks_exact(DRAWS)) {
        let sum: i64 = draws.iter().map(|&draw| i64::from(draw) - 32768).sum();
        let moved = f64::from(*code) + (sum as f64 * unit).round();
        *code = moved.clamp(0.0, levels as f64 - 1.0) as u32;
    }
}

/// A batch of given clips, as evaluation needs it.
pub fn gather(split: &SoundSplit, clips: &[usize], encoding: Encoding) -> Batch {
    let (mut frames, mut shown, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for &clip in clips {
        frames.extend_from_slice(split.frames(clip));
        let start = targets.len();
        targets.extend(codes::codes(encoding, split.samples(clip)).map(u32::from));
        shown.push(START);
        shown.extend_from_slice(&targets[start..targets.len() - 1]);
    }
    Batch { frames, codes: shown, targets, batch: clips.len(), clips: clips.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise has the deviation it is given, no bias, and stays within the codes.
    #[test]
    fn noise_is_as_strong_as_told() {
        let count = 20_000;
        let mut draws = vec![0; DRAWS * count];
        philox::fill([1, 2], [NOISE_STREAM, 3], 0, &mut draws);
        for deviation in [0.0, 0.8, 4.0] {
            let mut codes = vec![128; count];
            add_noise(&mut codes, &draws, deviation, 256);
            let moves: Vec<f64> = codes.iter().map(|&code| f64::from(code) - 128.0).collect();
            let mean = moves.iter().sum::<f64>() / count as f64;
            let square = moves.iter().map(|by| by * by).sum::<f64>() / count as f64;
            // Rounding to whole codes adds a twelfth to the square.
            let wanted = if deviation == 0.0 { 0.0 } else { deviation * deviation + 1.0 / 12.0 };
            assert!(mean.abs() < 0.1, "{deviation}: mean {mean}");
            assert!((square - wanted).abs() <= 0.05 * wanted, "{deviation}: {square}, not {wanted}");
        }
        let mut ends = vec![0, 255];
        for draws in draws.chunks_exact(2 * DRAWS).take(100) {
            add_noise(&mut ends, draws, 100.0, 256);
            assert!(ends.iter().all(|&code| code < 256));
        }
    }
}
