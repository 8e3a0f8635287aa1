//! The captioner's programs on a device, each planned once for its shape.

use std::sync::Arc;

use super::{Cached, Captioner, Look, Purpose, Step};
use crate::Result;
use crate::graph::Id;
use crate::graph::plan::Region;
use crate::models::engine::{Planned, Plans};
use crate::models::session::{self, Placeable};
use crate::nn::Parameters;

/// A captioner with its memory.
pub type Session = session::Session<Captioner>;

/// The captioner's plans.
#[derive(Debug, Default)]
pub struct CaptionerPlans {
    steps: Plans<StepKey, Step>,
    encoders: Plans<usize, (Id, Id)>,
    extenders: Plans<(usize, usize), Cached>,
    lookers: Plans<(usize, usize), Look>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct StepKey {
    batch: usize,
    words: usize,
    train: bool,
    both_ways: bool,
    /// Bits of the label smoothing, so that the key can be hashed.
    smoothing: u32,
}

impl Placeable for Captioner {
    type Plans = CaptionerPlans;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl Session {
    /// The plan of a training or evaluation step.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn step(&mut self, batch: usize, words: usize, purpose: Purpose) -> Result<Arc<Planned<Step>>> {
        let Purpose { train, both_ways, label_smoothing } = purpose;
        let key = StepKey { batch, words, train, both_ways, smoothing: label_smoothing.to_bits() };
        let model = &self.model;
        self.plans.steps.of(key, &mut self.engine, Region::Work, |g| model.step(g, batch, words, purpose))
    }

    /// The plan of the encoder alone: pixels in, the decoder's view of them out.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn encoder(&mut self, batch: usize) -> Result<Arc<Planned<(Id, Id)>>> {
        let model = &self.model;
        self.plans.encoders.of(batch, &mut self.engine, Region::Work, |g| model.encode(g, batch))
    }

    /// The plan of one decoding step. Its caches live in its inputs, so nothing else may run between two steps.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn extender(&mut self, batch: usize, beams: usize) -> Result<Arc<Planned<Cached>>> {
        let (model, key) = (&self.model, (batch, beams));
        self.plans.extenders.of(key, &mut self.engine, Region::Decode, |g| model.extend(g, batch, beams))
    }

    /// The plan of looking at what the last layer's heads attend to.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn looker(&mut self, batch: usize, words: usize) -> Result<Arc<Planned<Look>>> {
        let (model, key) = (&self.model, (batch, words));
        self.plans.lookers.of(key, &mut self.engine, Region::Work, |g| model.look(g, batch, words))
    }
}
