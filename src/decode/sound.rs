//! Sound, sample by sample or group by group: many clips side by side, from rings that do not grow with the sound.
//!
//! With `head = "groups"` nothing is drawn: a group's waveform is what the model makes. It is coded as the data are, so
//! that the next group is made from what training would have shown.

use std::time::Instant;

use super::sampling::Sampling;
use super::slide::Slide;
use crate::data::codes;
use crate::device::StepState;
use crate::models::foley::{Next, START, Session};
use crate::ops::patches::CHANNELS;
use crate::{Error, Result};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub clips: usize,
    /// Of each clip: (clips * frames, height, width, 3), clip by clip, as many frames as [`Slide::frames`] says. Empty
    /// without pictures.
    pub frames: &'a [u8],
    /// Samples of each clip; where they are more than a clip of the training data had, the frames that they see slide.
    pub samples: usize,
    /// (clips, any number): codes that each sound begins with.
    pub prompt: &'a [u32],
    /// How samples are drawn; groups are not.
    pub sampling: Sampling,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// Samples of each clip that are made.
    pub done: usize,
    pub total: usize,
    /// Samples of all clips a second.
    pub samples_per_second: f64,
}

/// Sounds as codes, and how fast they came.
#[derive(Debug, Clone)]
pub struct Made {
    /// One for each clip, the prompt included.
    pub codes: Vec<Vec<u32>>,
    /// Samples of all clips a second, prompts apart.
    pub samples_per_second: f64,
}

/// Samples between two ticks.
const TICK: usize = 256;

/// Makes the sounds.
///
/// # Errors
/// If frames or prompts do not fit the model, or the device fails.
pub fn sound(session: &mut Session, request: &Request, progress: &mut dyn FnMut(Tick)) -> Result<Made> {
    let Request { clips, samples, prompt, sampling, .. } = *request;
    let ends = session.model.ends;
    let slide = Slide::new(&session.model, samples);
    let frame_bytes = ends.height * ends.width * CHANNELS;
    if clips == 0 || request.frames.len() != clips * slide.frames() * frame_bytes {
        return Err(Error::failed(format!(
            "{} bytes of frames are not {clips} clips of {} x {frame_bytes}",
            request.frames.len(),
            slide.frames()
        )));
    }
    let prompted = prompt.len() / clips;
    if let Some(code) = prompt.iter().find(|&&code| code as usize >= ends.classes) {
        return Err(Error::failed(format!("the prompt holds the code {code}; there are {}", ends.classes)));
    }
    let groups = session.model.groups();
    // Samples of a step.
    let stride = if groups { session.model.config.group } else { 1 };
    let steps = samples.div_ceil(stride);
    let planned = session.stream(clips, steps.max(1))?;
    let Next { codes: shown, earlier, position, count, moment, memory, made: next } = planned.ends;
    let state = StepState::default();
    let mut made: Vec<Vec<u32>> = vec![Vec::with_capacity(steps * stride); clips];
    let mut last = vec![START; clips * stride];
    // The samples before the last one, as many as the model takes at once, the nearest first.
    let more = if earlier.is_some() { session.model.config.lags - 1 } else { 0 };
    let mut before = vec![START; clips * more];
    let began = Instant::now();
    let (mut seen, mut told) = (None, 0);
    for step in 0..steps {
        let t = step * stride;
        let (window, within) = slide.place(t);
        if let Some(memory) = memory.filter(|_| seen != Some(window)) {
            look(session, request, slide, window, (&planned.program, memory))?;
            seen = Some(window);
        }
        session.memory.write(&planned.program, shown, &last);
        if let Some(earlier) = earlier {
            session.memory.write(&planned.program, earlier, &before);
        }
        for (before, last) in before.chunks_exact_mut(more.max(1)).zip(&last) {
            before.rotate_right(1);
            before[0] = *last;
        }
        session.memory.write(&planned.program, position, &[step as u32]);
        session.memory.write(&planned.program, count, &[step as u32 + 1]);
        session.memory.write(&planned.program, moment, &[(within / stride) as u32]);
        session.run(&planned.program, &state)?;
        if t + stride > prompted {
            let rows = session.memory.read(&planned.program, next);
            if groups {
                let encoding = ends.codes.encoding();
                let coded = rows.iter().map(|&wave| u32::from(codes::encode(encoding, wave)));
                last.iter_mut().zip(coded).for_each(|(last, code)| *last = code);
            } else {
                for (clip, (last, row)) in last.iter_mut().zip(rows.chunks_exact(ends.classes)).enumerate() {
                    *last = sampling.draw(row, clip as u32, t as u32);
                }
            }
        }
        // A prompt may end within a group.
        let given = prompted.saturating_sub(t).min(stride);
        for (clip, (made, last)) in made.iter_mut().zip(last.chunks_exact_mut(stride)).enumerate() {
            if given > 0 {
                last[..given].copy_from_slice(&prompt[clip * prompted + t..][..given]);
            }
            made.extend_from_slice(last);
        }
        let done = (t + stride).min(samples);
        if done / TICK > told || done == samples {
            told = done / TICK;
            session.memory.check()?;
            let samples_per_second = (clips * done) as f64 / began.elapsed().as_secs_f64();
            progress(Tick { done, total: samples, samples_per_second });
        }
    }
    made.iter_mut().for_each(|made| made.truncate(samples));
    let fresh = clips * samples.saturating_sub(prompted);
    Ok(Made { codes: made, samples_per_second: fresh as f64 / began.elapsed().as_secs_f64() })
}

