//! From what was counted and measured to points, fits and errors.

use std::borrow::Cow;

use super::Site;
use super::cost::planned;
use super::fit::{Meeting, below_from, power_law};
use super::report::{FeedForwardTimes, Fit, Point, Prediction};
use super::setting::{Pass, Setting};
use crate::Result;
use crate::bench::ceiling::Ceilings;
use crate::profile::rates::Datasheet;

/// How many times the last length a fit is followed: farther it says nothing.
const FARTHEST: f64 = 1024.0;

/// All listed points: by pattern, then pass, then length.
pub fn points(s: &Setting, sites: &[Site], ceilings: &Ceilings, sheet: Option<Datasheet>) -> Vec<Point> {
    let mut points = Vec::new();
    for (pattern, text) in s.patterns.iter().enumerate() {
        for (number, &pass) in s.passes.iter().enumerate() {
            for site in sites.iter().filter(|site| site.listed && site.pattern == pattern) {
                let one = &site.passes[number];
                let (cost, median) = (one.cost, one.times.map(|times| times.median_s));
                let (floor_s, bound) = ceilings.floor(cost.flops, cost.bytes);
                let best = sheet.map(|sheet| {
                    let ceilings =
                        Ceilings { copy_bytes_per_s: sheet.bytes_per_s, matmul_flop_per_s: sheet.flop_per_s };
                    ceilings.floor(cost.flops, cost.bytes).0
                });
                let resolved: Vec<String> = site.patterns.iter().map(ToString::to_string).collect();
                points.push(Point {
                    pattern: text.clone(),
                    resolved: resolved.join(" "),
                    pass,
                    length: site.length,
                    median_s: median,
                    p10_s: one.times.map(|times| times.p10_s),
                    p90_s: one.times.map(|times| times.p90_s),
                    runs: one.times.map_or(0, |times| times.runs),
                    predicted_s: one.predicted,
                    error: median.map(|median| one.predicted / median - 1.0),
                    calibration: site.calibration,
                    not_tried: site.not_tried.map(Cow::Borrowed),
                    peak_bytes: one.planned.max(one.grown.unwrap_or(0)),
                    planned_bytes: one.planned,
                    visible_pairs: cost.visible,
                    computed_pairs: cost.work.pairs,
                    flops: cost.flops,
                    bytes: cost.bytes,
                    intensity: cost.flops / cost.bytes,
                    flop_per_s: median.map(|median| cost.flops / median),
                    bytes_per_s: median.map(|median| cost.bytes / median),
                    bound: Cow::Borrowed(bound),
                    floor_s,
                    share_of_ceiling: median.map(|median| floor_s / median),
                    share_of_datasheet: best.zip(median).map(|(best, median)| best / median),
                    energy_j: one.energy,
                });
            }
        }
    }
    points
}

/// The upper half of the lengths: of an odd number the middle one too.
pub fn upper_half(lengths: &[usize]) -> &[usize] {
    &lengths[lengths.len() / 2..]
}

/// Points of one pattern and pass, the lengths rising.
pub fn of<'a>(points: &'a [Point], pattern: &'a str, pass: Pass) -> impl Iterator<Item = &'a Point> {
    points.iter().filter(move |point| point.pattern == pattern && point.pass == pass)
}

