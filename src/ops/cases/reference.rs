//! Plain f64 forms that several ops' references are made of.

/// Row `i` of a matrix with `width` columns.
pub fn row(values: &[f64], i: usize, width: usize) -> &[f64] {
    &values[i * width..(i + 1) * width]
}

/// The error function, to about 1e-14: its series where that converges fast, 1 beyond.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// x times the normal distribution function (Hendrycks 2016).
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// softmax of a row; empty or all minus infinity gives zeros.
pub fn softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return vec![0.0; row.len()];
    }
    let exps: Vec<f64> = row.iter().map(|v| (v - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// `x W^T`: x (rows, inputs), w (outputs, inputs).
pub fn product(x: &[f64], w: &[f64], inputs: usize) -> Vec<f64> {
    let (rows, outputs) = (x.len() / inputs, w.len() / inputs);
    let mut y = Vec::with_capacity(rows * outputs);
    for i in 0..rows {
        for o in 0..outputs {
            y.push(row(x, i, inputs).iter().zip(row(w, o, inputs)).map(|(a, b)| a * b).sum());
        }
    }
    y
}

#[cfg(test)]
mod tests {
    #[test]
    fn erf_has_its_known_values() {
        for (x, known) in [(0.5, 0.5204998778130465), (1.0, 0.8427007929497149), (3.0, 0.9999779095030014)] {
            let error = (super::erf(x) - known).abs();
            assert!(error <= 1e-12, "erf({x}) is off by {error}");
        }
    }
}
