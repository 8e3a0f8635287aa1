//! `evoke bench`: time, bytes, FLOPs and the share of what this machine reaches at best.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Output;
use crate::bench::ceiling::Ceilings;
use crate::bench::compare::{Comparison, Timed, compare};
use crate::bench::energy::{Counter, Meter};
use crate::bench::machine::{self, Flush};
use crate::bench::ops::{Row, Timer};
use crate::bench::step::StepTime;
use crate::bench::{captioner_step, foley_step};
use crate::device::Device;
use crate::device::cuda::nvml;
use crate::error::At;
use crate::ops::cases::{self, Case, table};
use crate::profile::rates;
use crate::train::budget;
use crate::{Error, Result};

/// Time every op, or whole training steps (`evoke bench step`, `evoke bench foley-step`)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `step` (a captioner's), `foley-step`, or ops whose name contains one of these; none means all ops
    names: Vec<String>,
    /// Timed training steps
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// One setting of the timed step's model, as `model.width=512` or `train.batch=4`; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Samples of a clip in `foley-step` [default: 16000, on a GPU 64000]
    #[arg(long, value_name = "SAMPLES")]
    length: Option<usize>,
    /// Seconds for each pass of a case; the cases of an op are timed in turns
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Leave the data in the caches between two runs of an op; without it they are driven out first
    #[arg(long)]
    warm: bool,
    /// An earlier report (`evoke bench --json`): tell what moved beyond the noise of both
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Time nothing: print the table of operations and their cases, in Markdown
    #[arg(long, conflicts_with_all = ["names", "steps", "seconds", "sets", "length"])]
    table: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

/// What was read of the machine before and after.
#[derive(Debug, Serialize)]
struct Steadiness {
    clock_mhz_before: Option<f64>,
    clock_mhz_after: Option<f64>,
    /// The product's ceiling measured again at the end, over the one at the start.
    product_again: f64,
}

/// Slower than this at the end than at the start: the machine changed under the measurement.
const STEADY: f64 = 0.95;

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<Ceilings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steadiness: Option<Steadiness>,
    /// Whether the caches held the data of the run before.
    warm: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ops: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy: Option<Counter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<StepTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    foley_step: Option<StepTime>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    table: Vec<table::Row>,
}

