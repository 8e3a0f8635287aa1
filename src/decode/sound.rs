//! Sound, sample by sample: many clips side by side, from rings that do not grow with the sound.

use std::time::Instant;

use super::sampling::Sampling;
use crate::device::StepState;
use crate::models::foley::{Next, START, Session};
use crate::{Error, Result};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub clips: usize,
    /// Of each clip: (clips * windows * frames, height, width, 3), clip by clip; a window is as many frames as a clip of
    /// the training data had. Empty without pictures.
    pub frames: &'a [u8],
    /// Samples of each clip; beyond the first window, the frames of the next ones are seen.
    pub samples: usize,
    /// (clips, any number): codes that each sound begins with.
    pub prompt: &'a [u32],
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
    let windows = samples.div_ceil(ends.samples).max(1);
    let frame_bytes = ends.frames * ends.height * ends.width * crate::ops::patches::CHANNELS;
    if clips == 0 || request.frames.len() != clips * windows * frame_bytes {
        return Err(Error::failed(format!(
            "{} bytes of frames are not {clips} clips of {windows} x {frame_bytes}",
            request.frames.len()
        )));
    }
    let prompted = prompt.len() / clips;
    if let Some(code) = prompt.iter().find(|&&code| code as usize >= ends.classes) {
        return Err(Error::failed(format!("the prompt holds the code {code}; there are {}", ends.classes)));
    }
    let planned = session.stream(clips, samples.max(1))?;
    let Next { codes, position, count, moment, memory, logits } = planned.ends;
    let state = StepState::default();
    let mut made: Vec<Vec<u32>> = vec![Vec::with_capacity(samples); clips];
    let mut last = vec![START; clips];
    let began = Instant::now();
    for t in 0..samples {
        let (window, within) = (t / ends.samples, t % ends.samples);
        if let Some(memory) = memory.filter(|_| within == 0) {
            look(session, request, (window, windows), frame_bytes, (&planned.program, memory))?;
        }
        session.memory.write(&planned.program, codes, &last);
        session.memory.write(&planned.program, position, &[t as u32]);
        session.memory.write(&planned.program, count, &[t as u32 + 1]);
        session.memory.write(&planned.program, moment, &[within as u32]);
        session.run(&planned.program, &state)?;
        if t < prompted {
            for (clip, last) in last.iter_mut().enumerate() {
                *last = prompt[clip * prompted + t];
            }
        } else {
            let rows = session.memory.read(&planned.program, logits);
            for (clip, (last, row)) in last.iter_mut().zip(rows.chunks_exact(ends.classes)).enumerate() {
                *last = sampling.draw(row, clip as u32, t as u32);
            }
        }
        for (made, code) in made.iter_mut().zip(&last) {
            made.push(*code);
        }
        if (t + 1).is_multiple_of(TICK) || t + 1 == samples {
            session.memory.check()?;
            let samples_per_second = (clips * (t + 1)) as f64 / began.elapsed().as_secs_f64();
            progress(Tick { done: t + 1, total: samples, samples_per_second });
        }
    }
    let fresh = clips * samples.saturating_sub(prompted);
    Ok(Made { codes: made, samples_per_second: fresh as f64 / began.elapsed().as_secs_f64() })
}

/// Encodes the frames of one window of every clip into the stream's view of them.
fn look(
    session: &mut Session,
    request: &Request,
    (window, windows): (usize, usize),
    frame_bytes: usize,
    to: (&crate::graph::plan::Program, crate::graph::Id),
) -> Result<()> {
    let Some(encoder) = session.encoder(request.clips)? else { return Ok(()) };
    let frames: Vec<u8> = (0..request.clips)
        .flat_map(|clip| &request.frames[(clip * windows + window) * frame_bytes..][..frame_bytes])
        .copied()
        .collect();
    let (input, seen) = encoder.ends;
    session.memory.write(&encoder.program, input, &frames);
    session.run(&encoder.program, &StepState::default())?;
    session.memory.copy((&encoder.program, seen), to);
    session.memory.check()
}
