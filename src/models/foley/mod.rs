//! Foley: a Transformer that sees the frames of a silent clip and makes its sound, sample by sample.
//!
//! Tokens are rows: (batch * frames * patches, width) in the encoder, (batch * samples, width) in the decoder, whose
//! self-attention is sparse (Child 2019, Beltagy 2020) and whose view of the frames is a band in time. A set without
//! pictures has no encoder.

mod decoder;
mod encoder;
mod losses;
pub mod positions;
mod session;
#[cfg(test)]
mod step_tests;
mod streaming;
#[cfg(test)]
mod streaming_tests;
#[cfg(test)]
mod tests;
mod waiting;

use crate::config::foley::Head;
use crate::config::{self, SoundLoss};
use crate::graph::{DType, Graph, Id};
use crate::nn::{Parameters, Sites};
use crate::ops::guard;
use crate::ops::patches::CHANNELS;
use crate::ops::waveform::Codes;
use crate::ops::waveform::decoded::groups_before;
use crate::{Error, Result};

pub use session::Session;

use decoder::{Decoder, Seen};
use encoder::Encoder;
pub use losses::Losses;
pub use streaming::Next;

/// The decoder's input before the first sample: silence in mu-law.
pub const START: u32 = 128;
/// Stands in the decoder's input for a sample that it is not to see, where embeddings are not tied: one behind the codes.
pub fn mask(classes: usize) -> u32 {
    classes as u32
}

/// The codes before the last one, `lags - 1` for each sample, the nearest first: from `codes`, (batch, samples) as a
/// [`Step`]'s, to (batch, samples, lags - 1).
pub fn earlier(codes: &[u32], samples: usize, lags: usize) -> Vec<u32> {
    let mut earlier = Vec::with_capacity(codes.len() * (lags - 1));
    for clip in codes.chunks(samples.max(1)) {
        for t in 0..clip.len() {
            earlier.extend((1..lags).map(|lag| if lag <= t { clip[t - lag] } else { START }));
        }
    }
    earlier
}

/// A target that is none: the loss leaves it out.
pub const IGNORED: u32 = u32::MAX;

/// What the data says about the model's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Pixels of a frame; 0 without pictures.
    pub height: usize,
    pub width: usize,
    /// Of a clip; 0 without pictures.
    pub frames: usize,
    /// Frames a second, as a fraction.
    pub frame_rate: (u32, u32),
    /// Of a clip.
    pub samples: usize,
    /// Samples a second.
    pub sample_rate: u32,
    /// Codes that a sample can be.
    pub classes: usize,
    /// What the codes stand for.
    pub codes: Codes,
}

impl Ends {
    /// The frame rate, where there are pictures.
    fn pictures(&self) -> Option<(u32, u32)> {
        (self.frames > 0).then_some(self.frame_rate)
    }
}

/// The model: its parameters, and how to trace it.
#[derive(Debug)]
pub struct Foley {
    pub config: config::Foley,
    pub ends: Ends,
    pub parameters: Parameters,
    encoder: Option<Encoder>,
    decoder: Decoder,
}

/// The tensors of a training or evaluation step that the caller fills and reads.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// (batch * frames, height, width, 3) u8; none in a set without pictures.
    pub frames: Option<Id>,
    /// (batch, samples) u32: [`START`], then the samples but for the last. Groups are made from the targets before them.
    pub codes: Id,
    /// (batch * samples, lags - 1) u32: [`earlier`] of the codes, where `model.lags` is above 1.
    pub earlier: Option<Id>,
    /// (batch * samples) u32: the samples, or [`IGNORED`].
    pub targets: Id,
    /// (1): one over the number of targets in the whole step, times the weight of the cross-entropy.
    pub scale: Id,
    pub losses: Losses,
}

/// The tensors of whole sequences: as a [`Step`]'s, and what the model makes of them.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    pub frames: Option<Id>,
    /// With `head = "groups"` the samples themselves.
    pub codes: Id,
    pub earlier: Option<Id>,
    /// The logits (batch * samples, classes) or the waveform of groups (batch * groups, group).
    pub made: Id,
}

/// What a step is traced for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purpose {
    /// Dropout and a backward pass.
    pub train: bool,
    pub label_smoothing: f32,
    /// Which terms of waveforms there are.
    pub spectrogram: bool,
    pub multi_resolution: bool,
    /// The spectrogram term joins the clips of a batch into one signal.
    pub joined: bool,
}

impl Purpose {
    /// Training with these losses.
    pub fn training(loss: &SoundLoss) -> Purpose {
        Purpose {
            train: true,
            label_smoothing: loss.label_smoothing,
            spectrogram: loss.spectrogram > 0.0,
            multi_resolution: loss.multi_resolution > 0.0,
            joined: loss.joined,
        }
    }

    /// Held-out samples in nats, or groups by their spectrogram.
    pub fn evaluation(head: Head) -> Purpose {
        let spectrogram = head == Head::Groups;
        Purpose { train: false, label_smoothing: 0.0, spectrogram, multi_resolution: false, joined: false }
    }
}

