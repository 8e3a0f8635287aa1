//! A model on a device, with the plans of its programs.

use std::ops::{Deref, DerefMut};

use super::engine::Engine;
use crate::Result;
use crate::config::Optimizer;
use crate::device::Device;
use crate::nn::Parameters;

/// What can be placed on a device.
pub trait Placeable {
    /// The plans of its programs, each made once for its shape.
    type Plans: Default + std::fmt::Debug;

    fn parameters(&self) -> &Parameters;
}

/// A model with its memory. What is common to all models is the [`Engine`]'s, reached through it.
#[derive(Debug)]
pub struct Session<M: Placeable> {
    pub model: M,
    pub(super) engine: Engine,
    pub(super) plans: M::Plans,
}

impl<M: Placeable> Deref for Session<M> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl<M: Placeable> DerefMut for Session<M> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl<M: Placeable> Session<M> {
    /// Places the model on a device; with an optimizer also what training needs.
    ///
    /// # Errors
    /// If the device cannot be used or has too little memory.
    pub fn new(model: M, device: Device, optimizer: Option<&Optimizer>) -> Result<Session<M>> {
        let engine = Engine::new(model.parameters(), device, optimizer)?;
        Ok(Session { model, engine, plans: M::Plans::default() })
    }

    /// Draws the initial weights from `seed`.
    pub fn initialise(&mut self, seed: u64) {
        self.engine.initialise(self.model.parameters(), seed);
    }

    /// The model and the engine at once.
    pub fn parts(&mut self) -> (&M, &mut Engine) {
        (&self.model, &mut self.engine)
    }
}
