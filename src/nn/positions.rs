//! Sinusoidal positions (Vaswani et al. 2017, *Attention Is All You Need*, section 3.5), in one and two dimensions.

use crate::{Error, Result};

/// `[positions, width]`, row by row: channel 2i of position p is sin(p / 10000^(2i / width)), channel 2i + 1 the
/// cosine of the same angle. Computed in f64, so that far positions keep their angle. An odd width is an error.
pub fn sinusoid_1d(positions: usize, width: usize) -> Result<Vec<f32>> {
    if width == 0 || !width.is_multiple_of(2) {
        return Err(Error::failed(format!(
            "sinusoidal positions of width {width}: sines and cosines come in pairs, choose an even width"
        )));
    }
    let mut values = Vec::with_capacity(positions * width);
    for position in 0..positions {
        for pair in 0..width / 2 {
            let angle = position as f64 / 10000f64.powf(2.0 * pair as f64 / width as f64);
            values.extend([angle.sin() as f32, angle.cos() as f32]);
        }
    }
    Ok(values)
}

/// `[rows * columns, width]`, row by row of the grid: the first half of the channels encodes the row, the second half
/// the column, each as [`sinusoid_1d`] of half the width. A width that is no multiple of 4 is an error.
pub fn sinusoid_2d(rows: usize, columns: usize, width: usize) -> Result<Vec<f32>> {
    if width == 0 || !width.is_multiple_of(4) {
        return Err(Error::failed(format!(
            "two-dimensional sinusoidal positions of width {width}: half of the channels goes to the rows and half \
             to the columns, each in pairs, so choose a multiple of 4"
        )));
    }
    let half = width / 2;
    let (by_row, by_column) = (sinusoid_1d(rows, half)?, sinusoid_1d(columns, half)?);
    let mut values = Vec::with_capacity(rows * columns * width);
    for row in by_row.chunks_exact(half) {
        for column in by_column.chunks_exact(half) {
            values.extend_from_slice(row);
            values.extend_from_slice(column);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f32, expected: f64) {
        assert!((f64::from(value) - expected).abs() <= 1e-6, "{value} is not {expected}");
    }

    #[test]
    fn one_dimension_matches_values_by_hand() {
        let p = sinusoid_1d(12, 4).unwrap();
        assert_eq!(p.len(), 12 * 4);
        assert_eq!(p[..4], [0.0, 1.0, 0.0, 1.0]);
        // 10000^(2/4) = 100: the second pair turns a hundred times as slowly.
        near(p[4], 0.841_470_984_807_896_5); // sin 1
        near(p[5], 0.540_302_305_868_139_8); // cos 1
        near(p[6], 0.009_999_833_334_166_664); // sin 0.01
        near(p[7], 0.999_950_000_416_665_3); // cos 0.01
        near(p[11 * 4], -0.999_990_206_550_703_4); // sin 11
        near(p[11 * 4 + 3], 0.993_956_097_956_697_2); // cos 0.11
    }

    /// What makes them useful: a similarity of two positions depends on their distance alone, and is
    /// the sum of cos(distance * frequency).
    #[test]
    fn similarity_depends_on_distance_alone() {
        let (positions, width) = (300, 64);
        let p = sinusoid_1d(positions, width).unwrap();
        let row = |i: usize| &p[i * width..(i + 1) * width];
        for (a, b) in [(0, 7), (100, 107), (292, 299), (5, 250)] {
            let dot: f64 = row(a).iter().zip(row(b)).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let distance = (b - a) as f64;
            let expected: f64 =
                (0..width / 2).map(|i| (distance / 10000f64.powf(2.0 * i as f64 / width as f64)).cos()).sum();
            assert!((dot - expected).abs() < 1e-4, "{a} {b}: {dot} {expected}");
        }
    }

    #[test]
    fn two_dimensions_are_rows_then_columns() {
        let (rows, columns, width) = (3, 5, 8);
        let p = sinusoid_2d(rows, columns, width).unwrap();
        assert_eq!(p.len(), rows * columns * width);
        let at = |row: usize, column: usize, channel: usize| p[(row * columns + column) * width + channel];
        near(at(2, 4, 0), 2f64.sin());
        near(at(2, 4, 1), 2f64.cos());
        near(at(2, 4, 2), 0.02f64.sin());
        near(at(2, 4, 4), 4f64.sin());
        near(at(2, 4, 7), 0.04f64.cos());
        near(at(1, 0, 4), 0.0);
        near(at(0, 3, 0), 0.0);
    }

    #[test]
    fn widths_that_do_not_split_are_errors() {
        for width in [0, 1, 7] {
            assert!(sinusoid_1d(4, width).unwrap_err().to_string().contains("even width"));
        }
        for width in [0, 2, 6, 9] {
            assert!(sinusoid_2d(4, 4, width).unwrap_err().to_string().contains("multiple of 4"));
        }
        assert!(sinusoid_1d(0, 4).unwrap().is_empty());
    }
}