impl Foley {
    /// Registers the parameters.
    ///
    /// # Errors
    /// If the frames cannot be cut into the patches, a pattern is impossible, or the widths do not fit.
    pub fn new(config: &config::Foley, ends: Ends) -> Result<Foley> {
        let config = config.clone();
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(Error::usage(problems.join("; ")));
        }
        check(ends)?;
        if config.head == Head::Groups && !ends.samples.is_multiple_of(config.group) {
            return Err(Error::usage(format!(
                "model.group is {}, but clips of {} samples are no whole groups; choose one that divides them",
                config.group, ends.samples
            )));
        }
        let mut parameters = Parameters::default();
        let encoder = (ends.frames > 0).then(|| Encoder::new(&mut parameters, &config, ends)).transpose()?;
        let tokens = encoder.as_ref().map_or(0, Encoder::tokens);
        let decoder = Decoder::new(&mut parameters, &config, ends, tokens)?;
        parameters.lay_out();
        Ok(Foley { config, ends, parameters, encoder, decoder })
    }

    /// Tokens that the encoder makes of a clip's frames; 0 without pictures.
    pub fn tokens(&self) -> usize {
        self.encoder.as_ref().map_or(0, Encoder::tokens)
    }

    /// Columns of the decoder's view of the frames: keys and values of all layers that look at them.
    pub fn memory_width(&self) -> usize {
        self.decoder.memory_width(self.config.width)
    }

    /// Traces a whole step: the loss of `samples` samples, from the first of each clip on, and with `purpose.train` its
    /// gradient.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn step(&self, g: &mut Graph, batch: usize, samples: usize, purpose: Purpose) -> Result<Step> {
        let mut sites = Sites::new(purpose.train);
        let codes = g.input("codes", &[batch, samples], DType::U32);
        let targets = g.input("targets", &[batch * samples], DType::U32);
        let scale = g.input("loss scale", &[1], DType::F32);
        let earlier = self.earlier(g, batch * samples);
        let shown = if self.groups() { targets } else { codes };
        let (frames, made) = self.made(g, (shown, earlier), batch, samples, &mut sites)?;
        let losses = self.losses(g, made, targets, scale, samples, purpose)?;
        if purpose.train {
            g.differentiate()?;
            guard::tally(g, &losses.terms());
        }
        Ok(Step { frames, codes, earlier, targets, scale, losses })
    }

    /// The input of the codes before the last one of `rows` samples.
    fn earlier(&self, g: &mut Graph, rows: usize) -> Option<Id> {
        let more = self.config.lags - 1;
        (more > 0 && !self.groups()).then(|| g.input("earlier codes", &[rows, more], DType::U32))
    }

    /// Traces whole sequences.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn predict(&self, g: &mut Graph, batch: usize, samples: usize) -> Result<Whole> {
        let codes = g.input("codes", &[batch, samples], DType::U32);
        let earlier = self.earlier(g, batch * samples);
        let (frames, made) = self.made(g, (codes, earlier), batch, samples, &mut Sites::default())?;
        g.keep(made);
        Ok(Whole { frames, codes, earlier, made })
    }

    /// Samples after which their positions come again; groups of them, where those are made.
    pub fn period(&self) -> usize {
        self.parameters.shape(self.decoder.positions)[0]
    }

    /// Whether it makes groups of samples, not codes.
    pub fn groups(&self) -> bool {
        self.config.head == Head::Groups
    }

    /// From codes to what the model makes of them and of the frames.
    fn made(
        &self,
        g: &mut Graph,
        (codes, earlier): (Id, Option<Id>),
        batch: usize,
        samples: usize,
        sites: &mut Sites,
    ) -> Result<(Option<Id>, Id)> {
        let (p, config) = (&self.parameters, &self.config);
        let (frames, memory) = self.seen(g, batch, sites)?;
        let seen = Seen { memory, batch, tokens: self.tokens() };
        let shown = match self.groups() {
            true => groups_before(g, codes, samples, config.group, self.ends.codes)?,
            false => codes,
        };
        let shown = (shown, earlier, config.sequence(samples));
        let hidden = g.scope("decoder", |g| self.decoder.trace(g, p, config, shown, seen, sites))?;
        Ok((frames, self.decoder.leave(g, p, hidden)?))
    }

    /// Traces the encoder alone: returns frames, and the decoder's view of them (batch * tokens, memory width); `None`
    /// in a set without pictures.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn encode(&self, g: &mut Graph, batch: usize) -> Result<Option<(Id, Id)>> {
        let (frames, memory) = self.seen(g, batch, &mut Sites::default())?;
        let ends = frames.zip(memory);
        if let Some((_, memory)) = ends {
            g.keep(memory);
        }
        Ok(ends)
    }

    /// The frames as an input, and what the decoder sees of them.
    fn seen(&self, g: &mut Graph, batch: usize, sites: &mut Sites) -> Result<(Option<Id>, Option<Id>)> {
        let Some(encoder) = &self.encoder else { return Ok((None, None)) };
        let Ends { height, width, frames, .. } = self.ends;
        let frames = g.input("frames", &[batch * frames, height, width, CHANNELS], DType::U8);
        let p = &self.parameters;
        let features = g.scope("encoder", |g| encoder.trace(g, p, &self.config, frames, batch, sites))?;
        let memory = g.scope("decoder", |g| self.decoder.memory(g, p, features))?;
        Ok((Some(frames), memory))
    }
}

fn check(ends: Ends) -> Result<()> {
    let pictures = ends.frames > 0;
    let broken = if ends.samples == 0 || ends.sample_rate == 0 {
        "clips without a sample"
    } else if ends.classes <= START as usize {
        "fewer codes than the start token needs"
    } else if pictures && (ends.height == 0 || ends.width == 0) {
        "frames without a pixel"
    } else if pictures && (ends.frame_rate.0 == 0 || ends.frame_rate.1 == 0) {
        "frames without a rate"
    } else {
        return Ok(());
    };
    Err(Error::failed(format!("the data has {broken}: {ends:?}")))
}
