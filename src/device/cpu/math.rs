//! Elementary functions without branches, so that loops over slices turn into vector code.
//!
//! Each is `#[inline(always)]` and takes one f32: called in a loop inside `pulp::Arch::dispatch`, the compiler works
//! on 8 or 16 elements at once. 10 to 25 instructions an element, no table, no memory: bound by arithmetic. The
//! polynomials are our own minimax fits (Lawson's weights on Chebyshev nodes). NaN stays NaN. Pure functions of
//! their argument with a fixed order of operations, hence deterministic.
//!
//! `f32::mul_add` is one instruction wherever the dispatch finds FMA; on a machine without it, it is a slow call.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

/// 1.5 * 2^23: adding it rounds an f32 to an integer, which then stands in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has 9 zero bits at its end, so that integer multiples of it are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2; lowest power first.
const EXP: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_374, 0.008_363_175, 0.001_394_111_3];

/// Below, e^x is less than the smallest normal number, and is taken as 0; above, it is infinite.
const EXP_LOWEST: f32 = -87.336_54;
const EXP_HIGHEST: f32 = 88.722_84;

/// e^x. Relative error below 2e-7; 0 below -87.34 (no subnormal results), infinite above 88.72.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let bounded = if x < EXP_LOWEST { EXP_LOWEST } else { x };
    let bounded = if bounded > EXP_HIGHEST { EXP_HIGHEST } else { bounded };
    let rounded = bounded.mul_add(LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, bounded));
    let e_r = (polynomial(&EXP, r) * r).mul_add(r, 1.0 + r);
    // 2^n as two factors: n reaches 128, which no single f32 holds.
    let n = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let half = n >> 1;
    let result = e_r * power_of_two(half) * power_of_two(n - half);
    let result = if x < EXP_LOWEST { 0.0 } else { result };
    if x > EXP_HIGHEST { f32::INFINITY } else { result }
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// Horner's rule, lowest power first.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut sum = coefficients[N - 1];
    for n in (0..N - 1).rev() {
        sum = sum.mul_add(x, coefficients[n]);
    }
    sum
}

/// ln((1 + s) / (1 - s)) / s as a polynomial of s^2: its series, cut where |s| <= 0.172 leaves 4e-9.
const LOG: [f32; 5] = [2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0];

/// ln x of positive normal numbers. Error below 2e-7, relative to the larger of |ln x| and 1, and relative to ln x itself
/// near 1; no meaning for others, but infinity and NaN stay.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = 2^n m with m from sqrt(1/2) to sqrt(2): both bits and integer arithmetic, no table.
    let n = (x.to_bits().wrapping_sub(FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((n << 23) as u32));
    let s = (m - 1.0) / (m + 1.0);
    let of_m = polynomial(&LOG, s * s) * s;
    let n = n as f32;
    let result = n.mul_add(LN_2_HIGH, n.mul_add(LN_2_LOW, of_m));
    if x < f32::INFINITY { result } else { x }
}

/// erf(x) / x as a polynomial of x^2 on |x| <= 1.
const ERF: [f32; 7] =
    [FRAC_2_SQRT_PI, -0.376_126_26, 0.112_836, -0.026_854_444, 0.005_189_535_7, -8.020_842e-4, 7.889_123e-5];

/// ln(1 - erf(x)) on 1 <= x <= 6.
const LOG_ERFC: [f32; 9] = [
    2.328_949_6e-4,
    -1.129_813,
    -0.632_692_2,
    -0.109_085_87,
    0.025_726_61,
    -0.004_457_7,
    5.171_942e-4,
    -3.443_514_3e-5,
    9.195_375e-7,
];

/// Where [`LOG_ERFC`] ends; 1 - erf is 2e-17 there.
const ERFC_END: f32 = 6.0;

/// 1 - erf(z) for z >= 1.
#[inline(always)]
fn erfc_tail(z: f32) -> f32 {
    exp(polynomial(&LOG_ERFC, if z > ERFC_END { ERFC_END } else { z }))
}

/// The error function. Absolute error below 2e-7.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let z = x.abs();
    let inner = x * polynomial(&ERF, if z > 1.0 { 1.0 } else { x * x });
    let outer = (1.0 - erfc_tail(z)).copysign(x);
    if z > 1.0 { outer } else { inner }
}

/// The share of the standard normal distribution below x. Absolute error below 2e-7, and relative to the small side
/// for negative x, so that `x * normal_cdf(x)` does not cancel.
#[inline(always)]
pub fn normal_cdf(x: f32) -> f32 {
    let z = x * FRAC_1_SQRT_2;
    let size = z.abs();
    let inner = (0.5 * z).mul_add(polynomial(&ERF, if size > 1.0 { 1.0 } else { z * z }), 0.5);
    let tail = 0.5 * erfc_tail(size);
    let outer = if z > 0.0 { 1.0 - tail } else { tail };
    if size > 1.0 { outer } else { inner }
}

