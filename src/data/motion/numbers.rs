//! Sine, cosine and exponential with the same bits on every machine: the platforms' own differ in their last bits,
//! and a clip must not. Sums of their Taylor series, to about 1e-13.

use std::f64::consts::TAU;

/// The sine and cosine of an angle given in turns.
pub fn turn(turns: f64) -> (f64, f64) {
    let angle = (turns - turns.round()) * TAU;
    (series(angle, angle, 1), series(1.0, angle, 0))
}

/// `first`, then each term `-x^2 / ((n + 1) (n + 2))` times the one before, with `n` growing by 2.
fn series(first: f64, x: f64, n: usize) -> f64 {
    let (mut term, mut sum) = (first, first);
    for n in (n..26).step_by(2) {
        term *= -x * x / ((n + 1) * (n + 2)) as f64;
        sum += term;
    }
    sum
}

/// `e^x` for |x| <= 1.
pub fn exponential(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..18 {
        term *= x / f64::from(n);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_functions_of_these_names() {
        for i in -500..=500 {
            let x = f64::from(i) / 500.0;
            let (sine, cosine) = turn(x * 3.0);
            assert!((sine - (x * 3.0 * TAU).sin()).abs() < 1e-12, "{x}");
            assert!((cosine - (x * 3.0 * TAU).cos()).abs() < 1e-12, "{x}");
            assert!((exponential(x) - x.exp()).abs() < 1e-14, "{x}");
        }
    }
}
