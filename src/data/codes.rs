//! Samples as whole numbers: mu-law with 8 or 16 bits, and linear with 8.
//!
//! Mu-law as WaveNet, SampleRNN and SaShiMi have it: clip to [-1, 1]; y = sgn(x) ln(1 + mu |x|) / ln(1 + mu);
//! q = floor((y + 1) / 2 * (levels - .01) + .005); back: y = 2 q / levels - 1, x = sgn(y) ((1 + mu)^|y| - 1) / mu, with
//! mu = levels - 1. Silence is the middle code, which decodes to 0 exactly.
//!
//! A code decodes to the lower edge of its cell, and for codes above silence the edge lies .005 of a cell below it: coded
//! a second time such a value takes the code below. So sound is coded once.

use serde::{Deserialize, Serialize};

/// The code of silence, and the start token, where a code has 8 bits.
pub const SILENCE: u8 = 128;

/// How samples are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Logarithmic, 256 levels: 35 dB of signal to noise also where it is quiet
    #[value(name = "mu-law-8")]
    #[serde(rename = "mu-law-8")]
    MuLaw8,
    /// Even, 256 levels
    #[value(name = "linear-8")]
    #[serde(rename = "linear-8")]
    Linear8,
    /// Logarithmic, 65,536 levels
    #[value(name = "mu-law-16")]
    #[serde(rename = "mu-law-16")]
    MuLaw16,
}

impl Encoding {
    /// How many codes there are.
    pub fn levels(self) -> usize {
        match self {
            Encoding::MuLaw8 | Encoding::Linear8 => 1 << 8,
            Encoding::MuLaw16 => 1 << 16,
        }
    }

    /// Bytes of one stored code, 1 or 2; the lower byte comes first.
    pub fn bytes(self) -> usize {
        match self {
            Encoding::MuLaw8 | Encoding::Linear8 => 1,
            Encoding::MuLaw16 => 2,
        }
    }

    /// The code of silence.
    pub fn silence(self) -> u16 {
        (self.levels() / 2) as u16
    }

    /// As the index and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::MuLaw8 => "mu-law-8",
            Encoding::Linear8 => "linear-8",
            Encoding::MuLaw16 => "mu-law-16",
        }
    }
}

/// The code of a sample; beyond [-1, 1] it is clipped, and what is no number is silence.
pub fn encode(encoding: Encoding, sample: f32) -> u16 {
    let levels = encoding.levels() as f64;
    let x = if sample.is_nan() { 0.0 } else { f64::from(sample).clamp(-1.0, 1.0) };
    let y = match encoding {
        Encoding::Linear8 => x,
        Encoding::MuLaw8 | Encoding::MuLaw16 => (x.abs() * (levels - 1.0)).ln_1p().copysign(x) / levels.ln(),
    };
    // At most levels - .005, so it is a code.
    ((y + 1.0) / 2.0 * (levels - 0.01) + 0.005).floor() as u16
}

/// The value of a code, in [-1, 1). Codes beyond the levels count as the highest.
pub fn decode(encoding: Encoding, code: u16) -> f32 {
    value(encoding, code) as f32
}

/// The same in double precision.
pub fn value(encoding: Encoding, code: u16) -> f64 {
    let levels = encoding.levels() as f64;
    let y = f64::from(code).min(levels - 1.0) / (levels / 2.0) - 1.0;
    match encoding {
        Encoding::Linear8 => y,
        Encoding::MuLaw8 | Encoding::MuLaw16 => (levels.powf(y.abs()) - 1.0).copysign(y) / (levels - 1.0),
    }
}

/// Samples as a data set stores them: one byte a sample, or two with the lower first.
pub fn encode_all(encoding: Encoding, samples: &[f32]) -> Vec<u8> {
    let codes = samples.iter().map(|&sample| encode(encoding, sample));
    match encoding.bytes() {
        1 => codes.map(|code| code as u8).collect(),
        _ => codes.flat_map(u16::to_le_bytes).collect(),
    }
}

/// Stored codes as samples.
pub fn decode_all(encoding: Encoding, stored: &[u8]) -> Vec<f32> {
    let table: Vec<f32> = (0..encoding.levels()).map(|code| decode(encoding, code as u16)).collect();
    codes(encoding, stored).map(|code| table[usize::from(code)]).collect()
}

/// Stored bytes as codes.
pub fn codes(encoding: Encoding, stored: &[u8]) -> impl Iterator<Item = u16> {
    stored.chunks_exact(encoding.bytes()).map(|bytes| match *bytes {
        [low] => u16::from(low),
        [low, high] => u16::from_le_bytes([low, high]),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Encoding; 3] = [Encoding::MuLaw8, Encoding::Linear8, Encoding::MuLaw16];

    #[test]
    fn silence_is_the_middle_code_and_exactly_zero() {
        for encoding in ALL {
            for zero in [0.0, -0.0, f32::NAN] {
                assert_eq!(encode(encoding, zero), encoding.silence(), "{encoding:?}");
            }
            assert_eq!(decode(encoding, encoding.silence()), 0.0);
        }
        assert_eq!(encode(Encoding::MuLaw8, 0.0), u16::from(SILENCE));
    }

    /// By hand from the formulas: 255 * .1 = 25.5, ln 26.5 / ln 256 = .59099..., and 256^.5 = 16.
    #[test]
    fn known_values() {
        let mu = Encoding::MuLaw8;
        let codes = [(1.0, 255), (-1.0, 0), (7.0, 255), (-7.0, 0), (0.1, 203), (-0.1, 52), (0.001, 133)];
        for (sample, code) in codes {
            assert_eq!(encode(mu, sample), code, "{sample}");
        }
        for (code, value) in [(0, -1.0), (64, -15.0 / 255.0), (128, 0.0), (192, 15.0 / 255.0)] {
            assert!((decode(mu, code) - value).abs() < 1e-7, "{code}");
        }
        assert_eq!(encode(Encoding::Linear8, 0.5), 191);
        assert_eq!(decode(Encoding::Linear8, 192), 0.5);
    }

    #[test]
    fn every_code_comes_back_as_itself_or_from_above_silence_as_the_one_below() {
        for encoding in ALL {
            let levels = encoding.levels() as u32;
            for code in 0..levels {
                let again = u32::from(encode(encoding, decode(encoding, code as u16)));
                // f32 cannot tell every edge of 65,536 cells.
                let allowed = if code <= levels / 2 && encoding.bytes() == 1 { 0 } else { 1 };
                assert!(
                    code - again.min(code) <= allowed && again <= code + (allowed & !1),
                    "{encoding:?} {code}"
                );
                // Within the cell, not at its edge, it is the code itself.
                let (here, above) =
                    (decode(encoding, code as u16), decode(encoding, (code + 1).min(levels - 1) as u16));
                assert!(here < above || code == levels - 1);
                if encoding.bytes() == 1 && code + 1 < levels {
                    assert_eq!(u32::from(encode(encoding, (here + above) / 2.0)), code, "{encoding:?}");
                }
            }
        }
    }

    #[test]
    fn slices_have_the_bytes_of_their_codes() {
        let samples = [0.0, 0.5, -1.0, 1.0];
        for encoding in ALL {
            let stored = encode_all(encoding, &samples);
            assert_eq!(stored.len(), samples.len() * encoding.bytes());
            let back = decode_all(encoding, &stored);
            for (i, code) in codes(encoding, &stored).enumerate() {
                assert_eq!(code, encode(encoding, samples[i]));
                assert_eq!(back[i], decode(encoding, code));
                assert!((back[i] - samples[i]).abs() < 0.05, "{encoding:?} {i}");
            }
        }
    }
}
