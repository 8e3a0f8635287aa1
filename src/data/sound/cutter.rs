//! Cuts one file into clips: frames and samples of the same stretch of time, one clip after the other.
//!
//! Clip `k` begins with frame `k * frames`, so at `k * frames / frame_rate` seconds, and with the sample nearest to that
//! instant: whatever the rates, sound and picture are never half a sample apart, and nothing adds up over hours.

use std::ops::{ControlFlow, Range};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::record::{FileRecord, Why};
use super::{ClipRow, Format, loudness};
use crate::data::codes;

/// Clips are made louder up to a peak of 1, but none by more than this: noise of the last bits is left alone.
const MOST_GAIN: f32 = 10_000.0;

/// What becomes of clips that lack sound or picture, wholly or at their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Short {
    /// Silence, and the last frame again (black where there is none)
    Pad,
    /// They are left out
    Drop,
}

/// What becomes of clips with a change of scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Cuts {
    Keep,
    Drop,
}

/// How clips are made and which are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    pub format: Format,
    pub short: Short,
    pub cuts: Cuts,
    /// A cut is where two successive frames differ by more than this, on average over all values (0..255).
    pub cut_threshold: f64,
    /// Clips below this level are dropped, dB of full scale.
    pub silence: Option<f64>,
    /// Share of each file's clips that is held out.
    pub val_share: f64,
}

impl Rules {
    /// The first sample of clip `clip`.
    pub fn first_sample(&self, clip: usize) -> usize {
        let format = &self.format;
        if !format.pictures() {
            return clip * format.samples;
        }
        samples_of(clip * format.frames, format.frame_rate, format.sample_rate)
    }

    /// The second at which clip `clip` begins.
    pub fn second(&self, clip: usize) -> f64 {
        self.first_sample(clip) as f64 / f64::from(self.format.sample_rate)
    }

    /// How many whole clips `seconds` hold.
    pub fn clips(&self, seconds: f64) -> usize {
        (seconds / self.format.seconds()) as usize
    }
}

/// Samples in the time of `frames` frames, to the nearest.
pub fn samples_of(frames: usize, (numerator, denominator): (u32, u32), sample_rate: u32) -> usize {
    let samples = 2 * frames as u128 * u128::from(denominator) * u128::from(sample_rate);
    ((samples + u128::from(numerator)) / (2 * u128::from(numerator))) as usize
}

/// The clips of a file that are held out: one stretch of `share` of all `clips`, at a place that the file's name decides.
///
/// Neighbours look and sound alike, so a stretch tells more of new material than single clips would; and the end of a
/// film, which would be the simplest stretch, is its credits. A file of few clips gives one as often as its share says.
/// Where the length is not known, the whole file is on one side.
pub fn held_out(name: &str, clips: Option<usize>, share: f64) -> Range<usize> {
    // 2^64 as a float is exact.
    let hash = |salt: &str| xxh3_64(format!("{salt}{name}").as_bytes()) as f64 / 2f64.powi(64);
    let Some(clips) = clips.filter(|&clips| clips > 0) else {
        return if hash("") < share { 0..usize::MAX } else { 0..0 };
    };
    let count = ((clips as f64 * share + hash("")) as usize).min(clips);
    let first = (hash("place ") * (clips - count + 1) as f64) as usize;
    // A stretch that reaches the end takes what comes after it too, the padded last clip for one.
    if first + count == clips && count > 0 { first..usize::MAX } else { first..first + count }
}

/// Sound that comes piece by piece.
pub trait Samples {
    /// Adds up to `count` samples; fewer only at the end.
    ///
    /// # Errors
    /// What is wrong; then there are no more.
    fn read(&mut self, into: &mut Vec<f32>, count: usize) -> std::result::Result<(), String>;
}

/// Frames that come piece by piece.
pub trait Frames {
    /// Fills `into` as far as there are bytes; how many there were.
    ///
    /// # Errors
    /// What is wrong; then there are no more.
    fn read(&mut self, into: &mut [u8]) -> std::result::Result<usize, String>;
}

