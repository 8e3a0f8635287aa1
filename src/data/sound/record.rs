//! What became of one file: clips kept and dropped, and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::loudness;

/// The quietest level that is told apart from silence, in dB of full scale: below 24 bits.
const FLOOR: f64 = -200.0;

/// Why a clip was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// Sound or picture is missing, wholly or at its end.
    Short,
    /// The scene changes within it.
    Cut,
    /// Quieter than asked for.
    Silent,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::Short => "too short",
            Why::Cut => "with a cut",
            Why::Silent => "silent",
        }
    }
}

/// One file of `prepare video` or `prepare audio`, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FileRecord {
    pub path: String,
    pub clips: usize,
    pub dropped: BTreeMap<Why, usize>,
    /// What is wrong with the file itself.
    pub fault: Option<String>,
    /// Hours of the clips kept.
    pub hours: f64,
    /// Of each clip kept, before the gain: dB of full scale, to a tenth.
    pub levels: Vec<f32>,
}

impl FileRecord {
    pub fn new(path: &str) -> FileRecord {
        FileRecord { path: path.into(), ..FileRecord::default() }
    }

    /// Counts a clip that is kept.
    pub fn keep(&mut self, seconds: f64, decibels: f64) {
        self.clips += 1;
        self.hours += seconds / 3600.0;
        self.levels.push(((decibels.max(FLOOR) * 10.0).round() / 10.0) as f32);
    }

    /// Counts clips that are dropped.
    pub fn drop(&mut self, why: Why, clips: usize) {
        if clips > 0 {
            *self.dropped.entry(why).or_default() += clips;
        }
    }

    /// Adds to what is wrong with the file.
    pub fn fault(&mut self, what: impl AsRef<str>) {
        let what = what.as_ref();
        self.fault = Some(self.fault.take().map_or(what.to_owned(), |before| format!("{before}; {what}")));
    }

    /// For people and `--json`.
    pub fn report(&self) -> FileReport {
        let counts = self.dropped.iter().map(|(why, count)| format!("{count} {}", why.text()));
        let reasons: Vec<String> = self.fault.iter().cloned().chain(counts).collect();
        FileReport {
            path: self.path.clone(),
            clips: self.clips,
            dropped: self.dropped.values().sum(),
            reason: (!reasons.is_empty()).then(|| reasons.join(", ")),
            hours: self.hours,
            loudness: median(&self.levels),
        }
    }
}

/// The middle of levels; none where it is silence.
pub fn median(levels: &[f32]) -> Option<f64> {
    let heard = |&level: &f32| if f64::from(level) > FLOOR { f64::from(level) } else { f64::NEG_INFINITY };
    // A tenth of a decibel in f32 is not the nearest f64.
    loudness::median(levels.iter().map(heard).collect()).map(|level| (level * 10.0).round() / 10.0)
}

/// One file in `prepare video --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    pub path: String,
    pub clips: usize,
    pub dropped: usize,
    /// What was wrong with the file, and why clips were dropped; null where all of it was kept.
    pub reason: Option<String>,
    pub hours: f64,
    /// The median of the clips, dB of full scale; null where it is silent.
    pub loudness: Option<f64>,
}
