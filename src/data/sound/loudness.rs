//! How loud a clip is: its root mean square against full scale, in decibels.

use super::Encoding;
use crate::data::codes;

/// The root mean square in dB of full scale; minus infinity for digital silence.
pub fn decibels(samples: &[f32]) -> f64 {
    of_power(samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / samples.len().max(1) as f64)
}

fn of_power(power: f64) -> f64 {
    10.0 * power.log10()
}

/// The power of every code, for sound as it is stored.
pub struct Stored {
    encoding: Encoding,
    powers: Vec<f64>,
}

impl Stored {
    pub fn new(encoding: Encoding) -> Stored {
        let power = |code| f64::from(codes::decode(encoding, code as u16)).powi(2);
        Stored { encoding, powers: (0..encoding.levels()).map(power).collect() }
    }

    /// As [`decibels`], of stored codes.
    pub fn decibels(&self, stored: &[u8]) -> f64 {
        let sum: f64 = codes::codes(self.encoding, stored).map(|code| self.powers[usize::from(code)]).sum();
        of_power(sum / (stored.len() / self.encoding.bytes()).max(1) as f64)
    }
}

/// The middle of all levels (the lower of two); none where it is silence, or there is no level.
pub fn median(mut levels: Vec<f64>) -> Option<f64> {
    levels.sort_by(f64::total_cmp);
    levels.get(levels.len().saturating_sub(1) / 2).copied().and_then(finite)
}

/// A level that JSON can hold: silence is none.
pub fn finite(level: f64) -> Option<f64> {
    level.is_finite().then_some(level)
}

/// `-41.0 dBFS`, or `silent`.
pub fn text(level: Option<f64>) -> String {
    level.map_or("silent".into(), |level| format!("{level:.1} dBFS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_of_full_scale_has_minus_three_decibels_and_silence_has_none() {
        let sine: Vec<f32> = (0..1600).map(|i| (i as f32 * std::f32::consts::TAU / 16.0).sin()).collect();
        assert!((decibels(&sine) + 3.0103).abs() < 1e-3);
        assert_eq!(decibels(&[0.0; 8]), f64::NEG_INFINITY);
        let stored = Stored::new(Encoding::MuLaw8);
        let level = stored.decibels(&codes::encode_all(Encoding::MuLaw8, &sine));
        assert!((level + 3.1).abs() < 0.3, "{level}");
        assert_eq!(text(finite(stored.decibels(&[128; 8]))), "silent");
        assert_eq!(median(vec![-3.0, f64::NEG_INFINITY, -9.0]), Some(-9.0));
        assert_eq!(median(Vec::new()), None);
    }
}
