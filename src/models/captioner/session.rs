//! A captioner on a device: its parameters, and the plans of its programs, each made once for its shape.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Cached, Captioner, Look, Purpose, Step};
use crate::Result;
use crate::config::Optimizer;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{Graph, Id};
use crate::ops::optimizer::{self, AdamW};

/// A planned program with the tensors that its caller fills and reads.
#[derive(Debug)]
pub struct Planned<T> {
    pub program: Program,
    pub ends: T,
}

/// A captioner with its memory.
#[derive(Debug)]
pub struct Session {
    pub model: Captioner,
    pub memory: Memory,
    device: Device,
    steps: HashMap<StepKey, Arc<Planned<Step>>>,
    encoders: HashMap<usize, Arc<Planned<(Id, Id)>>>,
    extenders: HashMap<(usize, usize), Arc<Planned<Cached>>>,
    lookers: HashMap<(usize, usize), Arc<Planned<Look>>>,
    update: Option<Arc<Planned<Id>>>,
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

impl Session {
    /// Places the model on a device; with an optimizer also gradients, moments and, if asked for, the average.
    ///
    /// # Errors
    /// If the device cannot be used or has too little memory.
    pub fn new(model: Captioner, device: Device, optimizer: Option<&Optimizer>) -> Result<Session> {
        let sizes = Sizes {
            trained: model.parameters.trained(),
            constant: model.parameters.constant(),
            training: optimizer.is_some(),
            average: optimizer.is_some_and(|o| o.average > 0.0),
        };
        let update = optimizer.map(|settings| {
            let mut graph = Graph::storing(device.storage());
            let segments = model.parameters.segments(settings);
            let adamw = AdamW {
                beta1: settings.beta1,
                beta2: settings.beta2,
                epsilon: settings.epsilon,
                clip: settings.clip,
                average: settings.average,
            };
            let norm = optimizer::update(&mut graph, model.parameters.trained(), adamw, &segments);
            Arc::new(Planned { program: Program::new(graph, Region::Work), ends: norm })
        });
        let memory = Memory::new(device, sizes)?;
        // Constants are there from the start; weights are drawn or loaded.
        let mut session = Session {
            model,
            memory,
            device,
            steps: HashMap::new(),
            encoders: HashMap::new(),
            extenders: HashMap::new(),
            lookers: HashMap::new(),
            update,
        };
        session.draw(0);
        Ok(session)
    }

    fn draw(&mut self, seed: u64) -> Vec<f32> {
        let parameters = &self.model.parameters;
        let mut weights = vec![0.0; parameters.trained() + parameters.constant()];
        parameters.initialise(seed, &mut weights);
        self.memory.set_flat(Region::Weights, 0, &weights);
        weights
    }

    /// Draws the initial weights from `seed`.
    pub fn initialise(&mut self, seed: u64) {
        let weights = self.draw(seed);
        if self.memory.bytes(Region::Average) > 0 {
            self.memory.set_flat(Region::Average, 0, &weights[..self.model.parameters.trained()]);
        }
    }

    pub fn device(&self) -> Device {
        self.device
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
        let mut graph = Graph::storing(self.device.storage());
        let ends = self.model.step(&mut graph, batch, words, purpose)?;
        let planned = self.planned(graph, ends, Region::Work)?;
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
        let mut graph = Graph::storing(self.device.storage());
        let ends = self.model.encode(&mut graph, batch)?;
        let planned = self.planned(graph, ends, Region::Work)?;
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
        let mut graph = Graph::storing(self.device.storage());
        let ends = self.model.extend(&mut graph, batch, beams)?;
        let planned = self.planned(graph, ends, Region::Decode)?;
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
        let mut graph = Graph::storing(self.device.storage());
        let ends = self.model.look(&mut graph, batch, words)?;
        let planned = self.planned(graph, ends, Region::Work)?;
        self.lookers.insert((batch, words), planned.clone());
        Ok(planned)
    }

    fn planned<T>(&mut self, graph: Graph, ends: T, region: Region) -> Result<Arc<Planned<T>>> {
        let program = Program::new(graph, region);
        self.memory.reserve(&program)?;
        Ok(Arc::new(Planned { program, ends }))
    }

    /// Exchanges the weights with their average, for evaluation and back; nothing where there is no average.
    pub fn swap_average(&mut self) {
        self.memory.swap(Region::Weights, Region::Average);
    }

    /// Forgets the gradient: for a step that is skipped.
    pub fn clear_gradient(&mut self) {
        self.memory.clear(Region::Gradients);
    }

    /// # Errors
    /// If the device fails.
    pub fn run(&mut self, program: &Program, state: &StepState) -> Result<()> {
        self.device.run(program, &mut self.memory, state)
    }

    /// Clips the gradient, updates the weights and clears the gradient. Returns the gradient's norm; where that is
    /// not finite the weights are as before.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If the session was made without an optimizer.
    pub fn update(&mut self, state: &StepState) -> Result<f32> {
        let update = self.update.clone().expect("a session that trains");
        self.memory.reserve(&update.program)?;
        self.device.run(&update.program, &mut self.memory, state)?;
        let norm = self.memory.read(&update.program, update.ends)[0];
        self.memory.check()?;
        Ok(norm)
    }
}
