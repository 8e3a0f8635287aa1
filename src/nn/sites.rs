//! Places of dropout.

use crate::ops::Dropout;

/// Numbers the places of dropout in the order of the trace.
#[derive(Debug, Default)]
pub struct Sites {
    next: u32,
    training: bool,
}

impl Sites {
    /// Without `training` nothing is dropped.
    pub fn new(training: bool) -> Sites {
        Sites { next: 0, training }
    }

    pub fn dropout(&mut self, rate: f32) -> Option<Dropout> {
        self.next += 1;
        if self.training { Dropout::new(rate, self.next) } else { None }
    }
}