/// The training steps, by name.
const STEPS: [&str; 2] = ["step", "foley-step"];

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let device = Device::parse(&self.device)?;
        let mut report = Report {
            device: device.name(),
            threads: rayon::current_num_threads(),
            ceiling: None,
            steadiness: None,
            energy: None,
            warm: self.warm || !matches!(device, Device::Cpu | Device::Cuda(_)),
            comparison: None,
            ops: Vec::new(),
            step: None,
            foley_step: None,
            table: Vec::new(),
        };
        if self.table {
            report.table = table::rows();
            return out.result(&report, |report| table::markdown(&report.table));
        }
        let old = self.compare.as_deref().map(read_old).transpose()?;
        let (steps, names): (Vec<&String>, Vec<&String>) =
            self.names.iter().partition(|name| STEPS.contains(&name.as_str()));
        self.time_steps(&steps, device, &mut report)?;
        if steps.is_empty() || !names.is_empty() {
            let wanted = |case: &Case| names.is_empty() || names.iter().any(|n| case.op.contains(n.as_str()));
            let timed: Vec<Case> = cases::all()
                .into_iter()
                .filter(|c| c.reference.is_none() && c.storage(device).is_some() && wanted(c))
                .collect();
            if timed.is_empty() {
                return Err(Error::usage(format!("no op to time is called {:?}", self.names.join(" "))));
            }
            let meter = Meter::of(device);
            let clock_mhz = || match device {
                Device::Cuda(number) => nvml::clock_mhz(number),
                _ => machine::clock_mhz(),
            };
            let clock_mhz_before = clock_mhz();
            // This machine's say nothing of the GPU that is emulated.
            let measured = matches!(device, Device::Cpu | Device::Cuda(_));
            let ceiling = if measured { Some(rates::measure(device)?) } else { None };
            report.ceiling = ceiling;
            let mut timer = Timer {
                device,
                seconds: self.seconds,
                ceiling,
                warm: report.warm,
                flush: (!report.warm && device == Device::Cpu).then(Flush::new),
                meter: meter.as_ref().ok(),
            };
            let progress = Progress::new();
            report.ops = timer.time(&timed, |op, done| progress.show(op, done))?;
            progress.clear();
            report.energy = Some(meter.into());
            report.steadiness = match ceiling {
                Some(before) => Some(Steadiness {
                    clock_mhz_before,
                    clock_mhz_after: clock_mhz(),
                    product_again: rates::measure(device)?.matmul_flop_per_s / before.matmul_flop_per_s,
                }),
                None => None,
            };
            report.comparison = old.map(|old| compare(&old, &report.timed()));
        } else if old.is_some() {
            return Err(Error::usage(
                "--compare is of single ops: leave out the steps, or name ops beside them",
            ));
        }
        out.result(&report, told)
    }

    /// The training steps among the names.
    fn time_steps(&self, names: &[&String], device: Device, report: &mut Report) -> Result<()> {
        let [captioner, foley] = STEPS.map(|step| names.iter().any(|name| *name == step));
        let refused = if (captioner || foley) && self.steps == 0 {
            "--steps 0: at least one step is needed"
        } else if captioner == foley && !self.sets.is_empty() {
            "--set is of one training step: name either `step` or `foley-step`"
        } else if !foley && self.length.is_some() {
            "--length is of `foley-step` alone"
        } else if self.length == Some(0) {
            "--length 0: a clip has at least one sample"
        } else {
            ""
        };
        if !refused.is_empty() {
            return Err(Error::usage(refused));
        }
        if captioner {
            let config = captioner_step::setting(device).with(None, &self.sets)?;
            report.step = Some(captioner_step::run(&config, self.steps, device)?);
        }
        if foley {
            let config = foley_step::setting(device).with(None, &self.sets)?;
            let samples = self.length.unwrap_or(foley_step::samples(device));
            report.foley_step = Some(foley_step::run(&config, samples, self.steps, device)?);
        }
        Ok(())
    }
}

/// A line on a terminal that says which operation is timed.
struct Progress(ProgressBar);

impl Progress {
    /// Drawn this often a second: a timed run is not disturbed, since it is drawn between two.
    const HERTZ: u8 = 4;

