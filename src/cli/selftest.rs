//! `evoke selftest`: every op's cases against their f64 form, on any device.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Output;
use crate::device::Device;
use crate::ops::cases::{self, check};
use crate::{Error, Result};

/// Check every op against double precision: outputs, gradients, unwritten memory, and that a run repeats bit for bit
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only ops whose name contains this
    only: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    passed: usize,
    failed: usize,
    cases: Vec<check::Outcome>,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let device = Device::parse(&self.device)?;
        let mut report = Report { device: device.name(), passed: 0, failed: 0, cases: Vec::new() };
        let wanted = |op: &str| self.only.as_deref().is_none_or(|only| op.contains(only));
        for case in cases::all()
            .iter()
            .filter(|c| c.reference.is_some() && c.storage(device).is_some() && wanted(c.op))
        {
            let outcome = check::check(case, device, 1)?;
            *if outcome.ok { &mut report.passed } else { &mut report.failed } += 1;
            report.cases.push(outcome);
        }
        if report.cases.is_empty() {
            return Err(Error::usage(format!("no op is called {:?}", self.only.unwrap_or_default())));
        }
        out.result(&report, told)?;
        match report.failed {
            0 => Ok(()),
            failed => Err(Error::failed(format!(
                "{failed} of {} cases failed on {}; do not train on this build",
                report.cases.len(),
                report.device
            ))),
        }
    }
}

/// One line an op, and one for each case that failed.
fn told(report: &Report) -> String {
    let mut ops: BTreeMap<&str, (usize, usize, f64)> = BTreeMap::new();
    for case in &report.cases {
        let entry = ops.entry(case.op).or_default();
        entry.0 += usize::from(case.ok);
        entry.1 += 1;
        entry.2 = if case.error <= entry.2 { entry.2 } else { case.error };
    }
    let mut text = format!("{:<20} {:>9}  {:>12}\n", "op", "passed", "worst error");
    for (op, (passed, all, worst)) in ops {
        text.push_str(&format!("{op:<20} {:>9}  {worst:>12.1e}\n", format!("{passed}/{all}")));
    }
    for case in report.cases.iter().filter(|c| !c.ok) {
        let fault = case.fault.as_deref().unwrap_or("?");
        text.push_str(&format!(
            "FAILED {} ({}): {fault}, error {:.2e} over {:.0e}\n",
            case.op, case.name, case.error, case.tolerance
        ));
    }
    text.push_str(&format!("\n{} passed, {} failed on {}", report.passed, report.failed, report.device));
    text
}
