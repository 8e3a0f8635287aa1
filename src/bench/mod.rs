//! Timing: every op against the ceilings of this machine, and whole training steps.

pub mod ceiling;
pub mod step;

use std::time::Instant;

use serde::Serialize;

/// Median, smallest and largest of some timings, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
}

impl Spread {
    /// That of one run, where each timing was of `runs`.
    pub fn each(self, runs: usize) -> Spread {
        let share = |ms: f64| ms / runs as f64;
        Spread { median_ms: share(self.median_ms), min_ms: share(self.min_ms), max_ms: share(self.max_ms) }
    }
}

/// Times `body` until it has run for `seconds`, at least `least` times, after one run that is not counted.
pub fn time(seconds: f64, least: usize, mut body: impl FnMut()) -> Spread {
    body();
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < least || began.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        body();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    spread(times)
}

/// The spread of at least one timing.
pub fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    Spread { median_ms: times[times.len() / 2], min_ms: times[0], max_ms: times[times.len() - 1] }
}