/// A clip and its place among the file's.
pub struct Clip {
    pub number: usize,
    pub row: ClipRow,
}

/// Cuts a file and gives every clip that is kept to `put`, until the file ends or `put` breaks.
pub fn cut(
    rules: &Rules,
    name: &str,
    mut pictures: Option<&mut dyn Frames>,
    mut sound: Option<&mut dyn Samples>,
    record: &mut FileRecord,
    put: &mut dyn FnMut(Clip) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let format = &rules.format;
    let mut heard = Heard { samples: Vec::new(), first: 0 };
    let mut last_frame = vec![0; format.height * format.width * 3];
    let frame = last_frame.len().max(1);
    // Sound that goes on for less than a frame after the last one is its coder's rounding, no clip that lacks something.
    let least = match format.pictures() {
        true => samples_of(1, format.frame_rate, format.sample_rate).max(1),
        false => 1,
    };
    for number in 0.. {
        let mut frames = vec![0; format.frame_bytes()];
        let seen = match pictures.as_deref_mut().map(|pictures| pictures.read(&mut frames)) {
            Some(Ok(bytes)) => bytes / frame * frame,
            Some(Err(what)) => {
                record.fault(what);
                pictures = None;
                0
            }
            None => 0,
        };
        let first = rules.first_sample(number);
        if let Some(Err(what)) = sound.as_deref_mut().map(|sound| heard.fill(first + format.samples, sound)) {
            record.fault(what);
            sound = None;
        }
        let mut samples = heard.take(first, format.samples);
        if seen == 0 && samples.len() < least {
            break;
        }
        if seen > 0 {
            last_frame.copy_from_slice(&frames[seen - frame..seen]);
        }
        if seen < frames.len() || samples.len() < format.samples {
            if rules.short == Short::Drop {
                record.drop(Why::Short, 1);
                continue;
            }
            frames[seen..].chunks_exact_mut(frame).for_each(|missing| missing.copy_from_slice(&last_frame));
            samples.resize(format.samples, 0.0);
        }
        let level = loudness::decibels(&samples);
        if rules.silence.is_some_and(|floor| level.is_nan() || level < floor) {
            record.drop(Why::Silent, 1);
        } else if rules.cuts == Cuts::Drop && has_cut(&frames, frame, rules.cut_threshold) {
            record.drop(Why::Cut, 1);
        } else {
            record.keep(format.seconds(), level);
            if format.gain {
                make_loud(&mut samples);
            }
            let samples = codes::encode_all(format.encoding, &samples);
            let key = format!("{name}@{:.3}", rules.second(number));
            put(Clip { number, row: ClipRow { key, frames, samples, strikes: Vec::new() } })?;
        }
    }
    ControlFlow::Continue(())
}

/// A window of the sound, so that two clips can share the sample between them.
struct Heard {
    samples: Vec<f32>,
    /// The place of the first of them in the file.
    first: usize,
}

impl Heard {
    /// Reads on up to sample `end` of the file.
    fn fill(&mut self, end: usize, sound: &mut dyn Samples) -> std::result::Result<(), String> {
        let missing = end.saturating_sub(self.first + self.samples.len());
        sound.read(&mut self.samples, missing)
    }

    /// Samples `first..first + count` as far as they are there; those before are forgotten.
    fn take(&mut self, first: usize, count: usize) -> Vec<f32> {
        let before = first.saturating_sub(self.first).min(self.samples.len());
        self.samples.drain(..before);
        self.first += before;
        self.samples[..count.min(self.samples.len())].to_vec()
    }
}

/// Whether two successive frames differ by more than `threshold` on average.
fn has_cut(frames: &[u8], frame: usize, threshold: f64) -> bool {
    let limit = threshold * frame as f64;
    let difference =
        |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum::<u64>();
    let pairs = frames.chunks_exact(frame).zip(frames.chunks_exact(frame).skip(1));
    pairs.map(|(a, b)| difference(a, b)).any(|sum| sum as f64 > limit)
}

