//! `evoke verify`: is every byte of a data set as it was written?

use std::path::PathBuf;

use super::Output;
use crate::data::verify;
use crate::{Error, Result};

/// Check every byte of a data set against its hashes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that `evoke prepare` made
    #[arg(value_name = "DATA")]
    data: PathBuf,
}

impl Args {
    pub fn run(self, out: &Output) -> Result<()> {
        let report = verify::dataset(&self.data)?;
        out.result(&report, |report| {
            let mut text: String = report.faults.iter().map(|fault| format!("{fault}\n")).collect();
            if report.faults.is_empty() {
                let mib = report.bytes as f64 / f64::from(1 << 20);
                text = format!("whole: {} files, {mib:.1} MiB of shards", report.files);
            }
            text
        })?;
        match report.faults.len() {
            0 => Ok(()),
            faults => Err(Error::failed(format!(
                "{}: {faults} faults; make the data set again with `evoke prepare --overwrite`",
                self.data.display()
            ))),
        }
    }
}
