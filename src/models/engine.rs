//! What every model needs of a device: its memory, the optimizer's update, and plans that are made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::watch::{Timed, Watch};
use crate::Result;
use crate::config::Optimizer;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{Graph, Id};
use crate::nn::Parameters;
use crate::ops::guard::Words;
use crate::ops::optimizer::{self, AdamW, Segment};
use crate::train::guard::LossGuard;

/// A planned program with the tensors that its caller fills and reads.
#[derive(Debug)]
pub struct Planned<T> {
    pub program: Arc<Program>,
    pub ends: T,
}

/// A training pass: its program, and the tensors whose first elements add up to its share of the loss.
#[derive(Debug, Clone)]
pub struct Pass {
    pub program: Arc<Program>,
    pub losses: Vec<Id>,
}

impl Pass {
    /// This pass's share of the loss, after a run.
    pub fn loss(&self, memory: &Memory) -> f32 {
        self.losses.iter().map(|&sums| memory.read(&self.program, sums)[0]).sum()
    }
}

/// Plans that are made once, each for its shape.
#[derive(Debug)]
pub struct Plans<K, T>(HashMap<K, Arc<Planned<T>>>);

impl<K, T> Default for Plans<K, T> {
    fn default() -> Self {
        Plans(HashMap::new())
    }
}

impl<K: Eq + Hash, T> Plans<K, T> {
    /// The plan of this shape: the one that is known, or what `trace` gives.
    ///
    /// # Errors
    /// If the shapes do not fit the model, or the device has too little memory.
    pub fn of(
        &mut self,
        key: K,
        engine: &mut Engine,
        region: Region,
        trace: impl FnOnce(&mut Graph) -> Result<T>,
    ) -> Result<Arc<Planned<T>>> {
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let mut graph = engine.graph();
        let ends = trace(&mut graph)?;
        let planned = engine.planned(graph, ends, region)?;
        self.0.insert(key, planned.clone());
        Ok(planned)
    }
}

/// The graph of the optimizer's update of `trained` parameters, and the gradient's norm in it. `guarded`: the device
/// judges the step by itself.
pub fn update(
    device: Device,
    trained: usize,
    settings: &Optimizer,
    segments: &[Segment],
    guarded: bool,
) -> (Graph, Id) {
    let mut graph = Graph::storing(device.storage());
    let adamw = AdamW {
        beta1: settings.beta1,
        beta2: settings.beta2,
        epsilon: settings.epsilon,
        clip: settings.clip,
        average: settings.average,
    };
    let norm = optimizer::update(&mut graph, trained, adamw, segments, guarded);
    (graph, norm)
}

/// A model's place on a device.
#[derive(Debug)]
pub struct Engine {
    pub memory: Memory,
    device: Device,
    trained: usize,
    update: Option<Arc<Planned<Id>>>,
    /// The update with the guard before it, for steps that are queued.
    guarded: Option<Arc<Program>>,
    watch: Option<Watch>,
}

impl Engine {
    /// Places parameters on a device; with an optimizer also gradients, moments and, if asked for, the average.
    ///
    /// # Errors
    /// If the device cannot be used or has too little memory.
    pub fn new(parameters: &Parameters, device: Device, optimizer: Option<&Optimizer>) -> Result<Engine> {
        let sizes = Sizes {
            trained: parameters.trained(),
            constant: parameters.constant(),
            training: optimizer.is_some(),
            average: optimizer.is_some_and(|o| o.average > 0.0),
        };
        let trace = |settings: &Optimizer, guarded: bool| {
            let segments = parameters.segments(settings);
            let (graph, norm) = update(device, parameters.trained(), settings, &segments, guarded);
            Planned { program: Arc::new(Program::new(graph, Region::Work)), ends: norm }
        };
        let memory = Memory::new(device, sizes)?;
        let mut engine = Engine {
            memory,
            device,
            trained: parameters.trained(),
            update: optimizer.map(|settings| Arc::new(trace(settings, false))),
            guarded: optimizer.map(|settings| trace(settings, true).program),
            watch: None,
        };
        // Constants are there from the start; weights are drawn or loaded.
        engine.draw(parameters, 0);
        Ok(engine)
    }

    fn draw(&mut self, parameters: &Parameters, seed: u64) -> Vec<f32> {
        let mut weights = vec![0.0; parameters.trained() + parameters.constant()];
        parameters.initialise(seed, &mut weights);
        self.memory.set_flat(Region::Weights, 0, &weights);
        weights
    }

    /// Draws the initial weights from `seed`.
    pub fn initialise(&mut self, parameters: &Parameters, seed: u64) {
        let weights = self.draw(parameters, seed);
        if self.memory.bytes(Region::Average) > 0 {
            self.memory.set_flat(Region::Average, 0, &weights[..self.trained]);
        }
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// An empty graph in the device's storage type.
    pub fn graph(&self) -> Graph {
        Graph::storing(self.device.storage())
    }

    /// Plans a traced graph and makes room for it.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn planned<T>(&mut self, graph: Graph, ends: T, region: Region) -> Result<Arc<Planned<T>>> {
        let program = Arc::new(Program::new(graph, region));
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
        match &mut self.watch {
            Some(watch) => watch.run(self.device, program, &mut self.memory, state),
            None => self.device.run(program, &mut self.memory, state),
        }
    }

    /// Puts a clock around every operation from now on; gives what an earlier one saw.
    pub fn watch(&mut self) -> Vec<Timed> {
        self.watch.replace(Watch::new()).map_or_else(Vec::new, |watch| watch.timed)
    }

    /// Whether there is a clock around every operation.
    pub fn watches(&self) -> bool {
        self.watch.is_some()
    }

    /// Clips the gradient, updates the weights and clears the gradient. Returns the gradient's norm; where that is
    /// not finite the weights are as before.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If it was made without an optimizer.
    pub fn update(&mut self, state: &StepState) -> Result<f32> {
        let update = self.update.clone().expect("an engine that trains");
        self.memory.reserve(&update.program)?;
        self.run(&update.program, state)?;
        let norm = self.memory.read(&update.program, update.ends)[0];
        self.memory.check()?;
        Ok(norm)
    }

    /// Tells the device's guard what the host's knows, before steps are queued.
    ///
    /// # Errors
    /// If the device fails.
    pub fn set_guard(&mut self, guard: &LossGuard, updates: u64) -> Result<()> {
        let mut words = Words { updates, ..Words::default() };
        guard.to_words(&mut words);
        self.memory.set_guard(&words);
        self.memory.check()
    }

    /// Makes room for a step that is to be queued: its passes must have been planned, and none of their inputs written.
    ///
    /// # Errors
    /// If the device has too little memory.
    ///
    /// # Panics
    /// If it was made without an optimizer.
    pub fn begin_step(&mut self) -> Result<()> {
        let update = self.guarded.clone().expect("an engine that trains");
        self.memory.reserve(&update)
    }

    /// Queues a whole step, whose passes were begun and written ([`Memory::begin_pass`]): forward, backward, the guard,
    /// clip and update. The device decides by itself whether the step is used.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// As [`Engine::begin_step`].
    pub fn queue(&mut self, passes: &[Arc<Program>]) -> Result<()> {
        let update = self.guarded.clone().expect("an engine that trains");
        self.device.queue(passes, &update, &mut self.memory)
    }
}
