//! Positions of the foley model: frames by row, column and time; samples by waves that close after a period.

use std::f64::consts::TAU;

use crate::Result;
use crate::nn::positions::sinusoid_1d;

/// The least period of the samples' positions, in samples: more than a frame of film at 16 kHz.
pub const LEAST_PERIOD: usize = 2048;
/// A whole number of frames may be longer than this many samples (odd rates); then the period heeds no frames.
const MOST_PERIOD: usize = 16_384;

/// `[period, width]`, row by row: channels 2i and 2i + 1 of row t are the cosine and the sine of `2 pi k_i t / period`.
/// The `k_i` are different whole numbers from 1 to a quarter of the period, each about the same factor above the one
/// before, so row 0 follows the last row as any row follows another, and neighbours differ. `period >= 2 * width`, and
/// the width is even.
pub fn waves(period: usize, width: usize) -> Vec<f32> {
    let turns = turns(period / 4, width / 2);
    let mut values = Vec::with_capacity(period * width);
    for t in 0..period {
        for &k in &turns {
            // Whole turns are taken off first, so that the angle is exact.
            let angle = TAU * ((k * t) % period) as f64 / period as f64;
            values.extend([angle.cos() as f32, angle.sin() as f32]);
        }
    }
    values
}

/// `[classes + more, width]`: a start for tables of sample codes, in which codes of nearly the same loudness lie near each
/// other, as words do not. Channels 2i and 2i + 1 of code c are the cosine and the sine of `2 pi f_i c / classes`, with
/// `f_i` from half a turn to an eighth of the classes in equal factors, scaled to a variance of size^2 / width. The `more` rows
/// behind them, which are no codes, are 0.
pub fn codes(classes: usize, more: usize, width: usize, size: f32) -> Vec<f32> {
    let (least, most, pairs) = (0.5, (classes as f64 / 8.0).max(1.0), width / 2);
    let size = f64::from(size) * (2.0 / width as f64).sqrt();
    let mut values = Vec::with_capacity((classes + more) * width);
    for code in 0..classes {
        for i in 0..pairs {
            let turns = least * (most / least).powf(i as f64 / (pairs - 1).max(1) as f64);
            let angle = TAU * turns * code as f64 / classes as f64;
            values.extend([(size * angle.cos()) as f32, (size * angle.sin()) as f32]);
        }
    }
    values.resize((classes + more) * width, 0.0);
    values
}

/// `count` different whole numbers from 1 to `most`, as geometric as can be.
fn turns(most: usize, count: usize) -> Vec<usize> {
    let mut turns: Vec<usize> = Vec::with_capacity(count);
    for i in 0..count {
        let share = i as f64 / (count - 1).max(1) as f64;
        let wanted = (most.max(1) as f64).powf(share).round() as usize;
        let least = turns.last().map_or(1, |last| last + 1);
        // Room is left for those that follow.
        turns.push(wanted.clamp(least, (most + i + 1).saturating_sub(count).max(least)));
    }
    turns
}

/// The period for `sample_rate` samples and `frame_rate` frames a second (a fraction; `None` without pictures): whole
/// frames, and at least `least` samples.
pub fn period(sample_rate: u32, frame_rate: Option<(u32, u32)>, least: usize) -> usize {
    let Some((number, second)) = frame_rate else { return least };
    // A frame is sample_rate * second / number samples.
    let (over, under) = (u64::from(sample_rate) * u64::from(second), u64::from(number));
    let unit = (over / gcd(over, under)) as usize;
    if unit == 0 || unit.max(least) > MOST_PERIOD.max(least) {
        return least;
    }
    unit * least.div_ceil(unit)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// `[frames * rows * columns, width]`, frame by frame and row by row: a third of the channels each for the row, the
/// column and the time, in pairs, the rest with the time; with one token a frame all of them for the time.
pub fn frame_positions(frames: usize, rows: usize, columns: usize, width: usize) -> Result<Vec<f32>> {
    let third = if rows * columns == 1 { 0 } else { width / 6 * 2 };
    let of = |count: usize, width: usize| -> Result<Vec<f32>> {
        if width == 0 { Ok(Vec::new()) } else { sinusoid_1d(count, width) }
    };
    let last = width - 2 * third;
    let (by_row, by_column, by_time) = (of(rows, third)?, of(columns, third)?, of(frames, last)?);
    let mut values = Vec::with_capacity(frames * rows * columns * width);
    for frame in 0..frames {
        for row in 0..rows {
            for column in 0..columns {
                values.extend_from_slice(&by_row[row * third..][..third]);
                values.extend_from_slice(&by_column[column * third..][..third]);
                values.extend_from_slice(&by_time[frame * last..][..last]);
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_different_and_end_at_a_quarter_of_the_period() {
        for (most, count) in [(1, 1), (64, 64), (64, 63), (512, 64), (640, 256), (4096, 64), (512, 1)] {
            let turns = turns(most, count);
            assert_eq!(turns[0], 1);
            assert!(turns.windows(2).all(|two| two[0] < two[1]), "{turns:?}");
            assert!(*turns.last().unwrap() == most || count == 1, "{most} {count}: {turns:?}");
        }
    }

    /// What a wrap must not change: how alike two positions are depends on their distance modulo the period alone.
    #[test]
    fn the_waves_close() {
        let (period, width) = (640, 32);
        let table = waves(period, width);
        let alike = |a: usize, b: usize| -> f64 {
            let row = |t: usize| &table[t % period * width..][..width];
            row(a).iter().zip(row(b)).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        for distance in [1, 5, 100, 319] {
            let inside = alike(10, 10 + distance);
            assert!((inside - alike(period - 1, period - 1 + distance)).abs() < 1e-4, "{distance}");
            assert!(inside < 0.99 * alike(0, 0), "{distance} apart are told apart");
        }
    }

    #[test]
    fn a_period_is_whole_frames() {
        assert_eq!(period(16_000, Some((25, 1)), 2048), 2560);
        assert_eq!(period(16_000, Some((3, 1)), 2048), 16_000);
        assert_eq!(period(8_000, Some((10, 1)), 2048), 2400);
        assert_eq!(period(16_000, Some((30_000, 1001)), 2048), 8008);
        assert_eq!(period(44_100, Some((24_000, 1001)), 2048), 2048, "147147 rows are too many");
        assert_eq!(period(16_000, None, 2048), 2048);
    }

    #[test]
    fn frames_differ_by_row_column_and_time() {
        let (frames, rows, columns, width) = (3, 2, 4, 20);
        let table = frame_positions(frames, rows, columns, width).unwrap();
        let tokens: Vec<&[f32]> = table.chunks_exact(width).collect();
        assert_eq!(tokens.len(), frames * rows * columns);
        for i in 0..tokens.len() {
            assert!((0..i).all(|j| tokens[i] != tokens[j]), "token {i}");
        }
        assert_eq!(tokens[0][..12], tokens[8][..12], "place does not depend on time");
        assert_eq!(frame_positions(5, 1, 1, 8).unwrap(), sinusoid_1d(5, 8).unwrap());
    }
}
