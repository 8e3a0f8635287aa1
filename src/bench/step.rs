//! Whole training steps on random data: forward, backward, clip and AdamW. What a step of each model is, stands in
//! [`super::captioner_step`] and [`super::foley_step`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{Spread, spread};
use crate::Result;
use crate::device::{Device, Memory, StepState};
use crate::graph::Id;
use crate::graph::plan::Program;
use crate::models::session::{Placeable, Session};

/// Time of one kind of op in a step.
#[derive(Debug, Clone, Serialize)]
pub struct OpTime {
    pub op: &'static str,
    pub ms: f64,
    pub gflops: f64,
}

/// What the steps came to.
#[derive(Debug, Clone, Serialize)]
pub struct StepTime {
    #[serde(flatten)]
    pub spread: Spread,
    /// Pictures, or samples of sound.
    pub samples_per_second: f64,
    pub parameters: usize,
    pub first_loss: f32,
    pub last_loss: f32,
    /// Of the step's own buffers, weights and moments included.
    pub planned_bytes: usize,
    /// The most that the process held since it began.
    pub peak_bytes: Option<usize>,
    pub ops: Vec<OpTime>,
}

/// Steps that are not counted.
const WARM_UP: usize = 3;

/// A model's step, planned.
pub(super) struct Steps<'a, M: Placeable> {
    pub session: &'a mut Session<M>,
    pub program: Arc<Program>,
    /// The tensor whose first element is the loss.
    pub loss: Id,
    /// Pictures, or samples of sound, of a step.
    pub samples: usize,
    pub planned_bytes: usize,
    pub learning_rate: f32,
}

impl<M: Placeable> Steps<'_, M> {
    /// Runs `steps` of them after some that are not counted; `fill` writes a step's inputs, as training does each time.
    pub fn timed(self, steps: usize, fill: impl Fn(&mut Memory, &Program)) -> Result<StepTime> {
        let Steps { session, program, loss, samples, planned_bytes, learning_rate } = self;
        let device = session.device();
        let mut losses = Vec::new();
        let mut times = Vec::new();
        for n in 0..WARM_UP + steps {
            let start = Instant::now();
            let state = StepState { seed: 1, pass: n as u64, step: n as u64 + 1, learning_rate };
            if device.queues() {
                session.begin_step()?;
                session.memory.begin_pass(0, &state)?;
                fill(&mut session.memory, &program);
                // As in training: the step before is read while this one runs.
                session.queue(std::slice::from_ref(&program))?;
                if n > 0 {
                    losses.push(session.memory.collect()?.loss);
                }
            } else {
                fill(&mut session.memory, &program);
                session.run(&program, &state)?;
                losses.push(session.memory.read(&program, loss)[0]);
                session.memory.check()?;
                session.update(&state)?;
            }
            if n >= WARM_UP {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        if device.queues() {
            losses.push(session.memory.collect()?.loss);
        }
        let peak_bytes = crate::train::budget::peak_memory();
        let spread = spread(times);
        Ok(StepTime {
            spread,
            samples_per_second: samples as f64 / (spread.median_ms * 1e-3),
            parameters: session.model.parameters().count(),
            first_loss: losses[0],
            last_loss: losses[losses.len() - 1],
            planned_bytes,
            peak_bytes,
            ops: by_op(session, &program, fill)?,
        })
    }
}

/// One more pass with a clock around each op, where that measures the op: on a GPU it would measure its launch.
fn by_op<M: Placeable>(
    session: &mut Session<M>,
    program: &Program,
    fill: impl Fn(&mut Memory, &Program),
) -> Result<Vec<OpTime>> {
    if session.device() != Device::Cpu {
        return Ok(Vec::new());
    }
    fill(&mut session.memory, program);
    session.watch();
    session.run(program, &StepState::default())?;
    let mut sums: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    for timed in session.watch() {
        let entry = sums.entry(timed.op).or_default();
        *entry = (entry.0 + timed.seconds, entry.1 + timed.flops);
    }
    let row = |(op, (seconds, flops))| OpTime { op, ms: seconds * 1e3, gflops: flops / seconds * 1e-9 };
    Ok(sums.into_iter().map(row).collect())
}
