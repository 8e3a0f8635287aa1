//! Where the time and the memory of a training step go: by operation and by layer, forward and backward, each against
//! what this machine allows.

mod text;
mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::rates::{self, Datasheet};
use crate::bench::Quantiles;
use crate::bench::ceiling::Ceilings;
use crate::config::{Model, Settings};
use crate::device::{Device, StepState};
use crate::models::watch::Timed;
use crate::train::budget::{self, Budget};
use crate::train::task::{Prepared, Task};
use crate::{Error, Result};

pub use text::told;
pub use trace::trace;

/// Steps before the first that counts: plans are made, memory is touched, a GPU's step is recorded.
const WARM_UP: usize = 3;

/// Of one operation, or one layer, in a step.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    pub name: String,
    /// `forward`, `backward` or `update`.
    pub pass: &'static str,
    /// How often it runs in a step.
    pub count: f64,
    /// Seconds a step, each operation launched alone; on a GPU by its own clock.
    pub seconds: f64,
    /// Of all operations.
    pub share: f64,
    pub flops: f64,
    pub bytes: f64,
    /// The least seconds that the measured ceilings allow, operation by operation.
    pub floor_s: f64,
    pub share_of_ceiling: f64,
    /// Bytes that it writes in a step.
    pub written_bytes: f64,
}

/// Shares of a whole step.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Shares {
    pub products: f64,
    pub attention: f64,
    pub others: f64,
    pub update: f64,
    /// Between the operations: launches, waits, and the clocks themselves; below 0 where operations that are not waited
    /// for overlap.
    pub rest: f64,
}

/// What a training step costs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub device: &'static str,
    pub threads: usize,
    pub model: &'static str,
    pub parameters: usize,
    pub batch: usize,
    /// A step as training does it: a batch written, forward, backward, update; on a GPU queued, with the next one being made
    /// ready meanwhile.
    pub step: Quantiles,
    /// Making a batch, which training does beside the step, on a thread of its own.
    pub data_s: f64,
    pub samples_per_s: f64,
    pub ceilings: Ceilings,
    pub datasheet: Option<Datasheet>,
    pub flops: f64,
    pub flop_per_s: f64,
    pub share_of_ceiling: f64,
    /// Model FLOPs utilisation: FLOPs a second over the datasheet's dense peak, where it is known.
    pub mfu: Option<f64>,
    /// The sum of the operations' floors.
    pub floor_s: f64,
    pub shares: Shares,
    pub bytes: Budget,
    pub peak_bytes: Option<usize>,
    pub ops: Vec<Part>,
    pub layers: Vec<Part>,
    /// The operations of the last step, for a trace.
    #[serde(skip)]
    pub last: Vec<Timed>,
}

/// One step as training does it: on a GPU it is queued, and the one before it is waited for, unless operations are watched.
fn step<R: Prepared>(
    task: &mut R::Task,
    batch: &<R::Task as Task>::Batch,
    state: &StepState,
    queued: &mut usize,
) -> Result<()> {
    let scale = 1.0 / R::Task::targets(batch).max(1) as f32;
    let planned = task.plan(batch)?;
    if task.parts().1.device().queues() && !task.parts().1.watches() {
        let (_, engine) = task.parts();
        engine.begin_step()?;
        engine.memory.begin_pass(0, state)?;
        task.write(batch, scale)?;
        let (_, engine) = task.parts();
        engine.queue(std::slice::from_ref(&planned.program))?;
        *queued += 1;
        return if *queued > 1 { settle::<R>(task, queued) } else { Ok(()) };
    }
    while *queued > 0 {
        settle::<R>(task, queued)?;
    }
    task.write(batch, scale)?;
    let (_, engine) = task.parts();
    engine.run(&planned.program, state)?;
    engine.update(state)?;
    Ok(())
}

/// Waits for the first queued step that was not waited for.
fn settle<R: Prepared>(task: &mut R::Task, queued: &mut usize) -> Result<()> {
    *queued -= 1;
    task.parts().1.memory.collect().map(|_| ())
}

/// Trains `steps` steps, then as many with a clock around each operation. Nothing is saved.
///
/// # Errors
/// If the data cannot be read, the settings do not fit them, or the device fails.
pub fn run<R: Prepared>(
    data: &Path,
    settings: &Settings<R::Model>,
    device: Device,
    steps: usize,
) -> Result<Report> {
    settings.check()?;
    let prepared = R::open(data, settings)?;
    let bytes = prepared.budget(settings, device)?;
    bytes.check(budget::available(device), settings.train.batch)?;
    let ceilings = rates::measure(device)?;
    let mut task = prepared.start(settings, device)?;
    let (parameters, engine) = task.parts();
    engine.initialise(parameters, settings.train.seed);
    let (parameters, maker) = (parameters.count(), task.maker()?);
    let mut pass = 0;
    let mut queued = 0;
    let mut one = |task: &mut R::Task| -> Result<(f64, f64)> {
        let began = Instant::now();
        let batch = maker(pass);
        let made = began.elapsed().as_secs_f64();
        pass += 1;
        let learning_rate = settings.optimizer.learning_rate / 10.0;
        let state = StepState { seed: settings.train.seed, pass, step: pass, learning_rate };
        step::<R>(task, &batch, &state, &mut queued)?;
        Ok((made, began.elapsed().as_secs_f64() - made))
    };
    for _ in 0..WARM_UP {
        one(&mut task)?;
    }
    let plain = (0..steps).map(|_| one(&mut task)).collect::<Result<Vec<_>>>()?;
    task.parts().1.watch();
    let mut watched = Vec::new();
    for _ in 0..steps {
        one(&mut task)?;
        watched.push(task.parts().1.watch());
    }
    let last = watched.last().cloned().unwrap_or_default();
    if last.is_empty() {
        return Err(Error::failed("a step ran no operation: the model is empty"));
    }
    let step = Quantiles::of(plain.iter().map(|times| times.1).collect(), 1);
    let each = 1.0 / steps as f64;
    let all: Vec<Timed> = watched.into_iter().flatten().collect();
    let flops = all.iter().map(|timed| timed.flops).sum::<f64>() * each;
    let ops = parts(&all, each, &ceilings, |timed| timed.op.to_string());
    let datasheet = rates::datasheet(device);
    Ok(Report {
        device: device.name(),
        threads: rayon::current_num_threads(),
        model: R::Model::NAME,
        parameters,
        batch: settings.train.batch,
        data_s: plain.iter().map(|times| times.0).sum::<f64>() * each,
        samples_per_s: task.samples_of_pass() as f64 / step.median_s,
        ceilings,
        datasheet,
        flops,
        flop_per_s: flops / step.median_s,
        share_of_ceiling: flops / step.median_s / ceilings.matmul_flop_per_s,
        mfu: datasheet.map(|sheet| flops / step.median_s / sheet.flop_per_s),
        floor_s: ops.iter().map(|part| part.floor_s).sum(),
        shares: shares(&all, each, step.median_s),
        bytes,
        peak_bytes: budget::peak_memory(),
        layers: parts(&all, each, &ceilings, |timed| match timed.layer.as_str() {
            "" => "outside".to_string(),
            layer => layer.to_string(),
        }),
        ops,
        last,
        step,
    })
}

