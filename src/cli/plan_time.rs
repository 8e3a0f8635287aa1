//! The time that `evoke plan` predicts, and the place that it plans for.

use serde::Serialize;

use crate::config::{Model, Settings};
use crate::data::Visits;
use crate::device::Device;
use crate::graph::Graph;
use crate::nn::Parameters;
use crate::profile::rates::Gpu;
use crate::profile::step_time::{Basis, Machine, Prediction, Step, predict};
use crate::train::run::total_steps;
use crate::train::{budget, progress};
use crate::{Error, Result};

/// A device of this machine, or a GPU by its data sheet.
pub(super) struct Place {
    pub(super) device: Device,
    pub(super) gpu: Option<Gpu>,
    /// Whether the time is to be predicted.
    timed: bool,
}

/// What a step will take, and a run.
#[derive(Debug, Serialize)]
pub(super) struct Time {
    #[serde(flatten)]
    prediction: Prediction,
    /// Optimizer steps of the whole run, where settings or data tell.
    steps: Option<u64>,
    run_s: Option<f64>,
}

/// Operations that people are told of.
const SHOWN: usize = 5;
/// Of the free memory, what a single operation may take while it is timed.
const SHARE: usize = 2;

impl Place {
    pub(super) fn of(device: &str, gpu: Option<Gpu>, memory_only: bool) -> Result<Place> {
        let timed = !memory_only;
        let Some(gpu) = gpu else {
            let found = Device::parse(device).map_err(|error| match error {
                Error::Failed(line) if device.starts_with("cuda") => Error::failed(format!(
                    "{line}, or --gpu h100 (h200, a100, rtx4090) to plan for one that is not here"
                )),
                other => other,
            })?;
            return Ok(Place { device: found, gpu: None, timed });
        };
        if device != "auto" && !device.starts_with("cuda") {
            return Err(Error::usage(format!(
                "--gpu plans for a GPU, --device {device} is none: leave one of them out"
            )));
        }
        Ok(Place { device: Device::Cuda(0), gpu: Some(gpu), timed })
    }

    /// Bytes that a run could take there, where it is known.
    pub(super) fn free(&self) -> Option<usize> {
        self.gpu.map(Gpu::memory).or_else(|| budget::available(self.device))
    }

    /// Predicts the time of steps over `trace(batch)`; `train` are the samples of the data set. `None` where that is not
    /// asked for, or makes no sense.
    pub(super) fn time<M: Model>(
        &self,
        settings: &Settings<M>,
        trace: &dyn Fn(usize) -> Result<Graph>,
        parameters: &Parameters,
        train: Option<usize>,
    ) -> Result<Option<Time>> {
        let machine = match (self.gpu, self.device) {
            (Some(gpu), storing) => Machine::Sheet { storing, sheet: gpu.datasheet() },
            // The emulator's time is that of its checks.
            #[cfg(feature = "emulator")]
            (None, Device::Emulated) => return Ok(None),
            (None, device) => Machine::Here { device, memory: self.free().map(|free| free / SHARE) },
        };
        if !self.timed {
            return Ok(None);
        }
        let train_settings = &settings.train;
        let (batch, accumulate) = (train_settings.batch, train_settings.accumulate);
        let step = Step { trace, parameters, optimizer: &settings.optimizer, batch, accumulate };
        let prediction = predict(&step, machine)?;
        let visits = Visits { seed: train_settings.seed, batch, first: train_settings.overfit };
        let steps = match (train_settings.steps, train) {
            (0, None) => None,
            (_, samples) => Some(total_steps(settings, visits.passes_of(samples.unwrap_or(0)))),
        };
        let run_s = steps.map(|steps| steps as f64 * prediction.step_s);
        Ok(Some(Time { prediction, steps, run_s }))
    }
}

impl Time {
    /// Samples of a batch, a second.
    pub(super) fn samples_per_s(&self) -> f64 {
        self.prediction.samples_per_s
    }

    pub(super) fn told(&self, samples: &str) -> String {
        let p = &self.prediction;
        let how = match p.basis {
            Basis::Measured => "predicted: each of its operations was timed here by itself",
            Basis::Datasheet => {
                "the least that the GPU's data sheet allows: no run will be faster, real ones take longer"
            }
        };
        let mut text = format!(
            "\ntime     {} a step, {:.1} {samples} a second ({how})",
            duration(p.step_s),
            p.samples_per_s
        );
        if let (Some(steps), Some(seconds)) = (self.steps, self.run_s) {
            text.push_str(&format!(
                "\n         {} for {steps} steps, without evaluations, checkpoints and waiting for data",
                duration(seconds)
            ));
        }
        text.push_str("\n         of a step: ");
        let shown: Vec<String> = p
            .ops
            .iter()
            .take(SHOWN)
            .map(|kind| format!("{} {:.0} %", kind.op, 100.0 * kind.seconds / p.step_s))
            .collect();
        text.push_str(&shown.join(", "));
        text
    }
}

/// Short times in milliseconds or seconds, long ones as everywhere: `350.0 ms`, `2.4 s`, `7 min 12 s`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        s => progress::duration(s),
    }
}