/// The fits of every pattern and pass.
///
/// # Errors
/// If a pattern cannot be planned.
pub fn fits(
    s: &Setting,
    points: &[Point],
    feed_forward: &FeedForwardTimes,
    available: Option<usize>,
) -> Result<Vec<Fit>> {
    let upper = upper_half(&s.lengths);
    let mut fits = Vec::new();
    for pattern in &s.patterns {
        for &pass in &s.passes {
            let own: Vec<&Point> = of(points, pattern, pass).collect();
            let curve = |points: &[&Point]| -> Vec<(f64, f64)> {
                points.iter().map(|point| (point.length as f64, point.seconds())).collect()
            };
            let measured: Vec<&&Point> =
                own.iter().filter(|p| p.median_s.is_some() && upper.contains(&p.length)).collect();
            let time: Vec<(f64, f64)> = measured.iter().map(|p| (p.length as f64, p.seconds())).collect();
            let law = power_law(&time);
            let memory: Vec<(f64, f64)> =
                measured.iter().map(|p| (p.length as f64, p.peak_bytes as f64)).collect();
            let energy: Vec<(f64, f64)> =
                measured.iter().filter_map(|p| Some((p.length as f64, p.energy_j?))).collect();
            let full: Vec<&Point> = of(points, "full", pass).collect();
            let beside: Vec<(f64, f64)> = own
                .iter()
                .map(|point| (point.length as f64, beside(s, feed_forward, pass, point.length)))
                .collect();
            let mut overtakes = below_from(&beside, &curve(&own));
            // Beyond the last length the fit goes on, where it surely grows faster.
            let mut extrapolated = false;
            if let (Some(Meeting::Never), Some(law), Some((x, y))) = (overtakes, law, beside.last().copied())
            {
                let slope = if pass == Pass::Decode { 0.0 } else { 1.0 };
                let away = (y / law.at(x)).ln() / (law.exponent - slope);
                if law.ci95.is_some_and(|[low, _]| low > slope) && away < FARTHEST.ln() {
                    overtakes = Some(Meeting::From((x.ln() + away).exp().round() as usize));
                    extrapolated = true;
                }
            }
            fits.push(Fit {
                pattern: pattern.clone(),
                pass,
                time_exponent: law.map(|law| law.exponent),
                ci95: law.and_then(|law| law.ci95),
                memory_exponent: power_law(&memory).map(|law| law.exponent),
                energy_exponent: power_law(&energy).map(|law| law.exponent),
                from_length: upper[0],
                to_length: upper[upper.len() - 1],
                measured: measured.len(),
                beats_full: if pattern == "full" { None } else { below_from(&curve(&own), &curve(&full)) },
                overtakes_feed_forward: overtakes,
                extrapolated,
                longest: available.map(|bytes| longest(s, pattern, pass, bytes)).transpose()?,
            });
        }
    }
    Ok(fits)
}

/// What the feed-forward layer takes over the same tokens.
pub fn beside(s: &Setting, times: &FeedForwardTimes, pass: Pass, length: usize) -> f64 {
    let tokens = (s.batch * length) as f64;
    match pass {
        Pass::Forward => tokens * times.forward_s_per_token,
        Pass::Backward => tokens * times.backward_s_per_token,
        Pass::Decode => times.decode_s,
    }
}

/// The most tokens whose plan fits into `available` bytes, found by halving; kernels count to 2^31.
fn longest(s: &Setting, pattern: &str, pass: Pass, available: usize) -> Result<usize> {
    const MOST: usize = 1 << 30;
    let fits = |length: usize| -> Result<bool> {
        // A period that does not fit a short sequence says nothing of long ones.
        let Ok(patterns) = s.at(pattern, length) else { return Ok(true) };
        Ok(planned(s, &patterns, length, pass)? <= available)
    };
    let (mut low, mut high) = (1, MOST);
    if fits(high)? {
        return Ok(high);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle)? { low = middle } else { high = middle }
    }
    Ok(low)
}

/// The errors of the predictions, over the upper half of the lengths.
pub fn prediction(s: &Setting, points: &[Point]) -> Prediction {
    let upper = upper_half(&s.lengths);
    let mut errors: Vec<f64> = points
        .iter()
        .filter(|point| !point.calibration && upper.contains(&point.length))
        .filter_map(|point| point.error.map(f64::abs))
        .collect();
    errors.sort_by(f64::total_cmp);
    Prediction {
        median_error: (!errors.is_empty()).then(|| errors[errors.len() / 2]),
        largest_error: errors.last().copied(),
        points: errors.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_of_an_odd_list_holds_its_middle() {
        assert_eq!(upper_half(&[1, 2, 3, 4, 5, 6]), [4, 5, 6]);
        assert_eq!(upper_half(&[1, 2, 3]), [2, 3]);
        assert_eq!(upper_half(&[7]), [7]);
    }
}
