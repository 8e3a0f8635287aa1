//! `metrics.jsonl`: one JSON object a line, written as training goes; after a resume as if it had never stopped.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, Files};
use crate::error::At;
use crate::{Error, Result};

/// The file's name in the run folder.
pub const METRICS: &str = "metrics.jsonl";

/// The open file. A value that is not finite is written as `null`: JSON has no NaN.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    /// Length up to the last whole line.
    length: u64,
}

#[derive(Serialize)]
struct Line<'a, T> {
    step: u64,
    #[serde(flatten)]
    values: &'a T,
}

#[derive(Deserialize)]
struct Step {
    step: u64,
}

impl Metrics {
    /// Opens the run's file to go on after `step` (0: from the beginning). Lines of later steps, and what a kill left
    /// of a line, are dropped first, at once or not at all.
    ///
    /// # Errors
    /// If a folder has its name, or it cannot be read and written.
    pub fn open(files: &dyn Files, run: &Path, step: u64) -> Result<Self> {
        let path = run.join(METRICS);
        if path.is_dir() {
            return Err(Error::failed(format!(
                "{}: is a folder, where the file of metrics belongs; move it away and try again",
                path.display()
            )));
        }
        let old = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).at("read", &path),
        };
        let kept = kept(&old, step);
        if kept != old {
            files::replace(files, &path, &kept)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&path).at("open", &path)?;
        Ok(Metrics { path, file, length: kept.len() as u64 })
    }

    /// Appends `{"step": step, ...values}`; `values` is a struct or a map.
    ///
    /// After an error the file ends with the last whole line again, so that a run may go on.
    pub fn write<T: Serialize>(&mut self, step: u64, values: &T) -> Result<()> {
        let mut line = serde_json::to_vec(&Line { step, values })
            .map_err(|error| Error::failed(format!("{METRICS}: step {step} has no form as JSON: {error}")))?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            let _ = self.file.set_len(self.length);
            return Err(error).at("write", &self.path);
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Returns when all lines would survive a power cut. To be called before a checkpoint is saved: what comes before
    /// a checkpoint is not written again after a resume.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().at("sync", &self.path)
    }
}

/// The whole lines up to and including `step`.
fn kept(bytes: &[u8], step: u64) -> Vec<u8> {
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .filter(|line| serde_json::from_slice::<Step>(line).is_ok_and(|found| found.step <= step))
        .collect::<Vec<_>>()
        .concat()
}

#[cfg(test)]
mod tests {
    use super::super::files::Disk;
    use super::*;

    #[derive(Serialize)]
    struct Values {
        loss: f32,
    }

    fn write(metrics: &mut Metrics, steps: std::ops::RangeInclusive<u64>) {
        for step in steps {
            metrics.write(step, &Values { loss: 1.0 / step as f32 }).unwrap();
        }
    }

    #[test]
    fn a_resumed_file_equals_that_of_an_undisturbed_run() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&mut Metrics::open(&Disk, one.path(), 0).unwrap(), 1..=9);
        let whole = fs::read(one.path().join(METRICS)).unwrap();
        assert!(whole.starts_with(b"{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"loss\":0.5}\n"));
        let path = two.path().join(METRICS);
        let four: usize = whole.split_inclusive(|&byte| byte == b'\n').take(4).map(<[u8]>::len).sum();
        // A kill after any byte, and a checkpoint at step 4 or none at all.
        for cut in 0..=whole.len() {
            assert_eq!(kept(&whole[..cut], 0), b"");
            assert_eq!(kept(&whole[..cut.max(four)], 4), whole[..four]);
        }
        for cut in (0..=whole.len()).step_by(31) {
            fs::write(&path, &whole[..cut]).unwrap();
            write(&mut Metrics::open(&Disk, two.path(), 0).unwrap(), 1..=9);
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}, from the beginning");
        }
        for cut in (four..=whole.len()).step_by(31) {
            fs::write(&path, &whole[..cut]).unwrap();
            write(&mut Metrics::open(&Disk, two.path(), 4).unwrap(), 5..=9);
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}, from step 4");
        }
    }

    #[test]
    fn rubbish_that_a_power_cut_left_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        fs::write(&path, b"{\"step\":1,\"loss\":1.0}\n\0\0\0\0\n\xff\n{\"loss\":2.0}\n").unwrap();
        let mut metrics = Metrics::open(&Disk, folder.path(), 1).unwrap();
        metrics.write(2, &Values { loss: f32::NAN }).unwrap();
        metrics.sync().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"loss\":null}\n");
    }

    #[test]
    fn a_folder_in_its_place_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(METRICS)).unwrap();
        let error = Metrics::open(&Disk, folder.path(), 0).unwrap_err().to_string();
        assert!(error.contains(METRICS), "{error}");
    }
}
