//! What a profile of attention says; the JSON of `evoke profile attention` is this, field for field (docs/json.md).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::fit::Meeting;
use super::setting::{FeedForward, Pass};
use crate::bench::ceiling::Ceilings;
use crate::bench::energy::Counter;
use crate::profile::rates::Datasheet;

/// The whole report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub setting: Sizes,
    pub ceilings: Ceilings,
    pub datasheet: Option<Datasheet>,
    /// Missing in reports of before energy was counted.
    #[serde(default)]
    pub energy: Counter,
    pub feed_forward: FeedForwardTimes,
    pub points: Vec<Point>,
    pub fits: Vec<Fit>,
    pub tiles: Vec<Tiles>,
    pub prediction: Prediction,
    /// Other programs on the same work, as their files say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// Wall time of the whole profile.
    pub seconds: f64,
}

/// Where it was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub program: String,
    pub device: String,
    /// The processor's or GPU's name; empty where the system does not tell.
    pub name: String,
    /// Threads on the CPU, multiprocessors on a GPU.
    pub units: usize,
    pub vector: String,
    /// What activations are stored as.
    pub storage: String,
    pub memory_available: Option<usize>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sizes {
    pub batch: usize,
    pub heads: usize,
    pub head_size: usize,
    pub seed: u64,
    /// Seconds that measuring was allowed to take.
    pub budget_s: f64,
}

/// Median times of the feed-forward layer that attention is compared with, a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedForwardTimes {
    #[serde(flatten)]
    pub sizes: FeedForward,
    pub forward_s_per_token: f64,
    pub backward_s_per_token: f64,
    /// Of one token a sequence, alone.
    pub decode_s: f64,
}

/// One pattern at one length in one pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// As it was asked for.
    pub pattern: String,
    /// With the periods that follow from the length, by head.
    pub resolved: String,
    pub pass: Pass,
    pub length: usize,
    /// `None` where it was not tried.
    pub median_s: Option<f64>,
    pub p10_s: Option<f64>,
    pub p90_s: Option<f64>,
    pub runs: usize,
    pub predicted_s: f64,
    /// Predicted over measured, less 1.
    pub error: Option<f64>,
    /// Whether the cost model was calibrated on it; then `predicted_s` follows from the others that it was calibrated on.
    pub calibration: bool,
    /// Why it was predicted and not tried: `time` or `memory`.
    pub not_tried: Option<Cow<'static, str>>,
    pub peak_bytes: usize,
    pub planned_bytes: usize,
    pub visible_pairs: u64,
    /// Pairs that the kernels compute: whole tiles.
    pub computed_pairs: u64,
    pub flops: f64,
    pub bytes: f64,
    /// Useful operations a byte.
    pub intensity: f64,
    pub flop_per_s: Option<f64>,
    pub bytes_per_s: Option<f64>,
    pub bound: Cow<'static, str>,
    /// What the measured ceilings allow at best.
    pub floor_s: f64,
    pub share_of_ceiling: Option<f64>,
    pub share_of_datasheet: Option<f64>,
    /// Joules of one run; `None` where nothing counts them, or the runs were over too soon for the counter.
    pub energy_j: Option<f64>,
}

impl Point {
    /// Measured where it was, else predicted.
    pub fn seconds(&self) -> f64 {
        self.median_s.unwrap_or(self.predicted_s)
    }
}

/// How one pattern grows in one pass, over the upper half of the lengths.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fit {
    pub pattern: String,
    pub pass: Pass,
    /// `None` with fewer than two measured lengths in the upper half, and the same of the others.
    pub time_exponent: Option<f64>,
    pub ci95: Option<[f64; 2]>,
    pub memory_exponent: Option<f64>,
    /// Of the joules of a run.
    pub energy_exponent: Option<f64>,
    /// The lengths that the exponents are of.
    pub from_length: usize,
    pub to_length: usize,
    pub measured: usize,
    /// From which length on it takes less time than `full`; `None` where `full` was not profiled.
    pub beats_full: Option<Meeting>,
    /// From which length on it takes more time than the feed-forward layer.
    pub overtakes_feed_forward: Option<Meeting>,
    /// Whether that length lies beyond those profiled, and follows from the fit.
    pub extrapolated: bool,
    /// The most tokens that fit this machine's free memory; `None` where it does not tell.
    pub longest: Option<usize>,
}

/// How many tiles a pattern touches at one length, one head, in the device's full tiles.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tiles {
    pub pattern: String,
    pub length: usize,
    pub tile_queries: usize,
    pub tile_keys: usize,
    pub full: u64,
    pub partial: u64,
    pub empty: u64,
}

/// How far predictions lay off, over the measured points that calibrated nothing.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Prediction {
    /// Median of the absolute errors over the upper half of the lengths.
    pub median_error: Option<f64>,
    pub largest_error: Option<f64>,
    pub points: usize,
}

/// Another program's report: the same JSON, of which only this is needed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    pub machine: Machine,
    pub points: Vec<PeerPoint>,
    #[serde(default)]
    pub fits: Vec<PeerFit>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerPoint {
    pub pattern: String,
    pub pass: Pass,
    pub length: usize,
    /// Where the program has several ways, which.
    #[serde(default)]
    pub way: String,
    pub median_s: Option<f64>,
    #[serde(default)]
    pub peak_bytes: Option<f64>,
    #[serde(default)]
    pub flop_per_s: Option<f64>,
    #[serde(default)]
    pub visible_pairs: Option<u64>,
}

/// Made here, from the peer's points.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerFit {
    pub pattern: String,
    pub pass: Pass,
    pub way: String,
    pub time_exponent: Option<f64>,
    pub ci95: Option<[f64; 2]>,
    /// Its time over Evoke's at the longest length that both measured.
    pub times_evoke: Option<f64>,
    pub at_length: Option<usize>,
}
