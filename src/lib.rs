//! Evoke trains two Transformers: a captioner (picture to sentence) and, later, foley (silent video to sound).
//!
//! Read from the top: [`models`] says what is computed, [`graph`] differentiates it, plans its memory and runs it,
//! [`ops`] holds one folder for each operation, and [`device`] is the only place that knows the hardware.

pub mod cli;
pub mod config;
pub mod error;

pub use error::{Error, Result};