/// The exact GELU, x * normal_cdf(x). (Hendrycks and Gimpel 2016)
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    x * normal_cdf(x)
}

/// d gelu / dx = normal_cdf(x) + x * density(x).
#[inline(always)]
pub fn gelu_derivative(x: f32) -> f32 {
    const INVERSE_SQRT_TWO_PI: f32 = 0.398_942_3;
    // Bounded before it is squared, so that an infinite x gives 0 * finite and not 0 * infinity.
    let bounded = if x.abs() > 16.0 { 16.0_f32.copysign(x) } else { x };
    (bounded * INVERSE_SQRT_TWO_PI).mul_add(exp(-0.5 * bounded * bounded), normal_cdf(x))
}

/// 1 / (1 + e^-x). Absolute error below 2e-7.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent. Absolute error below 2e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let tail = exp(-2.0 * x.abs());
    ((1.0 - tail) / (1.0 + tail)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_1_SQRT_2, PI};

    /// erf by its series of positive terms: e^(-x^2) * sum of 2^n x^(2n+1) / (1 * 3 * ... * (2n+1)).
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        if x.abs() > 6.0 { x.signum() } else { sum * (-x * x).exp() * 2.0 / PI.sqrt() }
    }

    fn cdf(x: f64) -> f64 {
        0.5 * (1.0 + erf_series(x * FRAC_1_SQRT_2))
    }

    fn worst(lo: f64, hi: f64, ours: fn(f32) -> f32, truth: impl Fn(f64) -> f64, relative: bool) -> f64 {
        const STEPS: usize = 200_000;
        (0..=STEPS).fold(0.0, |worst, n| {
            let x = (lo + (hi - lo) * n as f64 / STEPS as f64) as f32;
            let want = truth(x as f64);
            let scale = if relative { want.abs() } else { want.abs().max(1.0) };
            let err = (ours(x) as f64 - want).abs() / scale;
            // In the total order NaN is the largest.
            if err.total_cmp(&worst).is_gt() { err } else { worst }
        })
    }

    #[test]
    fn errors_stay_within_what_is_documented() {
        let found = [
            ("exp", worst(-87.3, 88.7, exp, f64::exp, true)),
            ("exp near 0", worst(-1.0, 1.0, exp, f64::exp, true)),
            ("ln", worst(1e-30, 1e-20, ln, f64::ln, true)),
            ("ln near 1", worst(0.7, 1.5, ln, f64::ln, false)),
            ("ln, large", worst(2.0, 1e9, ln, f64::ln, true)),
            ("erf", worst(-7.0, 7.0, erf, erf_series, false)),
            ("erf near 0", worst(-1e-3, 1e-3, erf, erf_series, false)),
            ("normal_cdf", worst(-9.0, 9.0, normal_cdf, cdf, false)),
            ("gelu", worst(-9.0, 9.0, gelu, |x| x * cdf(x), false)),
            (
                "gelu_derivative",
                worst(
                    -9.0,
                    9.0,
                    gelu_derivative,
                    |x| cdf(x) + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt(),
                    false,
                ),
            ),
            ("sigmoid", worst(-100.0, 100.0, sigmoid, |x| 1.0 / (1.0 + (-x).exp()), false)),
            ("tanh", worst(-20.0, 20.0, tanh, f64::tanh, false)),
        ];
        for (name, err) in found {
            assert!(err <= 2e-7, "{name}: error {err:e}");
        }
    }

    #[test]
    fn ends_and_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!((exp(f32::NEG_INFINITY), exp(-90.0), exp(f32::INFINITY)), (0.0, 0.0, f32::INFINITY));
        assert_eq!((erf(0.0), erf(f32::INFINITY), erf(f32::NEG_INFINITY)), (0.0, 1.0, -1.0));
        assert_eq!((gelu(0.0), gelu(1e4), gelu_derivative(f32::INFINITY)), (0.0, 1e4, 1.0));
        assert!(gelu(-1e4).abs() <= 1e-12 && gelu_derivative(-1e30).abs() <= 1e-12);
        assert_eq!((sigmoid(1e9), sigmoid(-1e9), tanh(1e9), tanh(-1e9)), (1.0, 0.0, 1.0, -1.0));
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
        for f in [exp, ln, erf, normal_cdf, gelu, gelu_derivative, sigmoid, tanh] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
