//! A foley model on a device: its parameters, and the plans of its programs, each made once for its shape.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::streaming::Next;
use super::{Foley, Purpose, Step};
use crate::Result;
use crate::config::Optimizer;
use crate::device::Device;
use crate::graph::Id;
use crate::graph::plan::Region;
use crate::models::engine::{Engine, Planned};

/// Frames, and the decoder's view of them.
type EncoderPlan = Arc<Planned<(Id, Id)>>;

/// A foley model with its memory. What is common to all models is the [`Engine`]'s, reached through it.
#[derive(Debug)]
pub struct Session {
    pub model: Foley,
    engine: Engine,
    steps: HashMap<StepKey, Arc<Planned<Step>>>,
    encoders: HashMap<usize, Option<EncoderPlan>>,
    streams: HashMap<(usize, usize), Arc<Planned<Next>>>,
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

impl Deref for Session {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Session {
    /// Places the model on a device; with an optimizer also what training needs.
    ///
    /// # Errors
    /// If the device cannot be used or has too little memory.
    pub fn new(model: Foley, device: Device, optimizer: Option<&Optimizer>) -> Result<Session> {
        let engine = Engine::new(&model.parameters, device, optimizer)?;
        Ok(Session {
            model,
            engine,
            steps: HashMap::new(),
            encoders: HashMap::new(),
            streams: HashMap::new(),
        })
    }

    /// Draws the initial weights from `seed`.
    pub fn initialise(&mut self, seed: u64) {
        self.engine.initialise(&self.model.parameters, seed);
    }

    /// The model and the engine at once.
    pub fn parts(&mut self) -> (&Foley, &mut Engine) {
        (&self.model, &mut self.engine)
    }

    /// The plan of a training or evaluation step.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn step(&mut self, batch: usize, samples: usize, purpose: Purpose) -> Result<Arc<Planned<Step>>> {
        let Purpose { train, label_smoothing, spectrogram, multi_resolution, joined } = purpose;
        let waves = [spectrogram, multi_resolution, joined];
        let key = StepKey { batch, samples, train, waves, smoothing: label_smoothing.to_bits() };
        if let Some(step) = self.steps.get(&key) {
            return Ok(step.clone());
        }
        let mut graph = self.engine.graph();
        let ends = self.model.step(&mut graph, batch, samples, purpose)?;
        let planned = self.engine.planned(graph, ends, Region::Work)?;
        self.steps.insert(key, planned.clone());
        Ok(planned)
    }

    /// The plan of the encoder alone: frames in, the decoder's view of them out; `None` in a set without pictures.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn encoder(&mut self, batch: usize) -> Result<Option<EncoderPlan>> {
        if let Some(encoder) = self.encoders.get(&batch) {
            return Ok(encoder.clone());
        }
        let mut graph = self.engine.graph();
        let planned = match self.model.encode(&mut graph, batch)? {
            Some(ends) => Some(self.engine.planned(graph, ends, Region::Work)?),
            None => None,
        };
        self.encoders.insert(batch, planned.clone());
        Ok(planned)
    }

    /// The plan of one sample more of `batch` clips, in sounds of up to `most` samples. Its rings live in its inputs, so
    /// nothing else of [`Region::Decode`] may run between two steps.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn stream(&mut self, batch: usize, most: usize) -> Result<Arc<Planned<Next>>> {
        if let Some(next) = self.streams.get(&(batch, most)) {
            return Ok(next.clone());
        }
        let mut graph = self.engine.graph();
        let ends = self.model.extend(&mut graph, batch, most)?;
        let planned = self.engine.planned(graph, ends, Region::Decode)?;
        self.streams.insert((batch, most), planned.clone());
        Ok(planned)
    }
}
