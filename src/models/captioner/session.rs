//! A captioner on a device: its parameters, and the plans of its programs, each made once for its shape.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{Cached, Captioner, Look, Purpose, Step};
use crate::Result;
use crate::config::Optimizer;
use crate::device::Device;
use crate::graph::Id;
use crate::graph::plan::Region;
use crate::models::engine::{Engine, Planned};

/// A captioner with its memory. What is common to all models is the [`Engine`]'s, reached through it.
#[derive(Debug)]
pub struct Session {
    pub model: Captioner,
    engine: Engine,
    steps: HashMap<StepKey, Arc<Planned<Step>>>,
    encoders: HashMap<usize, Arc<Planned<(Id, Id)>>>,
    extenders: HashMap<(usize, usize), Arc<Planned<Cached>>>,
    lookers: HashMap<(usize, usize), Arc<Planned<Look>>>,
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
    pub fn new(model: Captioner, device: Device, optimizer: Option<&Optimizer>) -> Result<Session> {
        let engine = Engine::new(&model.parameters, device, optimizer)?;
        Ok(Session {
            model,
            engine,
            steps: HashMap::new(),
            encoders: HashMap::new(),
            extenders: HashMap::new(),
            lookers: HashMap::new(),
        })
    }

    /// Draws the initial weights from `seed`.
    pub fn initialise(&mut self, seed: u64) {
        self.engine.initialise(&self.model.parameters, seed);
    }

    /// The model and the engine at once.
    pub fn parts(&mut self) -> (&Captioner, &mut Engine) {
        (&self.model, &mut self.engine)
    }

    /// The plan of a training or evaluation step.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn step(&mut self, batch: usize, words: usize, purpose: Purpose) -> Result<Arc<Planned<Step>>> {
        let Purpose { train, both_ways, label_smoothing } = purpose;
        let key = StepKey { batch, words, train, both_ways, smoothing: label_smoothing.to_bits() };
        if let Some(step) = self.steps.get(&key) {
            return Ok(step.clone());
        }
        let mut graph = self.engine.graph();
        let ends = self.model.step(&mut graph, batch, words, purpose)?;
        let planned = self.engine.planned(graph, ends, Region::Work)?;
        self.steps.insert(key, planned.clone());
        Ok(planned)
    }

    /// The plan of the encoder alone: pixels in, the decoder's view of them out.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn encoder(&mut self, batch: usize) -> Result<Arc<Planned<(Id, Id)>>> {
        if let Some(encoder) = self.encoders.get(&batch) {
            return Ok(encoder.clone());
        }
        let mut graph = self.engine.graph();
        let ends = self.model.encode(&mut graph, batch)?;
        let planned = self.engine.planned(graph, ends, Region::Work)?;
        self.encoders.insert(batch, planned.clone());
        Ok(planned)
    }

    /// The plan of one decoding step. Its caches live in its inputs, so nothing else may run between two steps.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn extender(&mut self, batch: usize, beams: usize) -> Result<Arc<Planned<Cached>>> {
        if let Some(extender) = self.extenders.get(&(batch, beams)) {
            return Ok(extender.clone());
        }
        let mut graph = self.engine.graph();
        let ends = self.model.extend(&mut graph, batch, beams)?;
        let planned = self.engine.planned(graph, ends, Region::Decode)?;
        self.extenders.insert((batch, beams), planned.clone());
        Ok(planned)
    }

    /// The plan of looking at what the last layer's heads attend to.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn looker(&mut self, batch: usize, words: usize) -> Result<Arc<Planned<Look>>> {
        if let Some(looker) = self.lookers.get(&(batch, words)) {
            return Ok(looker.clone());
        }
        let mut graph = self.engine.graph();
        let ends = self.model.look(&mut graph, batch, words)?;
        let planned = self.engine.planned(graph, ends, Region::Work)?;
        self.lookers.insert((batch, words), planned.clone());
        Ok(planned)
    }
}
