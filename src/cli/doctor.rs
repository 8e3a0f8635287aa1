//! `evoke doctor`: what this machine offers.

use std::path::Path;

use serde::Serialize;

use super::Output;
use crate::Result;
use crate::device::cuda::{self, Card};
use crate::device::{Device, cpu, kernels};
use crate::train::budget;

/// Say what this machine offers: cores, vector instructions, devices
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    cores: usize,
    vector: &'static str,
    driver: Option<&'static str>,
    gpus: Vec<Gpu>,
    cublas: bool,
    cublas_version: Option<&'static str>,
    kernels: Kernels,
    device_auto: String,
    missing: Option<String>,
}

/// A GPU that the driver tells of.
#[derive(Debug, Serialize)]
struct Gpu {
    device: String,
    name: &'static str,
    compute_capability: String,
    multiprocessors: i32,
    memory_free: Option<usize>,
    memory_total: usize,
    clock_hz: u64,
    memory_clock_hz: u64,
    missing: Option<String>,
}

/// The kernels that this program carries.
#[derive(Debug, Serialize)]
struct Kernels {
    archs: &'static [&'static str],
    count: usize,
    files: Vec<&'static str>,
    nvcc: Option<&'static str>,
    report: Option<&'static str>,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let survey = cuda::survey();
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            vector: cpu::vector(),
            driver: survey.driver.as_deref(),
            gpus: survey.cards.iter().map(gpu).collect(),
            cublas: survey.cublas.is_some(),
            cublas_version: survey.cublas.as_deref(),
            kernels: Kernels {
                archs: kernels::ARCHS,
                count: kernels::MODULES.iter().map(|module| module.kernels.len()).sum(),
                files: kernels::MODULES.iter().map(|module| module.name).collect(),
                nvcc: kernels::NVCC,
                report: Path::new(kernels::REPORT).is_file().then_some(kernels::REPORT),
            },
            device_auto: Device::parse("auto")?.to_string(),
            missing: cuda::usable(0).err().map(|error| error.to_string()),
        };
        out.result(&report, told)
    }
}

fn gpu(card: &'static Card) -> Gpu {
    let (major, minor) = card.capability;
    Gpu {
        device: format!("cuda:{}", card.number),
        name: &card.name,
        compute_capability: format!("{major}.{minor}"),
        multiprocessors: card.multiprocessors,
        memory_free: cuda::memory_of(card).ok().map(|(free, _)| free),
        memory_total: card.memory_total,
        clock_hz: card.clock,
        memory_clock_hz: card.memory_clock,
        missing: cuda::usable(card.number).err().map(|error| error.to_string()),
    }
}

fn told(r: &Report) -> String {
    let mut lines = vec![
        format!("evoke {}", r.version),
        format!("cores    {}", r.cores),
        format!("vector   {}", r.vector),
        format!("driver   {}", r.driver.map_or("none".into(), |version| format!("CUDA {version}"))),
    ];
    for gpu in &r.gpus {
        let free = gpu.memory_free.map_or("?".into(), budget::bytes);
        lines.push(format!(
            "{:<8} {}, compute capability {}, {} multiprocessors at up to {:.2} GHz, memory at up to {:.2} GHz, \
             {free} of {} free",
            gpu.device,
            gpu.name,
            gpu.compute_capability,
            gpu.multiprocessors,
            gpu.clock_hz as f64 / 1e9,
            gpu.memory_clock_hz as f64 / 1e9,
            budget::bytes(gpu.memory_total)
        ));
    }
    for gpu in r.gpus.iter().skip(1) {
        // What hinders the first one stands at the end.
        if let Some(missing) = &gpu.missing {
            lines.push(format!("{:<8} {missing}", gpu.device));
        }
    }
    lines.push(format!(
        "cuBLAS   {}",
        r.cublas_version.map_or("not found".into(), |v| format!("cublasLt {v}"))
    ));
    lines.push(match r.kernels.nvcc {
        Some(nvcc) if r.kernels.count > 0 => {
            format!("kernels  {} for sm_{}, by nvcc {nvcc}", r.kernels.count, r.kernels.archs.join(", sm_"))
        }
        _ => "kernels  none".into(),
    });
    // Several to a line, as wide as the others.
    for files in r.kernels.files.chunks(6) {
        lines.push(format!("         {}", files.join(", ")));
    }
    if let Some(report) = r.kernels.report {
        lines.push(format!("report   {report}"));
    }
    lines.push(format!("device   {}", r.device_auto));
    if let Some(missing) = &r.missing {
        lines.push(format!("for cuda {missing}"));
    }
    lines.join("\n")
}
