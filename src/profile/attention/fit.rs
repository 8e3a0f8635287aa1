//! Straight lines through logarithms: how a cost grows with length, and where two costs meet.

use serde::{Deserialize, Serialize};

/// `y = e^intercept * x^exponent`, least squares of the logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    pub exponent: f64,
    pub intercept: f64,
    /// The 95 % interval of the exponent (Student's t); `None` with fewer than three points.
    pub ci95: Option<[f64; 2]>,
}

/// Fits points (x, y) above 0; `None` with fewer than two different x.
pub fn power_law(points: &[(f64, f64)]) -> Option<PowerLaw> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (mx, my) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let sxx: f64 = logs.iter().map(|(x, _)| (x - mx) * (x - mx)).sum();
    if sxx.is_nan() || sxx <= 0.0 {
        return None;
    }
    let sxy: f64 = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let (exponent, intercept) = (sxy / sxx, my - sxy / sxx * mx);
    let ci95 = (logs.len() > 2).then(|| {
        let squares: f64 = logs.iter().map(|(x, y)| (y - intercept - exponent * x).powi(2)).sum();
        let half = student(logs.len() - 2) * (squares / (n - 2.0) / sxx).sqrt();
        [exponent - half, exponent + half]
    });
    Some(PowerLaw { exponent, intercept, ci95 })
}

impl PowerLaw {
    pub fn at(&self, x: f64) -> f64 {
        (self.intercept + self.exponent * x.ln()).exp()
    }
}

/// Student's t, two-sided 95 %, by degrees of freedom.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 15] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131,
    ];
    TABLE.get(freedom - 1).copied().unwrap_or(2.04)
}

/// Where one curve falls below (or rises above) another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meeting {
    /// At every length that was looked at.
    Always,
    /// From this length on.
    From(usize),
    Never,
}

/// From which x on is `a` below `b`? Both are points (x, y) at the same rising x, lines between them in logarithms. The
/// last crossing counts, so that noise at short lengths does not.
pub fn below_from(a: &[(f64, f64)], b: &[(f64, f64)]) -> Option<Meeting> {
    let gaps: Vec<(f64, f64)> = a
        .iter()
        .filter_map(|(x, y)| b.iter().find(|(other, _)| other == x).map(|(_, z)| (x.ln(), y.ln() - z.ln())))
        .collect();
    let last_above = gaps.iter().rposition(|(_, gap)| gap.is_nan() || *gap >= 0.0);
    match last_above {
        _ if gaps.is_empty() => None,
        None => Some(Meeting::Always),
        Some(last) if last + 1 == gaps.len() => Some(Meeting::Never),
        Some(last) => {
            let ((x0, g0), (x1, g1)) = (gaps[last], gaps[last + 1]);
            Some(Meeting::From((x0 + (x1 - x0) * g0 / (g0 - g1)).exp().round() as usize))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(exponent: f64, wobble: f64) -> Vec<(f64, f64)> {
        (0..6)
            .map(|n| {
                let x = 1024.0 * f64::from(1 << n);
                let noise = if n % 2 == 0 { 1.0 + wobble } else { 1.0 - wobble };
                (x, 3e-7 * x.powf(exponent) * noise)
            })
            .collect()
    }

    #[test]
    fn the_exponent_of_made_up_times_comes_back() {
        for exponent in [0.0, 1.0, 1.5, 2.0] {
            let fit = power_law(&made(exponent, 0.0)).unwrap();
            assert!((fit.exponent - exponent).abs() < 1e-9, "{fit:?}");
            assert!((fit.at(5000.0) / (3e-7 * 5000f64.powf(exponent)) - 1.0).abs() < 1e-9);
            let [low, high] = fit.ci95.unwrap();
            assert!(high - low < 1e-9);
        }
    }

    #[test]
    fn noise_widens_the_interval_and_it_still_holds_the_truth() {
        let fit = power_law(&made(1.5, 0.1)).unwrap();
        let [low, high] = fit.ci95.unwrap();
        assert!(low < 1.5 && 1.5 < high && high - low > 0.05, "{fit:?}");
        // By hand: slope 1 through three points, one of them off by 0.3 in the middle.
        let e = std::f64::consts::E;
        let fit = power_law(&[(1.0, 1.0), (e, e * 0.3f64.exp()), (e * e, e * e)]).unwrap();
        assert!((fit.exponent - 1.0).abs() < 1e-9);
        let half = 12.706 * (0.06f64 / 2.0).sqrt();
        let [low, high] = fit.ci95.unwrap();
        assert!((high - 1.0 - half).abs() < 1e-6 && (1.0 - low - half).abs() < 1e-6, "{fit:?}, {half}");
    }

    #[test]
    fn too_few_points_have_no_fit_or_no_interval() {
        assert_eq!(power_law(&[]), None);
        assert_eq!(power_law(&[(8.0, 1.0), (8.0, 2.0)]), None);
        assert_eq!(power_law(&[(8.0, 1.0), (16.0, 2.0)]).unwrap().ci95, None);
    }

    #[test]
    fn curves_meet_where_their_lines_cross() {
        let square: Vec<_> = (0..5).map(|n| f64::from(1 << n)).map(|x| (x, x * x)).collect();
        let line: Vec<_> = square.iter().map(|(x, _)| (*x, 6.0 * x)).collect();
        assert_eq!(below_from(&line, &square), Some(Meeting::From(6)));
        assert_eq!(below_from(&square, &line), Some(Meeting::Never));
        let low: Vec<_> = square.iter().map(|(x, y)| (*x, 0.5 * y)).collect();
        assert_eq!(below_from(&low, &square), Some(Meeting::Always));
        assert_eq!(below_from(&low, &[]), None);
    }
}
