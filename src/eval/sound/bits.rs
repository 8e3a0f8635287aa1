//! Bits a sample, and how sure they are.

use serde::Serialize;

/// A mean over clips and half the width of its 95 % confidence interval (Student's t; 0 for a single clip).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    pub mean: f64,
    pub ci95: f64,
}

impl Mean {
    /// Of one value a clip. 0 for none.
    pub fn of(values: &[f64]) -> Mean {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let ci95 = match values.len() {
            0 | 1 => 0.0,
            clips => t95(clips - 1) * (squares / (count - 1.0) / count).sqrt(),
        };
        Mean { mean, ci95 }
    }
}

/// What a model needs to tell each sample, in bits: with the clip's own video, with another clip's, with none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bits {
    #[serde(rename = "true")]
    pub own: f64,
    pub other: f64,
    pub none: f64,
    /// Half the width of the 95 % interval of `other - true`, from the paired differences of the clips: the video is
    /// of use when `other - true` is larger.
    pub ci95: f64,
}

impl Bits {
    /// How much another's video costs, in bits a sample.
    pub fn gain(&self) -> f64 {
        self.other - self.own
    }

    /// Does the right video help by more than chance would explain?
    pub fn video_helps(&self) -> bool {
        self.gain() > self.ci95
    }
}

/// From each clip's mean loss in nats a sample; clip i stands at place i of all three.
pub fn bits_per_sample(own: &[f64], other: &[f64], none: &[f64]) -> Bits {
    let bits = |nats: &[f64]| Mean::of(nats).mean / std::f64::consts::LN_2;
    let differences: Vec<f64> =
        own.iter().zip(other).map(|(own, other)| (other - own) / std::f64::consts::LN_2).collect();
    Bits { own: bits(own), other: bits(other), none: bits(none), ci95: Mean::of(&differences).ci95 }
}

/// The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, else Fisher and Cornish's expansion around
/// the normal's, right to 0.5 % from 3 degrees on.
fn t95(degrees: usize) -> f64 {
    const Z: f64 = 1.959_963_985;
    let v = degrees as f64;
    match degrees {
        0 => f64::INFINITY,
        1 => 12.706_204_736,
        2 => 4.302_652_730,
        _ => {
            let z = [Z, Z.powi(3), Z.powi(5), Z.powi(7), Z.powi(9)];
            z[0] + (z[1] + z[0]) / (4.0 * v)
                + (5.0 * z[2] + 16.0 * z[1] + 3.0 * z[0]) / (96.0 * v * v)
                + (3.0 * z[3] + 19.0 * z[2] + 17.0 * z[1] - 15.0 * z[0]) / (384.0 * v.powi(3))
                + (79.0 * z[4] + 776.0 * z[3] + 1482.0 * z[2] - 1920.0 * z[1] - 945.0 * z[0])
                    / (92160.0 * v.powi(4))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (degrees, quantile) in
            [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (1000, 1.962)]
        {
            assert!((t95(degrees) / quantile - 1.0).abs() < 5e-3, "{degrees}: {}", t95(degrees));
        }
    }

    #[test]
    fn a_mean_has_the_interval_of_its_spread() {
        // Standard deviation 1.5811, error 0.7071, t(4) = 2.776.
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((mean.mean - 3.0).abs() < 1e-12 && (mean.ci95 - 1.963).abs() < 5e-3, "{mean:?}");
        assert_eq!(Mean::of(&[7.0]), Mean { mean: 7.0, ci95: 0.0 });
        assert_eq!(Mean::of(&[]).mean, 0.0);
    }

    #[test]
    fn pairing_finds_a_small_gain_among_very_different_clips() {
        let own: Vec<f64> = (0..20).map(|clip| f64::from(clip) * 0.2).collect();
        let other: Vec<f64> =
            own.iter().enumerate().map(|(i, nats)| nats + 0.05 + 0.01 * (i % 3) as f64).collect();
        let bits = bits_per_sample(&own, &other, &other);
        assert!(bits.video_helps() && bits.ci95 < 0.01, "{bits:?}");
        assert!((bits.own - 1.9 / std::f64::consts::LN_2).abs() < 1e-12);
        let even: Vec<f64> =
            own.iter().enumerate().map(|(i, nats)| nats + 0.2 * ((i % 2) as f64 - 0.5)).collect();
        assert!(!bits_per_sample(&own, &even, &even).video_helps());
        assert!(serde_json::to_string(&bits).unwrap().contains("\"true\":"));
    }
}
