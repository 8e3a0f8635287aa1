//! What a run leaves for people to look at: `metrics.jsonl`, TensorBoard events, and samples of what it makes.
//!
//! After a resume the metrics go on as if the run had never stopped, and TensorBoard starts a file of its own, since
//! a kill may have torn the last record of the old one.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::{self, Files};
use super::metrics::Metrics;
use super::task::Report;
use super::tensorboard::Events;
use crate::Result;

/// Steps after which TensorBoard sees what was written.
const FLUSH_EVERY: u64 = 20;

/// What one step did: a line of metrics.jsonl.
#[derive(Debug, Serialize)]
pub struct Line<'a, R: Report> {
    /// What training minimises: the captioner's is the smoothed cross-entropy in nats a token.
    pub loss: f32,
    pub learning_rate: f32,
    /// Before clipping; absent where the step was skipped before it was known.
    pub gradient_norm: Option<f32>,
    pub samples_per_second: f64,
    /// Share of the step's time spent waiting for data.
    pub data_wait: f64,
    pub skipped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<&'a R>,
}

/// The open files of a run.
pub struct Record<'a> {
    files: &'a dyn Files,
    samples: PathBuf,
    metrics: Metrics,
    /// None after an error: what is only for looking at never ends a run.
    events: Option<Events>,
}

impl<'a> Record<'a> {
    /// Opens the files of `run` to go on after `step`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn open(files: &'a dyn Files, run: &Path, step: u64) -> Result<Record<'a>> {
        let metrics = Metrics::open(files, run, step)?;
        let events = Events::create(run.join("tensorboard"))?;
        let samples = run.join("samples");
        files::create_dirs(files, &samples)?;
        Ok(Record { files, samples, metrics, events: Some(events) })
    }

    /// Writes a step down. Returns a warning where TensorBoard's file cannot be written: it then gets no more.
    ///
    /// # Errors
    /// If the metrics cannot be written.
    pub fn step<R: Report>(&mut self, step: u64, line: &Line<R>) -> Result<Option<String>> {
        self.metrics.write(step, line)?;
        let Some(events) = &mut self.events else { return Ok(None) };
        let Err(error) = write_events(events, step, line) else { return Ok(None) };
        self.events = None;
        Ok(Some(format!("TensorBoard gets no more of this run: {error}")))
    }

    /// Keeps a file in the run's folder of samples: `step-00000100` and `ending`, such as `.txt`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sample(&self, step: u64, ending: &str, bytes: &[u8]) -> Result<()> {
        files::replace(self.files, &self.samples.join(format!("step-{step:08}{ending}")), bytes)
    }

    /// Shows a text in TensorBoard.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        self.events.as_mut().map_or(Ok(()), |events| events.text(tag, step, text))
    }

    /// Shows a picture in TensorBoard.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn image(&mut self, tag: &str, step: u64, png: &[u8], height: usize, width: usize) -> Result<()> {
        self.events.as_mut().map_or(Ok(()), |events| events.image(tag, step, png, height, width))
    }

    /// Returns when all metrics would survive a power cut.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.metrics.sync()
    }
}

/// A step's curves.
fn write_events<R: Report>(events: &mut Events, step: u64, line: &Line<R>) -> Result<()> {
    events.scalar("train/loss", step, line.loss)?;
    events.scalar("train/learning_rate", step, line.learning_rate)?;
    events.scalar("train/samples_per_second", step, line.samples_per_second as f32)?;
    events.scalar("train/data_wait", step, line.data_wait as f32)?;
    if let Some(norm) = line.gradient_norm {
        events.scalar("train/gradient_norm", step, norm)?;
    }
    if let Some(report) = line.evaluation {
        for (name, value) in report.curves() {
            events.scalar(&format!("evaluation/{name}"), step, value as f32)?;
        }
    }
    if step.is_multiple_of(FLUSH_EVERY) || line.evaluation.is_some() {
        events.flush()?;
    }
    Ok(())
}