/// Encodes the frames of one window of every clip into the stream's view of them.
fn look(
    session: &mut Session,
    request: &Request,
    slide: Slide,
    window: usize,
    to: (&crate::graph::plan::Program, crate::graph::Id),
) -> Result<()> {
    let Some(encoder) = session.encoder(request.clips)? else { return Ok(()) };
    let ends = session.model.ends;
    let frame_bytes = ends.height * ends.width * CHANNELS;
    let first = |clip: usize| (clip * slide.frames() + slide.start(window)) * frame_bytes;
    let frames: Vec<u8> = (0..request.clips)
        .flat_map(|clip| &request.frames[first(clip)..][..ends.frames * frame_bytes])
        .copied()
        .collect();
    let (input, seen) = encoder.ends;
    session.memory.write(&encoder.program, input, &frames);
    session.run(&encoder.program, &StepState::default())?;
    session.memory.copy((&encoder.program, seen), to);
    session.memory.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::foley::{Head, Tokens};
    use crate::data::codes::Encoding;
    use crate::device::Device;
    use crate::graph::plan::Region;
    use crate::models::foley::{Ends, Foley};
    use crate::ops::waveform::Codes;

    const FRAME: usize = 8 * 8 * CHANNELS;

    /// Clips of 8 frames with 50 samples each, in windows that follow each other by 4 frames.
    fn session() -> Session {
        of(config::Foley { period: 128, ..config::Foley::default() })
    }

    /// The same with a group of 20 samples at a time.
    fn groups() -> Session {
        of(config::Foley { head: Head::Groups, group: 20, ..config::Foley::default() })
    }

    fn of(config: config::Foley) -> Session {
        let config = config::Foley {
            width: 16,
            heads: 2,
            encoder_layers: 1,
            decoder_layers: 1,
            tokens: Tokens::Frame,
            window: 15,
            ..config
        };
        let ends = Ends {
            height: 8,
            width: 8,
            frames: 8,
            frame_rate: (20, 1),
            samples: 400,
            sample_rate: 1000,
            classes: 256,
            codes: Codes::MuLaw,
        };
        let mut session = Session::new(Foley::new(&config, ends).unwrap(), Device::Cpu, None).unwrap();
        // Larger weights than training begins with: what is seen then shows in what is drawn.
        let (model, engine) = session.parts();
        let trained = model.parameters.trained();
        let mut weights = vec![0.0; trained + model.parameters.constant()];
        model.parameters.initialise(1, &mut weights);
        weights[..trained].iter_mut().for_each(|weight| *weight *= 3.0);
        engine.memory.set_flat(Region::Weights, 0, &weights);
        session
    }

    fn made(session: &mut Session, samples: usize, frames: &[u8]) -> Vec<u32> {
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1 };
        let request = Request { clips: 1, frames, samples, prompt: &[], sampling };
        sound(session, &request, &mut |_| {}).unwrap().codes.remove(0)
    }

    /// A film that becomes bright in its ninth frame, which the model's first window does not reach: it is seen all the
    /// same before it comes, as it would be in a clip.
    #[test]
    fn bug_what_comes_behind_a_window_was_not_seen_until_it_came() {
        let mut session = session();
        let dark = vec![0; 16 * FRAME];
        let mut bright = dark.clone();
        bright[8 * FRAME..].fill(255);
        let (dark, bright) = (made(&mut session, 800, &dark), made(&mut session, 800, &bright));
        let differs = dark.iter().zip(&bright).position(|(one, other)| one != other).unwrap();
        assert!((300..400).contains(&differs), "the first other sample is {differs}");
    }

    #[test]
    fn the_start_of_a_long_sound_is_that_of_a_short_one_and_wrong_frames_are_refused() {
        let mut session = session();
        let film: Vec<u8> = (0..16 * FRAME).map(|i| (i * 7 % 251) as u8).collect();
        let long = made(&mut session, 800, &film);
        assert_eq!(long[..300], made(&mut session, 300, &film[..8 * FRAME]));
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1 };
        let request = Request { clips: 1, frames: &film[1..], samples: 800, prompt: &[], sampling };
        assert!(sound(&mut session, &request, &mut |_| {}).is_err());
    }

    #[test]
    fn groups_are_made_from_those_before_them_and_are_cut_to_the_samples_asked_for() {
        let mut session = groups();
        let film: Vec<u8> = (0..16 * FRAME).map(|i| (i * 7 % 251) as u8).collect();
        let mut ticks = Vec::new();
        let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 1 };
        // Two clips, 19 groups and a half, a prompt that ends within its fourth group.
        let prompt: Vec<u32> = (0..2 * 70).map(|i| 60 + i * 11 % 130).collect();
        let frames = [&film[..8 * FRAME], &film[8 * FRAME..]].concat();
        let request = Request { clips: 2, frames: &frames, samples: 390, prompt: &prompt, sampling };
        let made = sound(&mut session, &request, &mut |tick| ticks.push(tick.done)).unwrap().codes;
        assert_eq!((made[0].len(), made[1].len()), (390, 390));
        assert_eq!(ticks, [260, 390]);
        assert_eq!((&made[0][..70], &made[1][..70]), (&prompt[..70], &prompt[70..]));
        assert!(made.iter().flatten().all(|&code| code < 256));
        // As one program over all groups says, given the codes that were made.
        let whole = (2, 400);
        let mut graph = session.graph();
        let traced = session.model.predict(&mut graph, whole.0, whole.1).unwrap();
        let planned = session.planned(graph, traced, Region::Work).unwrap();
        let padded: Vec<u32> = made.iter().flat_map(|clip| [&clip[..], &[START; 10]].concat()).collect();
        session.memory.write(&planned.program, planned.ends.codes, &padded);
        session.memory.write(&planned.program, planned.ends.frames.unwrap(), &frames);
        session.run(&planned.program, &StepState::default()).unwrap();
        let waves = session.memory.read(&planned.program, planned.ends.made);
        let (mut other, mut loud) = (0, 0);
        for (clip, made) in made.iter().enumerate() {
            for (t, &code) in made.iter().enumerate().skip(70) {
                let expected = codes::encode(Encoding::MuLaw8, waves[clip * 400 + t]);
                // Cached and whole sums differ in their last bits: a wave on a code's edge may fall on either side.
                assert!(code.abs_diff(u32::from(expected)) <= 1, "{t}: {code} {expected}");
                other += usize::from(code != u32::from(expected));
                loud += usize::from(code.abs_diff(START) > 20);
            }
        }
        assert!(other < 10 && loud > 100, "{other} differ, {loud} are loud");
        // Twice as long as a clip: positions and frames begin anew, and what came before stays.
        let mut alone = |samples, frames| {
            let request = Request { clips: 1, frames, samples, prompt: &prompt[..70], sampling };
            sound(&mut session, &request, &mut |_| {}).unwrap().codes.remove(0)
        };
        let (long, short) = (alone(800, &film), alone(390, &film[..8 * FRAME]));
        assert_eq!((long.len(), &long[..390]), (800, &short[..]));
    }
}
