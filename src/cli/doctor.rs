//! `evoke doctor`: what this machine offers.

use serde::Serialize;

use super::Output;
use crate::Result;

/// Say what this machine offers: cores, vector instructions, devices
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    cores: usize,
    vector: &'static str,
    device_auto: &'static str,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            vector: vector(),
            device_auto: "cpu",
        };
        out.result(&report, |r| {
            format!(
                "evoke {}\ncores   {}\nvector  {}\ndevice  {}",
                r.version, r.cores, r.vector, r.device_auto
            )
        })
    }
}

/// The widest vector instructions that the CPU device uses here.
fn vector() -> &'static str {
    // The type's variants differ by machine, so it is asked for its name.
    let arch = format!("{:?}", pulp::Arch::new());
    match arch.split('(').next() {
        Some("V4") => "AVX-512",
        Some("V3") => "AVX2 and FMA",
        Some("Neon") => "NEON",
        _ => "none",
    }
}
