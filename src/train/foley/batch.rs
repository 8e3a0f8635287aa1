//! Batches of clips for training: a pure function of (seed, pass). [`Visits`] says which clips a pass visits.

use crate::data::Visits;
use crate::data::codes;
use crate::data::sound::{Encoding, SoundSplit};
use crate::models::foley::{START, mask};
use crate::ops::philox;

/// Sets the draws of clips that are not shown apart from all others of the same seed.
const MASK_STREAM: u32 = 0x10af;

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
            }
        }
        made
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
