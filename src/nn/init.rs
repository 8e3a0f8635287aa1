//! Initial weights: pure functions of (seed, parameter, element), the same on every machine.

use crate::ops::philox;

/// How a parameter starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with this standard deviation.
    Normal(f32),
    /// These values, from which training goes on.
    From(Vec<f32>),
    /// Not trained: these very values.
    Constant(Vec<f32>),
}

impl Init {
    /// Glorot's scale for a (outputs, inputs) weight: variance 2 / (inputs + outputs).
    pub fn glorot(outputs: usize, inputs: usize) -> Init {
        Init::Normal((2.0 / (inputs + outputs) as f32).sqrt())
    }

    /// The same, for the last layer of a residual branch: divided by sqrt(2 layers), so that the residual stream does
    /// not grow with depth (Child 2019).
    pub fn residual(outputs: usize, inputs: usize, layers: usize) -> Init {
        let scale = (2.0 * layers.max(1) as f32).sqrt();
        Init::Normal((2.0 / (inputs + outputs) as f32).sqrt() / scale)
    }

    /// Fills `out` for the parameter with this number.
    pub fn fill(&self, seed: u64, number: u32, out: &mut [f32]) {
        match self {
            Init::Zeros => out.fill(0.0),
            Init::Ones => out.fill(1.0),
            Init::From(values) | Init::Constant(values) => out.copy_from_slice(values),
            Init::Normal(deviation) => {
                let key = [seed as u32, (seed >> 32) as u32];
                for (block, out) in out.chunks_mut(4).enumerate() {
                    let bits = philox::philox4x32_10([block as u32, STREAM, number, 0], key);
                    let (a, b) = (normal_pair(bits[0], bits[1]), normal_pair(bits[2], bits[3]));
                    for (out, value) in out.iter_mut().zip([a.0, a.1, b.0, b.1]) {
                        *out = (value * f64::from(*deviation)) as f32;
                    }
                }
            }
        }
    }
}

/// Sets initial weights apart from everything else that is drawn from the same seed.
const STREAM: u32 = 0x1417;

/// Two normal values from two uniform words (Box and Muller 1958).
fn normal_pair(a: u32, b: u32) -> (f64, f64) {
    let unit = |v: u32| (f64::from(v) + 0.5) / 4294967296.0;
    let radius = (-2.0 * unit(a).ln()).sqrt();
    let angle = std::f64::consts::TAU * unit(b);
    (radius * angle.cos(), radius * angle.sin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_the_right_mean_and_deviation() {
        let mut out = vec![f32::NAN; 100_001];
        Init::Normal(0.5).fill(3, 1, &mut out);
        let mean = out.iter().map(|v| f64::from(*v)).sum::<f64>() / out.len() as f64;
        let square = out.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / out.len() as f64;
        assert!((mean.abs() < 0.01) && ((square.sqrt() - 0.5).abs() < 0.01), "{mean} {square}");
        let mut other = vec![f32::NAN; 8];
        Init::Normal(0.5).fill(3, 2, &mut other);
        assert_ne!(out[..8], other[..], "another parameter must start elsewhere");
    }
}
