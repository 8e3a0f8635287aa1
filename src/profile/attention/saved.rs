//! A report that was written earlier (`evoke profile attention --json`), to be drawn again without measuring.

use std::path::Path;

use super::report::Report;
use super::setting::Setting;
use crate::device::Device;
use crate::error::At;
use crate::{Error, Result};

/// The report, and what was profiled as far as it is drawn.
///
/// # Errors
/// If the file cannot be read, or is no such report.
pub fn read(file: &Path) -> Result<(Report, Setting)> {
    let text = std::fs::read_to_string(file).at("read", file)?;
    let report: Report = serde_json::from_str(&text).map_err(|error| {
        Error::failed(format!(
            "{}: is no report of `evoke profile attention --json`: {error}",
            file.display()
        ))
    })?;
    if report.points.is_empty() {
        return Err(Error::failed(format!("{}: holds no points; measure some first", file.display())));
    }
    let mut lengths: Vec<usize> = report.points.iter().map(|point| point.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let setting = Setting {
        patterns: in_order(report.points.iter().map(|point| point.pattern.clone())),
        lengths,
        batch: report.setting.batch,
        heads: report.setting.heads,
        head_size: report.setting.head_size,
        passes: in_order(report.points.iter().map(|point| point.pass)),
        // Where it was measured stands in the report; nothing is run here.
        device: Device::Cpu,
        seconds: report.setting.budget_s,
        seed: report.setting.seed,
        feed_forward: report.feed_forward.sizes.clone(),
    };
    Ok((report, setting))
}

/// Each value once, where it comes first.
fn in_order<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut all, value| {
        if !all.contains(&value) {
            all.push(value);
        }
        all
    })
}