    fn new() -> Progress {
        let bar =
            ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr_with_hz(Progress::HERTZ));
        let style = ProgressStyle::with_template("{msg} {bar:30} {percent} %");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress(bar)
    }

    fn show(&self, op: &str, done: f64) {
        if !self.0.is_hidden() {
            self.0.set_message(op.to_string());
            self.0.set_position((100.0 * done) as u64);
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Report {
    /// The operations as a comparison wants them.
    fn timed(&self) -> Vec<Timed> {
        let timed = |row: &Row| Timed {
            op: row.op.into(),
            case: row.case.clone(),
            pass: row.pass.into(),
            times: row.times,
        };
        self.ops.iter().map(timed).collect()
    }
}

/// The operations of an earlier report.
fn read_old(path: &Path) -> Result<Vec<Timed>> {
    #[derive(serde::Deserialize)]
    struct Old {
        ops: Vec<Timed>,
    }
    let text = std::fs::read_to_string(path).at("read", path)?;
    let old: Old = serde_json::from_str(&text).map_err(|error| {
        Error::failed(format!("{}: is no report of `evoke bench --json` with ops: {error}", path.display()))
    })?;
    Ok(old.ops)
}

fn told_comparison(comparison: &Comparison) -> String {
    let mut text =
        format!("\n{} moved beyond the noise, {} did not", comparison.moved.len(), comparison.unchanged);
    for (count, place) in [(comparison.only_old, "the old report"), (comparison.only_new, "this one")] {
        if count > 0 {
            text.push_str(&format!(", {count} are in {place} alone"));
        }
    }
    text.push('\n');
    for moved in &comparison.moved {
        text.push_str(&format!(
            "{:<14} {:<44} {:<8} {:>9.3} -> {:>9.3} ms  {:>5.2} x the time\n",
            moved.op,
            moved.case,
            moved.pass,
            moved.old_s * 1e3,
            moved.new_s * 1e3,
            moved.ratio
        ));
    }
    text
}

fn told(report: &Report) -> String {
    let caches = if report.warm { "warm" } else { "cold" };
    let mut text = format!("{}, {} threads, {caches} caches\n", report.device, report.threads);
    if let Some(ceiling) = report.ceiling {
        text.push_str(&format!(
            "measured ceilings: {:.1} GB/s copied, {:.0} GFLOP/s in a large product\n\n",
            ceiling.copy_bytes_per_s * 1e-9,
            ceiling.matmul_flop_per_s * 1e-9
        ));
    }
    let joules = report.ops.iter().any(|row| row.energy_j.is_some());
    if !report.ops.is_empty() {
        text.push_str(&format!(
            "{:<14} {:<44} {:<8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}{}\n",
            "op",
            "case",
            "pass",
            "ms",
            "p10",
            "p90",
            "GB/s",
            "GFLOP/s",
            "of best",
            if joules { "         J" } else { "" }
        ));
    }
    for row in &report.ops {
        text.push_str(&format!(
            "{:<14} {:<44} {:<8} {:>9.3} {:>9.3} {:>9.3} {:>8} {:>8.1} {:>8}{}\n",
            row.op,
            row.case,
            row.pass,
            row.times.median_s * 1e3,
            row.times.p10_s * 1e3,
            row.times.p90_s * 1e3,
            format!("{:.1}", row.bytes / row.times.median_s * 1e-9),
            row.flops / row.times.median_s * 1e-9,
            row.share_of_ceiling.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)),
            match row.energy_j {
                Some(energy) => format!(" {energy:>9.2e}"),
                None if joules => format!(" {:>9}", "-"),
                None => String::new(),
            }
        ));
    }
    if let Some(energy) = &report.energy {
        text.push_str(&format!("\n{}\n", energy.line()));
    }
    if let Some(found) = report.steadiness.as_ref().filter(|found| found.product_again < STEADY) {
        text.push_str(&format!(
            "\nthe machine is at {:.0} % of the speed it began with (heat, or other programs): measure again\n",
            100.0 * found.product_again
        ));
    }
    if let Some(comparison) = &report.comparison {
        text.push_str(&told_comparison(comparison));
    }
    for (name, unit, step) in
        [("captioner", "pictures", &report.step), ("foley", "samples", &report.foley_step)]
    {
        text.push_str(&step.as_ref().map_or(String::new(), |step| told_step(name, unit, step)));
    }
    text
}

fn told_step(name: &str, unit: &str, step: &StepTime) -> String {
    let mut text = format!(
        "\n{name}'s training step: {:.1} ms (median; {:.1} to {:.1}), {:.1} {unit}/s, {} parameters, loss {:.3} -> {:.3}, {} \
         planned{}\n",
        step.spread.median_ms,
        step.spread.min_ms,
        step.spread.max_ms,
        step.samples_per_second,
        step.parameters,
        step.first_loss,
        step.last_loss,
        budget::bytes(step.planned_bytes),
        step.peak_bytes.map_or(String::new(), |p| format!(", peak memory {}", budget::bytes(p)))
    );
    for op in &step.ops {
        text.push_str(&format!("  {:<22} {:>8.2} ms {:>8.1} GFLOP/s\n", op.op, op.ms, op.gflops));
    }
    text
}