fn pass_of(timed: &Timed) -> &'static str {
    match (is_update(timed), timed.backward) {
        (true, _) => "update",
        (_, true) => "backward",
        _ => "forward",
    }
}

/// The optimizer's own operations: the gradient's norm, and the step.
fn is_update(timed: &Timed) -> bool {
    ["adamw", "gradient norm"].iter().any(|name| timed.op.starts_with(name))
}

fn is_product(timed: &Timed) -> bool {
    timed.op.starts_with("linear") || timed.op.starts_with("product")
}

/// Sums by name and pass, the longest first.
fn parts(all: &[Timed], each: f64, ceilings: &Ceilings, name: impl Fn(&Timed) -> String) -> Vec<Part> {
    let mut found: BTreeMap<(String, &'static str), Part> = BTreeMap::new();
    let whole: f64 = all.iter().map(|timed| timed.seconds).sum();
    for timed in all {
        let key = (name(timed), pass_of(timed));
        let part = found.entry(key.clone()).or_insert(Part {
            name: key.0,
            pass: key.1,
            count: 0.0,
            seconds: 0.0,
            share: 0.0,
            flops: 0.0,
            bytes: 0.0,
            floor_s: 0.0,
            share_of_ceiling: 0.0,
            written_bytes: 0.0,
        });
        part.count += each;
        part.seconds += timed.seconds * each;
        part.share += timed.seconds / whole;
        part.flops += timed.flops * each;
        part.bytes += timed.bytes * each;
        part.floor_s += ceilings.floor(timed.flops, timed.bytes).0 * each;
        part.written_bytes += timed.written as f64 * each;
    }
    let mut parts: Vec<Part> = found.into_values().collect();
    for part in &mut parts {
        part.share_of_ceiling = part.floor_s / part.seconds;
    }
    parts.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    parts
}

fn shares(all: &[Timed], each: f64, step: f64) -> Shares {
    let mut shares = Shares::default();
    for timed in all {
        let share = timed.seconds * each / step;
        if is_update(timed) {
            shares.update += share;
        } else if is_product(timed) {
            shares.products += share;
        } else if timed.op.contains("attention") {
            shares.attention += share;
        } else {
            shares.others += share;
        }
    }
    shares.rest = 1.0 - shares.products - shares.attention - shares.others - shares.update;
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let timed = |op: &'static str, layer: &str, backward: bool, seconds: f64| Timed {
            op,
            layer: layer.into(),
            backward,
            start: 0.0,
            seconds,
            bytes: 10.0,
            flops: 100.0,
            written: 4,
        };
        // Two steps.
        let all = [
            timed("linear", "decoder.0", false, 1.0),
            timed("attention", "decoder.0", false, 1.0),
            timed("linear backward", "decoder.0", true, 3.0),
            timed("adamw", "", false, 1.0),
            timed("linear", "decoder.0", false, 1.0),
            timed("attention", "decoder.0", false, 1.0),
            timed("linear backward", "decoder.0", true, 3.0),
            timed("adamw", "", false, 1.0),
        ];
        let ceilings = Ceilings { copy_bytes_per_s: 10.0, matmul_flop_per_s: 1000.0 };
        let ops = parts(&all, 0.5, &ceilings, |timed| timed.op.to_string());
        assert_eq!((ops[0].name.as_str(), ops[0].pass, ops[0].seconds), ("linear backward", "backward", 3.0));
        // Twelfths are no binary fractions: their sum is rounded.
        let whole: f64 = ops.iter().map(|part| part.share).sum();
        assert!((whole - 1.0).abs() <= 1e-12, "{whole}");
        assert_eq!(ops.iter().map(|part| part.flops).sum::<f64>(), 400.0);
        // Ten bytes at ten a second.
        assert_eq!((ops[0].floor_s, ops[0].share_of_ceiling), (1.0, 1.0 / 3.0));
        let layers = parts(&all, 0.5, &ceilings, |timed| timed.layer.clone());
        assert_eq!(layers.len(), 3);
        let shares = shares(&all, 0.5, 8.0);
        assert_eq!((shares.products, shares.attention, shares.update), (0.5, 0.125, 0.125));
        assert_eq!(shares.rest, 0.25);
    }
}
