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
    vector: String,
    device_auto: &'static str,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            vector: format!("{:?}", pulp::Arch::new()),
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
