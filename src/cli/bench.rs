//! `evoke bench`: time, bytes, FLOPs and the share of what this machine reaches at best.

use serde::Serialize;

use super::Output;
use crate::bench::ceiling::{self, Ceiling};
use crate::bench::step::{self, Setting, StepTime};
use crate::bench::{Spread, time};
use crate::device::Device;
use crate::graph::DType;
use crate::ops::Cost;
use crate::ops::cases::{self, Case, check, table};
use crate::train::budget;
use crate::{Error, Result};

/// Time every op, or a whole training step (`evoke bench step`)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `step`, or ops whose name contains one of these; none means all ops
    names: Vec<String>,
    /// Timed training steps
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Seconds for each op
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Time nothing: print the table of operations and their cases, in Markdown
    #[arg(long, conflicts_with_all = ["names", "steps", "seconds"])]
    table: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

/// One op at one shape. Forward and, where there is a gradient, backward.
#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    name: String,
    pass: &'static str,
    #[serde(flatten)]
    spread: Spread,
    /// `None` where activations are stored in 16 bits: costs are counted in f32.
    gigabytes_per_second: Option<f64>,
    gigaflops: f64,
    /// The time that the ceilings allow, over the median time; `None` where there are none.
    roofline: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<Ceiling>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ops: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<StepTime>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    table: Vec<table::Row>,
}

/// Runs of an op between two waits for a GPU.
const RUNS_A_WAIT: usize = 20;

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let device = Device::parse(&self.device)?;
        let mut report = Report {
            device: device.name(),
            threads: rayon::current_num_threads(),
            ceiling: None,
            ops: Vec::new(),
            step: None,
            table: Vec::new(),
        };
        if self.table {
            report.table = table::rows();
            return out.result(&report, |report| table::markdown(&report.table));
        }
        let (steps, names): (Vec<&String>, Vec<&String>) = self.names.iter().partition(|n| *n == "step");
        if !steps.is_empty() {
            if self.steps == 0 {
                return Err(Error::usage("--steps 0: at least one step is needed"));
            }
            report.step = Some(step::run(&Setting { steps: self.steps, ..Setting::of(device) }, device)?);
        }
        if steps.is_empty() || !names.is_empty() {
            let wanted = |case: &Case| names.is_empty() || names.iter().any(|n| case.op.contains(n.as_str()));
            let timed: Vec<Case> = cases::all()
                .into_iter()
                .filter(|c| c.reference.is_none() && c.storage(device).is_some() && wanted(c))
                .collect();
            if timed.is_empty() {
                return Err(Error::usage(format!("no op to time is called {:?}", self.names.join(" "))));
            }
            // The ceilings are this machine's: they say nothing of a GPU.
            let ceiling = (device == Device::Cpu).then(ceiling::measure);
            report.ceiling = ceiling;
            for case in &timed {
                self.time_case(case, device, ceiling, &mut report.ops)?;
            }
        }
        out.result(&report, told)
    }

    fn time_case(
        &self,
        case: &Case,
        device: Device,
        ceiling: Option<Ceiling>,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let mut prepared = check::Prepared::new(case, device)?;
        prepared.run()?;
        let nodes = prepared.program.nodes.len();
        for (pass, range) in
            [("forward", 0..prepared.forward_nodes), ("backward", prepared.forward_nodes..nodes)]
        {
            if range.is_empty() {
                continue;
            }
            let cost = prepared.program.nodes[range.clone()].iter().fold(Cost::default(), |sum, node| {
                let cost = node.op.cost();
                Cost { bytes: sum.bytes + cost.bytes, flops: sum.flops + cost.flops }
            });
            let mut outcome = Ok(());
            // A GPU works on while the program goes on: several runs go before each wait, so that the wait weighs little.
            let runs = if matches!(device, Device::Cuda(_)) { RUNS_A_WAIT } else { 1 };
            let spread = time(self.seconds, 3, || {
                if outcome.is_ok() {
                    let memory = &mut prepared.memory;
                    outcome = (0..runs)
                        .try_for_each(|_| {
                            device.run_nodes(&prepared.program, range.clone(), memory, &check::STATE)
                        })
                        .and_then(|()| memory.finish());
                }
            })
            .each(runs);
            outcome?;
            let seconds = spread.median_ms * 1e-3;
            let floor = ceiling
                .map(|best| (cost.bytes / best.bytes_per_second).max(cost.flops / best.flops_per_second));
            let counted = device.storage() == DType::F32;
            rows.push(Row {
                op: case.op,
                name: case.name.clone(),
                pass,
                spread,
                gigabytes_per_second: counted.then_some(cost.bytes / seconds * 1e-9),
                gigaflops: cost.flops / seconds * 1e-9,
                roofline: floor.map(|floor| floor / seconds),
            });
        }
        Ok(())
    }
}

fn told(report: &Report) -> String {
    let mut text = format!("{}, {} threads\n", report.device, report.threads);
    if let Some(ceiling) = report.ceiling {
        text.push_str(&format!(
            "measured ceilings: {:.1} GB/s copied, {:.0} GFLOP/s in a large product\n\n",
            ceiling.bytes_per_second * 1e-9,
            ceiling.flops_per_second * 1e-9
        ));
    }
    if !report.ops.is_empty() {
        text.push_str(&format!(
            "{:<14} {:<44} {:<8} {:>9} {:>8} {:>8} {:>8}\n",
            "op", "shape", "pass", "ms", "GB/s", "GFLOP/s", "of best"
        ));
    }
    for row in &report.ops {
        text.push_str(&format!(
            "{:<14} {:<44} {:<8} {:>9.3} {:>8} {:>8.1} {:>8}\n",
            row.op,
            row.name,
            row.pass,
            row.spread.median_ms,
            row.gigabytes_per_second.map_or("-".into(), |rate| format!("{rate:.1}")),
            row.gigaflops,
            row.roofline.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share))
        ));
    }
    if let Some(step) = &report.step {
        text.push_str(&format!(
            "\ntraining step: {:.1} ms (median; {:.1} to {:.1}), {:.1} samples/s, {} parameters, loss {:.3} -> {:.3}{}\n",
            step.spread.median_ms,
            step.spread.min_ms,
            step.spread.max_ms,
            step.samples_per_second,
            step.parameters,
            step.first_loss,
            step.last_loss,
            step.peak_bytes.map_or(String::new(), |p| format!(", peak memory {}", budget::bytes(p)))
        ));
        for op in &step.ops {
            text.push_str(&format!("  {:<22} {:>8.2} ms {:>8.1} GFLOP/s\n", op.op, op.ms, op.gflops));
        }
    }
    text
}
