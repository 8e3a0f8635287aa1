//! The cost model: what a pass must do, counted, times what this machine takes for each, calibrated.
//!
//! `seconds = c . counts`, with counts of tiles, keys and queries and coefficients of at least 0 that a few short points
//! decide (least squares of the relative errors). A pattern then gets one factor of its own, the mean ratio of its
//! calibration points to the model. What is predicted is never among what calibrates.

use crate::device::Device;
use crate::ops::attention::pattern::Pattern;
use crate::ops::attention::work::{self, Tiling, Work};

use super::runs::cache;
use super::setting::{Pass, Setting};

/// Kinds of work that are told apart.
pub const KINDS: usize = 5;
pub type Counts = [f64; KINDS];

/// What one point takes, before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Visible pairs over all sequences and heads.
    pub visible: u64,
    /// Useful floating point operations: of visible pairs alone.
    pub flops: f64,
    /// Bytes that must be moved at least: every operand read once, every result written once.
    pub bytes: f64,
    /// Tiles and rows, over all sequences and heads.
    pub work: Work,
    pub counts: Counts,
}

/// Counts one point. `units` are the device's threads or multiprocessors.
pub fn cost(s: &Setting, patterns: &[Pattern], length: usize, pass: Pass, units: usize) -> Cost {
    if pass == Pass::Decode {
        return decoding(s, patterns, length);
    }
    let tiling = Tiling::of(s.device);
    let each: Vec<Work> = patterns.iter().map(|&pattern| work::count(pattern, length, tiling)).collect();
    let of_head = |head: usize| &each[if each.len() == 1 { 0 } else { head }];
    let mut work = Work::default();
    (0..s.batch * s.heads).for_each(|n| work.add(of_head(n % s.heads)));
    let visible: u64 = patterns.iter().map(|p| p.visible_pairs(length, length, length)).sum();
    let visible = visible * (s.batch * s.heads / patterns.len()) as u64;
    let head_size = s.head_size as f64;
    let (rows, element) = ((s.batch * length) as f64, s.device.storage().bytes() as f64);
    // q, k, v and out; backward also the gradients of all four. The log-sum-exps are f32.
    let tensors = if pass == Pass::Backward { 8.0 } else { 4.0 };
    let bytes = rows * (tensors * element * s.width() as f64 + 4.0 * s.heads as f64);
    let counts = match s.device {
        Device::Cpu => {
            let uneven =
                if pass == Pass::Backward { imbalance(&each, s.batch * s.heads, units) } else { 1.0 };
            [
                work.pairs as f64 * head_size * uneven,
                work.key_rows as f64 * head_size * uneven,
                work.partial_tiles as f64 * uneven,
                work.query_rows as f64 * head_size * uneven,
                1.0,
            ]
        }
        // A device with more units than blocks waits for its longest block.
        _ => {
            let longest = (work.pairs as f64 / units as f64).max(work.longest_block as f64);
            [longest * head_size, bytes, work.blocks as f64 / units as f64, 0.0, 1.0]
        }
    };
    Cost { visible, flops: pass.flops() * head_size * visible as f64, bytes, work, counts }
}

fn decoding(s: &Setting, patterns: &[Pattern], length: usize) -> Cost {
    let seen = |p: &Pattern| -> u64 { p.ranges(1, length, length, 0).map(|r| r.count as u64).sum() };
    let (sequences, each) = ((s.batch * s.heads) as u64, patterns.len() as u64);
    let visible = patterns.iter().map(seen).sum::<u64>() * (sequences / each);
    let longest = patterns.iter().map(seen).max().unwrap_or(0);
    let head_size = s.head_size as f64;
    let element = s.device.storage().bytes() as f64;
    let bytes = element * head_size * 2.0 * (visible + sequences) as f64;
    let work = Work { query_rows: sequences, key_rows: visible, pairs: visible, ..Work::default() };
    // Rows that lie far apart cost more than neighbours, which is the calibrating pattern's own factor.
    let counts = [visible as f64 * head_size, longest as f64 * head_size, 0.0, 0.0, 1.0];
    Cost { visible, flops: Pass::Decode.flops() * head_size * visible as f64, bytes, work, counts }
}

/// How much longer than its fair share the busiest of `units` threads works, where a task is a whole sequence and head.
fn imbalance(each: &[Work], sequences: usize, units: usize) -> f64 {
    let total: u64 = (0..sequences).map(|n| each[n % each.len()].pairs).sum();
    // Where the sequences do not go evenly into the threads, the work is cut finer (`cpu_backward`).
    if units == 0 || total == 0 || !sequences.is_multiple_of(units) {
        return 1.0;
    }
    let mut busy = vec![0u64; units];
    for n in 0..sequences {
        if let Some(least) = busy.iter_mut().min() {
            *least += each[n % each.len()].pairs;
        }
    }
    busy.iter().max().map_or(1.0, |&most| most as f64 * units as f64 / total as f64)
}

/// Bytes of the memory plan: what the graph of the point holds at its fullest.
///
/// # Errors
/// If the device has no kernel for it.
pub fn planned(s: &Setting, patterns: &[Pattern], length: usize, pass: Pass) -> crate::Result<usize> {
    use super::runs::Traced;
    Ok(match pass {
        Pass::Forward => Traced::attention(s, patterns, length, false)?.program.arena,
        Pass::Backward => Traced::attention(s, patterns, length, true)?.program.arena,
        Pass::Decode => {
            let rows = cache(s, patterns, length).capacity * s.batch;
            // The plan without its tracing: keys and values, the query and the result.
            s.device.storage().bytes() * s.width() * (2 * rows + 2 * s.batch)
        }
    })
}

/// Least squares of relative errors with coefficients of at least 0: minimises `sum (c . counts / seconds - 1)^2`.
pub fn calibrated(points: &[(Counts, f64)]) -> Counts {
    // Rows of the system in units of the measured time, columns scaled to the same size.
    let rows: Vec<Counts> = points.iter().map(|(counts, t)| counts.map(|count| count / t)).collect();
    let size: Counts = std::array::from_fn(|k| rows.iter().map(|row| row[k] * row[k]).sum::<f64>().sqrt());
    let mut c = [0.0; KINDS];
    let mut residual = vec![-1.0; rows.len()];
    for _ in 0..ROUNDS {
        for k in (0..KINDS).filter(|&k| size[k] > 0.0) {
            let slope: f64 = rows.iter().zip(&residual).map(|(row, r)| row[k] * r).sum();
            let next = f64::max(0.0, c[k] - slope / (size[k] * size[k]));
            let step = next - c[k];
            c[k] = next;
            rows.iter().zip(&mut residual).for_each(|(row, r)| *r += step * row[k]);
        }
    }
    c
}

/// Rounds of coordinate descent: far more than five coefficients need.
const ROUNDS: usize = 20_000;

pub fn seconds(coefficients: &Counts, counts: &Counts) -> f64 {
    coefficients.iter().zip(counts).map(|(c, count)| c * count).sum()
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