/// Scales a clip to a peak of 1.
fn make_loud(samples: &mut [f32]) {
    let peak = samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
    if peak > 0.0 {
        let gain = (1.0 / peak).min(MOST_GAIN);
        samples.iter_mut().for_each(|x| *x *= gain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sound::Encoding;

    fn rules(frame_rate: (u32, u32), frames: usize) -> Rules {
        let samples = samples_of(frames, frame_rate, 16_000);
        let format = Format {
            sample_rate: 16_000,
            samples,
            encoding: Encoding::MuLaw16,
            frames,
            height: 1,
            width: 1,
            frame_rate,
            gain: false,
        };
        let (short, cuts) = (Short::Drop, Cuts::Keep);
        Rules { format, short, cuts, cut_threshold: 40.0, silence: None, val_share: 0.0 }
    }

    /// Sample `n` has the value `n / 2^20`, so that it becomes louder.
    struct Ramp(usize, usize);

    impl Samples for Ramp {
        fn read(&mut self, into: &mut Vec<f32>, count: usize) -> std::result::Result<(), String> {
            let end = (self.0 + count).min(self.1);
            into.extend((self.0..end).map(|n| n as f32 / f32::from(2u8).powi(20)));
            self.0 = end;
            Ok(())
        }
    }

    /// Sample `n` has the code `n mod 256`, from the middle of its cell.
    struct Codes(usize, usize);

    impl Samples for Codes {
        fn read(&mut self, into: &mut Vec<f32>, count: usize) -> std::result::Result<(), String> {
            let edge = |code: usize| match code {
                256 => 1.0,
                code => codes::decode(Encoding::MuLaw8, code as u16),
            };
            let end = (self.0 + count).min(self.1);
            into.extend((self.0..end).map(|n| (edge(n % 256) + edge(n % 256 + 1)) / 2.0));
            self.0 = end;
            Ok(())
        }
    }

    /// Frame `n` is `n mod 256`.
    struct Counter(usize, usize);

    impl Frames for Counter {
        fn read(&mut self, into: &mut [u8]) -> std::result::Result<usize, String> {
            let count = (into.len() / 3).min(self.1 - self.0);
            (0..count * 3).for_each(|i| into[i] = (self.0 + i / 3) as u8);
            self.0 += count;
            Ok(count * 3)
        }
    }

    fn clips(rules: &Rules, frames: usize, samples: usize) -> (Vec<Clip>, FileRecord) {
        let (mut made, mut record) = (Vec::new(), FileRecord::new("a"));
        let (mut pictures, mut sound) = (Counter(0, frames), Ramp(0, samples));
        let mut put = |clip| {
            made.push(clip);
            ControlFlow::Continue(())
        };
        let _ = cut(rules, "a", Some(&mut pictures), Some(&mut sound), &mut record, &mut put);
        (made, record)
    }

    #[test]
    fn sound_never_drifts_from_the_picture_whatever_the_rates() {
        for (rate, frames) in
            [((30_000, 1001), 1), ((24_000, 1001), 7), ((3, 1), 9), ((7, 1), 1), ((25, 2), 3)]
        {
            let mut rules = rules(rate, frames);
            for clip in [0, 1, 2, 3, 1000, 10_000_000] {
                let seconds = (clip * frames) as f64 * f64::from(rate.1) / f64::from(rate.0);
                let apart = rules.first_sample(clip) as f64 - seconds * 16_000.0;
                assert!(apart.abs() <= 0.5 + 1e-3, "clip {clip} of {rate:?}: {apart} samples");
            }
            // What is taken from the streams is what was meant, also where clips share or leave a sample.
            rules.format.encoding = Encoding::MuLaw8;
            let many = 40 * frames;
            let (mut made, mut record) = (Vec::new(), FileRecord::new("a"));
            let mut sound = Codes(0, samples_of(many, rate, 16_000) + 2);
            let mut put = |clip| {
                made.push(clip);
                ControlFlow::Continue(())
            };
            let _ = cut(&rules, "a", Some(&mut Counter(0, many)), Some(&mut sound), &mut record, &mut put);
            assert_eq!(made.len(), 40);
            for clip in made {
                let first = rules.first_sample(clip.number);
                let wrong = (0..clip.row.samples.len()).find(|j| clip.row.samples[*j] != (first + j) as u8);
                assert_eq!(wrong, None, "clip {} of {rate:?}", clip.number);
                assert_eq!(clip.row.frames[0], (clip.number * frames) as u8);
            }
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_dropped_or_padded() {
        let mut rules = rules((2, 1), 4);
        // Ten frames are 5 s; the sound ends in the second clip (2 s each), or after all frames.
        let (made, record) = clips(&rules, 10, 50_000);
        assert_eq!((made.len(), record.clips, record.dropped[&Why::Short]), (1, 1, 2));
        rules.short = Short::Pad;
        let (made, record) = clips(&rules, 10, 50_000);
        assert_eq!((made.len(), record.dropped.len()), (3, 0));
        assert_eq!(made[2].row.frames, [[8u8; 3], [9; 3], [9; 3], [9; 3]].concat());
        let samples = codes::decode_all(Encoding::MuLaw16, &made[1].row.samples);
        assert!(samples[17_999] > 0.0 && samples[18_000] == 0.0);
        // 4,000 samples more than the frames have are half a frame.
        let (made, record) = clips(&rules, 4, 36_000);
        assert_eq!((made.len(), record.dropped.len()), (1, 0));
        let (made, _) = clips(&rules, 4, 80_000);
        assert_eq!(made[2].row.frames, [3u8; 12], "the last frame of the clip before");
    }

    #[test]
    fn cuts_silence_and_gain() {
        let mut rules = rules((2, 1), 4);
        rules.silence = Some(-40.0);
        // The ramp is at -36 dB in the first clip and louder after it; digital silence is below everything.
        assert_eq!(clips(&rules, 8, 64_000).1.clips, 2);
        rules.silence = Some(-30.0);
        assert_eq!(clips(&rules, 8, 64_000).1.dropped[&Why::Silent], 1);
        rules.silence = None;
        rules.cuts = Cuts::Drop;
        rules.cut_threshold = 1.0;
        assert_eq!(clips(&rules, 8, 64_000).1.clips, 2, "a difference of 1 is not above 1");
        rules.cut_threshold = 0.9;
        assert_eq!(clips(&rules, 8, 64_000).1.dropped[&Why::Cut], 2);
        rules.cuts = Cuts::Keep;
        rules.format.gain = true;
        let (made, record) = clips(&rules, 4, 32_000);
        let samples = codes::decode_all(Encoding::MuLaw16, &made[0].row.samples);
        assert!((samples[31_999] - 1.0).abs() < 1e-3);
        assert!(record.levels[0] < -30.0, "the level is that before the gain: {}", record.levels[0]);
    }

    #[test]
    fn one_stretch_of_each_file_is_held_out() {
        let stretch = held_out("a.mp4", Some(200), 0.05);
        assert!((10..=11).contains(&stretch.len()) && stretch.end <= 200, "{stretch:?}");
        let taken = (0..2000).filter(|i| held_out(&format!("{i}.wav"), Some(1), 0.1).contains(&0)).count();
        assert!(taken.abs_diff(200) < 60, "{taken}");
        let unknown = (0..2000).filter(|i| held_out(&format!("{i}.wav"), None, 0.1).contains(&9)).count();
        assert!(unknown.abs_diff(200) < 60, "{unknown}");
        assert!((0..100).all(|i| held_out(&i.to_string(), Some(9), 0.0).is_empty()));
    }
}
