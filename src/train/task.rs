//! What the training loop asks of a model and its data. The loop itself (steps, guards, checkpoints, resume, signals,
//! metrics) is one for all of them.

use std::path::Path;

use serde::Serialize;

use super::budget::Budget;
use super::files::Files;
use super::record::Record;
use crate::Result;
use crate::config::{Model, Settings};
use crate::device::Device;
use crate::models::engine::{Engine, Pass};
use crate::nn::Parameters;

/// Data and a model that fit each other, before any memory is taken.
pub trait Prepared: Sized {
    type Model: Model;
    type Task: Task;

    /// # Errors
    /// If the data cannot be read, or the settings do not fit them.
    fn open(data: &Path, settings: &Settings<Self::Model>) -> Result<Self>;

    /// What the largest step takes.
    ///
    /// # Errors
    /// If it cannot be planned.
    fn budget(&self, settings: &Settings<Self::Model>, device: Device) -> Result<Budget>;

    /// The hash of the data.
    fn data(&self) -> &str;

    /// Whether the run was begun far enough to have been described.
    fn is_described(run: &Path) -> bool;

    /// Refuses to go on with data that are not the run's own.
    ///
    /// # Errors
    /// If they differ, or the run's description cannot be read.
    fn check(&self, run: &Path) -> Result<()>;

    /// Writes down what the run must know of its data.
    ///
    /// # Errors
    /// If the folder cannot be written.
    fn describe(&self, files: &dyn Files, run: &Path) -> Result<()>;

    /// Takes the memory.
    ///
    /// # Errors
    /// If the device cannot be used, or the data lack what training needs.
    fn start(self, settings: &Settings<Self::Model>, device: Device) -> Result<Self::Task>;
}

/// Makes the batch of a pass, counted from 0 over the whole run: a pure function, on the loader's thread.
pub type Maker<B> = Box<dyn Fn(u64) -> B + Send>;

/// A model on a device, with its data.
pub trait Task {
    type Batch: Send + 'static;
    type Report: Report;

    fn engine(&self) -> &Engine;
    fn parameters(&self) -> &Parameters;
    /// Both at once, the engine to be written to.
    fn parts(&mut self) -> (&Parameters, &mut Engine);

    /// # Errors
    /// If there is nothing to train on.
    fn maker(&self) -> Result<Maker<Self::Batch>>;

    /// Passes that visit every sample once.
    fn passes_of_epoch(&self) -> usize;

    /// Samples of a pass.
    fn samples_of_pass(&self) -> usize;

    /// Samples of an epoch with what they are: `20000 pictures`.
    fn amount(&self) -> String;

    /// Samples of a batch.
    fn samples(batch: &Self::Batch) -> usize;

    /// Targets of a batch that count in the loss.
    fn targets(batch: &Self::Batch) -> usize;

    /// The names of a batch's samples.
    fn keys(&self, batch: &Self::Batch) -> Vec<String>;

    /// The forward and backward pass over such a batch.
    ///
    /// # Errors
    /// If it cannot be planned, or the device has too little memory.
    fn plan(&mut self, batch: &Self::Batch) -> Result<Pass>;

    /// Writes what its pass reads, each target weighing `scale`.
    ///
    /// # Errors
    /// As [`Task::plan`].
    fn write(&mut self, batch: &Self::Batch, scale: f32) -> Result<()>;

    /// Looks at held-out samples, and keeps some of what it finds in `record`.
    ///
    /// # Errors
    /// If the device fails.
    fn evaluate(&mut self, step: u64, record: &mut Record) -> Result<Evaluated<Self::Report>>;
}

/// An evaluation's report, and what became of what is kept of it: perhaps a line to tell. What is only for looking at
/// never ends a run, so its error stands beside the report.
#[derive(Debug)]
pub struct Evaluated<R> {
    pub report: R,
    pub kept: Result<Option<String>>,
}

/// What an evaluation found.
pub trait Report: Clone + std::fmt::Debug + Serialize {
    /// For the progress line.
    fn line(&self) -> String;

    /// What decides which checkpoint is best: lower is better.
    fn judged(&self) -> f64;

    /// A plain sentence where the model does not look at what it is given.
    fn warning(&self) -> Option<String>;

    /// Curves for TensorBoard.
    fn curves(&self) -> Vec<(&'static str, f64)>;
}

/// Up to `most` of `len` samples (0: all), spread evenly.
pub fn spread(len: usize, most: usize) -> Vec<usize> {
    let count = if most == 0 { len } else { most.min(len) };
    (0..count).map(|i| i * len / count).collect()
}
