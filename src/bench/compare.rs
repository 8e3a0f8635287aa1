//! Two reports of `evoke bench`: what moved beyond the noise of both.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Quantiles;

/// A change below this share is none, however steady both runs were: a linker's layout makes as much.
const LEAST: f64 = 0.03;

/// What of a report's operation is compared.
#[derive(Debug, Clone, Deserialize)]
pub struct Timed {
    pub op: String,
    pub case: String,
    pub pass: String,
    #[serde(flatten)]
    pub times: Quantiles,
}

/// One that moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    pub op: String,
    pub case: String,
    pub pass: String,
    pub old_s: f64,
    pub new_s: f64,
    /// New over old: above 1 slower.
    pub ratio: f64,
}

/// What became of the operations of the old report.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Comparison {
    /// The slowest first.
    pub moved: Vec<Moved>,
    /// Within the noise.
    pub unchanged: usize,
    /// In one of both reports alone.
    pub only_old: usize,
    pub only_new: usize,
}

/// Compares. A median has moved if it lies outside the other run's middle four fifths (p10 to p90), in both directions,
/// and by 3 % or more.
pub fn compare(old: &[Timed], new: &[Timed]) -> Comparison {
    let key = |timed: &Timed| (timed.op.clone(), timed.case.clone(), timed.pass.clone());
    let mut before: HashMap<_, Quantiles> = old.iter().map(|timed| (key(timed), timed.times)).collect();
    let mut result = Comparison::default();
    for timed in new {
        let Some(old) = before.remove(&key(timed)) else {
            result.only_new += 1;
            continue;
        };
        let new = timed.times;
        let ratio = new.median_s / old.median_s;
        let outside = |median: f64, of: Quantiles| median < of.p10_s || median > of.p90_s;
        if outside(new.median_s, old) && outside(old.median_s, new) && (ratio - 1.0).abs() >= LEAST {
            let (op, case, pass) = key(timed);
            result.moved.push(Moved { op, case, pass, old_s: old.median_s, new_s: new.median_s, ratio });
        } else {
            result.unchanged += 1;
        }
    }
    result.only_old = before.len();
    result.moved.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(op: &str, p10_s: f64, median_s: f64, p90_s: f64) -> Timed {
        let times = Quantiles { median_s, p10_s, p90_s, runs: 9 };
        Timed { op: op.into(), case: "8 x 8".into(), pass: "forward".into(), times }
    }

    #[test]
    fn only_what_leaves_the_noise_of_both_has_moved() {
        let old = [
            timed("slower", 0.9, 1.0, 1.1),
            timed("noisy", 0.5, 1.0, 2.0),
            timed("steady", 0.999, 1.0, 1.001),
            timed("faster", 0.9, 1.0, 1.1),
            timed("gone", 1.0, 1.0, 1.0),
        ];
        let new = [
            timed("slower", 1.4, 1.5, 1.6),
            timed("noisy", 1.4, 1.5, 1.6),
            timed("steady", 1.019, 1.02, 1.021),
            timed("faster", 0.4, 0.5, 0.6),
            timed("fresh", 1.0, 1.0, 1.0),
        ];
        let found = compare(&old, &new);
        let moved: Vec<(&str, f64)> = found.moved.iter().map(|m| (m.op.as_str(), m.ratio)).collect();
        assert_eq!(moved, [("slower", 1.5), ("faster", 0.5)]);
        assert_eq!((found.unchanged, found.only_old, found.only_new), (2, 1, 1));
    }
}
