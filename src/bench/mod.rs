//! Timing: every op against the ceilings of this machine, and whole training steps.

pub mod captioner_step;
pub mod ceiling;
pub mod compare;
pub mod energy;
pub mod foley_step;
pub mod machine;
pub mod ops;
pub mod step;
pub mod turns;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// Median, smallest and largest of some timings, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median_ms: f64,
    pub min_ms: f64,
    pub max_ms: f64,
}

/// Seconds of one run: the median, and the values that a tenth of the runs stay below and above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub median_s: f64,
    pub p10_s: f64,
    pub p90_s: f64,
    /// How many runs, or groups of runs, were timed.
    pub runs: usize,
}

impl Quantiles {
    /// Of at least one timing in seconds, each of `runs` runs.
    pub fn of(mut seconds: Vec<f64>, runs: usize) -> Quantiles {
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize] / runs as f64;
        Quantiles { median_s: at(0.5), p10_s: at(0.1), p90_s: at(0.9), runs: seconds.len() }
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

/// Runs between two waits for a GPU, which works on while the program goes on: so many that the wait weighs little.
pub const RUNS_A_WAIT: usize = 20;

/// Runs that are timed together on a device.
pub fn together(device: Device) -> usize {
    if matches!(device, Device::Cuda(_)) { RUNS_A_WAIT } else { 1 }
}

/// The spread of at least one timing.
pub fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    Spread { median_ms: times[times.len() / 2], min_ms: times[0], max_ms: times[times.len() - 1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times = Quantiles::of((0..11).rev().map(f64::from).collect(), 1);
        assert_eq!((times.runs, times.p10_s, times.median_s, times.p90_s), (11, 1.0, 5.0, 9.0));
        assert_eq!(Quantiles::of(vec![2.0], 2), Quantiles { median_s: 1.0, p10_s: 1.0, p90_s: 1.0, runs: 1 });
    }
}
