//! Which frames a sample of a long sound sees. A model sees as many frames at once as a clip of its training had: a
//! window. The windows of a longer film overlap, and a sample belongs to the one in whose middle it lies, so that at
//! every sample but those of the film's ends the frames before and after it are there, as they were in training.

use crate::models::foley::{Ends, Foley};

/// The windows of a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slide {
    ends: Ends,
    /// Frames from one window's start to the next one's; as many as a window has where they cannot overlap.
    hop: usize,
    /// The last window.
    last: usize,
}

impl Slide {
    /// For sounds of `samples` samples.
    pub fn new(model: &Foley, samples: usize) -> Slide {
        // Positions of groups come again with a clip's first frame.
        let hop = if model.groups() { model.ends.frames } else { hop(model.ends, model.period()) };
        Slide::of(model.ends, hop, samples)
    }

    fn of(ends: Ends, hop: usize, samples: usize) -> Slide {
        let mut slide = Slide { ends, hop, last: 0 };
        slide.last = match ends.frames {
            0 => 0,
            _ if hop == ends.frames => samples.div_ceil(ends.samples).max(1) - 1,
            frames => (slide.frame(samples.max(1) - 1) + 1).saturating_sub(frames).div_ceil(hop),
        };
        slide
    }

    /// Frames that the windows show together; 0 without pictures.
    pub fn frames(&self) -> usize {
        self.last * self.hop + self.ends.frames
    }

    /// The first frame of a window.
    pub fn start(&self, window: usize) -> usize {
        window * self.hop
    }

    /// The window of sample `t`, and how many samples after the window's start it comes.
    pub fn place(&self, t: usize) -> (usize, usize) {
        let Ends { frames, samples, .. } = self.ends;
        if frames == 0 {
            return (0, 0);
        }
        if self.hop == frames {
            return (t / samples, t % samples);
        }
        // A window is for the frames from (frames - hop) / 2 of it on, the first one also for those before them.
        let window = (self.frame(t).saturating_sub((frames - self.hop) / 2) / self.hop).min(self.last);
        // At odd rates a frame more may begin in the clip's last sample.
        (window, (t - self.sample(window * self.hop)).min(samples - 1))
    }

    /// The frame that is there at sample `t`.
    fn frame(&self, t: usize) -> usize {
        let (number, seconds) = self.ends.frame_rate;
        (t as u128 * u128::from(number) / (u128::from(seconds) * u128::from(self.ends.sample_rate))) as usize
    }

    /// The first sample of a frame.
    fn sample(&self, frame: usize) -> usize {
        let (number, seconds) = self.ends.frame_rate;
        let samples = frame as u128 * u128::from(seconds) * u128::from(self.ends.sample_rate);
        samples.div_ceil(u128::from(number)) as usize
    }
}

/// Frames from one window to the next: up to half a window, and whole periods of the samples' positions where those are
/// whole frames, so that positions and frames stand to each other as in training. Where half a window holds no period,
/// windows follow each other without a frame in common.
fn hop(ends: Ends, period: usize) -> usize {
    let (number, seconds) = ends.frame_rate;
    let frame = u128::from(seconds) * u128::from(ends.sample_rate);
    let turned = period as u128 * u128::from(number);
    let step = if frame > 0 && turned.is_multiple_of(frame) { (turned / frame) as usize } else { 1 };
    match ends.frames / 2 / step.max(1) * step {
        0 => ends.frames,
        hop => hop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::waveform::Codes;

    fn ends(frames: usize, frame_rate: (u32, u32), samples: usize, sample_rate: u32) -> Ends {
        let (height, width, classes, codes) = (8, 8, 256, Codes::MuLaw);
        Ends { height, width, frames, frame_rate, samples, sample_rate, classes, codes }
    }

    #[test]
    fn every_sample_sees_its_frame_and_those_beside_it() {
        for (ends, period) in [
            (ends(9, (3, 1), 48_000, 16_000), 16_000),
            (ends(12, (12, 1), 16_000, 16_000), 4_000),
            (ends(24, (30_000, 1001), 12_813, 16_000), 2_048),
            (ends(20, (20, 1), 2_000, 2_000), 200),
            (ends(7, (10, 1), 700, 1_000), 33),
        ] {
            for samples in [1, ends.samples - 1, ends.samples, ends.samples + 1, 5 * ends.samples + 77] {
                let slide = Slide::of(ends, hop(ends, period), samples);
                assert!(slide.hop < ends.frames && slide.frames() >= ends.frames);
                let (mut before, mut windows) = ((0, 0), 1);
                for t in 0..samples {
                    let (window, within) = slide.place(t);
                    let (frame, start) = (slide.frame(t), slide.start(window));
                    assert!(within < ends.samples && start + ends.frames <= slide.frames());
                    assert!(frame >= start && frame < start + ends.frames, "{ends:?}: {t} {frame} {start}");
                    // A frame on either side, but at the ends of the film.
                    assert!(window == 0 || frame > start, "{ends:?}: nothing before {t}");
                    let after = frame + 1 < start + ends.frames || window == slide.last;
                    assert!(after, "{ends:?}: nothing after {t}");
                    windows += usize::from(window != before.0);
                    assert!(t == 0 || window == before.0 || window == before.0 + 1);
                    before = (window, within);
                }
                assert_eq!((before.0, windows), (slide.last, slide.last + 1));
                if samples <= ends.samples {
                    assert_eq!((slide.frames(), slide.place(samples - 1)), (ends.frames, (0, samples - 1)));
                }
            }
        }
    }

    #[test]
    fn windows_begin_with_a_period_of_the_samples_positions() {
        let film = ends(9, (3, 1), 48_000, 16_000);
        // Periods of 3 and of 6 frames, and one that is no whole frames: then any frame will do.
        assert_eq!([16_000, 32_000, 2_048].map(|period| hop(film, period)), [3, 9, 4]);
        let fast = ends(20, (20, 1), 2_000, 2_000);
        assert_eq!([100, 400, 1_000, 2_000, 2_048].map(|period| hop(fast, period)), [10, 8, 10, 20, 10]);
    }

    #[test]
    fn sound_alone_has_one_window() {
        let slide = Slide::of(ends(0, (1, 1), 1_000, 1_000), 0, 5_000);
        assert_eq!((slide.frames(), slide.place(4_999).0), (0, 0));
    }
}
