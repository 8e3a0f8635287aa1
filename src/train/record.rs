//! What a run leaves for people to look at: `metrics.jsonl`, TensorBoard events, sample captions, attention pictures.
//!
//! After a resume the metrics go on as if the run had never stopped, and TensorBoard starts a file of its own, since
//! a kill may have torn the last record of the old one.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::evaluate::{Described, Report};
use super::files::{self, Files};
use super::metrics::Metrics;
use super::tensorboard::Events;
use crate::Result;
use crate::data::{Split, Vocabulary};
use crate::decode::{self, Method};
use crate::models::captioner::Session;

/// Captions kept of each evaluation, and pictures of attention.
const CAPTIONS: usize = 8;
const PICTURES: usize = 2;
/// Steps after which TensorBoard sees what was written.
const FLUSH_EVERY: u64 = 20;

/// What one step did: a line of metrics.jsonl.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// Smoothed cross-entropy in nats a token.
    pub loss: f32,
    pub learning_rate: f32,
    /// Before clipping; absent where the step was skipped before it was known.
    pub gradient_norm: Option<f32>,
    pub samples_per_second: f64,
    /// Share of the step's time spent waiting for data.
    pub data_wait: f64,
    pub skipped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<&'a Report>,
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
    pub fn step(&mut self, step: u64, line: &Line) -> Result<Option<String>> {
        self.metrics.write(step, line)?;
        let Some(events) = &mut self.events else { return Ok(None) };
        let Err(error) = write_events(events, step, line) else { return Ok(None) };
        self.events = None;
        Ok(Some(format!("TensorBoard gets no more of this run: {error}")))
    }

    /// Keeps what the model says of the first few pictures, and what it looks at while it says it.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn samples(
        &mut self,
        step: u64,
        session: &mut Session,
        vocabulary: &Vocabulary,
        split: &Split,
        described: &[Described],
    ) -> Result<()> {
        let (mut text, mut table) =
            (String::new(), String::from("| picture | caption | a reference |\n|---|---|---|\n"));
        for d in described.iter().take(CAPTIONS) {
            let (key, reference) = (split.key(d.sample), split.caption_text(d.sample, 0));
            text.push_str(&format!("{key}\t{}\n", d.caption));
            table.push_str(&format!("| {key} | {} | {reference} |\n", d.caption));
        }
        files::replace(self.files, &self.samples.join(format!("step-{step:08}.txt")), text.as_bytes())?;
        if let Some(events) = &mut self.events {
            events.text("captions", step, &table)?;
        }
        for (number, d) in described.iter().take(PICTURES).enumerate() {
            let pixels = split.pixels(d.sample);
            let caption = decode::caption(session, pixels, Method::GREEDY)?.remove(0);
            if caption.tokens.is_empty() {
                continue; // early in training the first word may be the end
            }
            let picture = decode::attention(session, vocabulary, pixels, &caption)?;
            let png = picture.png()?;
            let name = format!("step-{step:08}-attention-{}.png", number + 1);
            files::replace(self.files, &self.samples.join(name), &png)?;
            if let Some(events) = &mut self.events {
                let tag = format!("attention/{}", number + 1);
                events.image(&tag, step, &png, picture.height, picture.width)?;
            }
        }
        Ok(())
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
fn write_events(events: &mut Events, step: u64, line: &Line) -> Result<()> {
    events.scalar("train/loss", step, line.loss)?;
    events.scalar("train/learning_rate", step, line.learning_rate)?;
    events.scalar("train/samples_per_second", step, line.samples_per_second as f32)?;
    events.scalar("train/data_wait", step, line.data_wait as f32)?;
    if let Some(norm) = line.gradient_norm {
        events.scalar("train/gradient_norm", step, norm)?;
    }
    if let Some(report) = line.evaluation {
        let values = [
            ("nats_true", report.nats_true),
            ("nats_other", report.nats_other),
            ("nats_none", report.nats_none),
            ("exact", report.exact),
            ("within_one_word", report.within_one_word),
            ("BLEU-4", report.bleu4),
            ("ROUGE-L", report.rouge_l),
            ("CIDEr-D", report.cider_d),
            ("CIDEr-D-dealt", report.cider_d_dealt),
            ("distinct_share", report.distinct_share),
            ("attention_variation", report.attention_variation),
        ];
        for (name, value) in values {
            events.scalar(&format!("evaluation/{name}"), step, value as f32)?;
        }
    }
    if step.is_multiple_of(FLUSH_EVERY) || line.evaluation.is_some() {
        events.flush()?;
    }
    Ok(())
}
