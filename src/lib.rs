//! Evoke trains two Transformers: a captioner (picture to sentence) and, later, foley (silent video to its sound).
//!
//! Read from the top: [`models`] says what is computed, [`graph`] differentiates it, plans its memory and runs it,
//! [`ops`] holds one folder for each operation, and [`device`] is the only place that knows the hardware.

pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod decode;
pub mod device;
pub mod error;
pub mod eval;
pub mod graph;
pub mod look;
pub mod models;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod profile;
pub mod train;

pub use error::{Error, Result};
