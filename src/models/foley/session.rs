//! The foley model's programs on a device, each planned once for its shape.

use std::sync::Arc;

use super::streaming::Next;
use super::{Foley, Purpose, Step};
use crate::graph::Id;
use crate::graph::plan::Region;
use crate::models::engine::{Planned, Plans};
use crate::models::session::{self, Placeable};
use crate::nn::Parameters;
use crate::{Error, Result};

/// A foley model with its memory.
pub type Session = session::Session<Foley>;

/// Frames, and the decoder's view of them.
type EncoderPlan = Arc<Planned<(Id, Id)>>;

/// The foley model's plans.
#[derive(Debug, Default)]
pub struct FoleyPlans {
    steps: Plans<StepKey, Step>,
    encoders: Plans<usize, (Id, Id)>,
    streams: Plans<(usize, usize), Next>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct StepKey {
    batch: usize,
    samples: usize,
    train: bool,
    /// The terms of waveforms, and whether clips are joined.
    waves: [bool; 3],
    /// Bits of the label smoothing, so that the key can be hashed.
    smoothing: u32,
}

impl Placeable for Foley {
    type Plans = FoleyPlans;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl Session {
    /// The plan of a training or evaluation step.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn step(&mut self, batch: usize, samples: usize, purpose: Purpose) -> Result<Arc<Planned<Step>>> {
        let Purpose { train, label_smoothing, spectrogram, multi_resolution, joined } = purpose;
        let waves = [spectrogram, multi_resolution, joined];
        let key = StepKey { batch, samples, train, waves, smoothing: label_smoothing.to_bits() };
        let model = &self.model;
        self.plans.steps.of(key, &mut self.engine, Region::Work, |g| model.step(g, batch, samples, purpose))
    }

    /// The plan of the encoder alone: frames in, the decoder's view of them out; `None` in a set without pictures.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn encoder(&mut self, batch: usize) -> Result<Option<EncoderPlan>> {
        let model = &self.model;
        if model.tokens() == 0 {
            return Ok(None);
        }
        let encode =
            |g: &mut _| model.encode(g, batch)?.ok_or_else(|| Error::failed("no layer looks at the frames"));
        self.plans.encoders.of(batch, &mut self.engine, Region::Work, encode).map(Some)
    }

    /// The plan of one step more of `batch` clips, in sounds of up to `most` steps: samples, or groups of them. Its rings
    /// live in its inputs, so nothing else of [`Region::Decode`] may run between two steps.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn stream(&mut self, batch: usize, most: usize) -> Result<Arc<Planned<Next>>> {
        let (model, key) = (&self.model, (batch, most));
        self.plans.streams.of(key, &mut self.engine, Region::Decode, |g| model.extend(g, batch, most))
    }
}
