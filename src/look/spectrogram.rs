//! Spectrograms: time across, frequency upwards, loudness as colour.

use super::canvas::{Canvas, FAINT, INK, Rgb, WHITE, mix};
use super::text::fit;
use crate::eval::sound::Spectrum;
use crate::{Error, Result};

/// Seconds of a window: short enough to see strikes, long enough to see partials 60 Hz apart.
const WINDOW: f64 = 0.032;
/// What is this many decibels below full scale, or softer, is drawn as silence.
const RANGE: f32 = 80.0;
/// The plot in pixels.
const WIDTH: usize = 460;
const HEIGHT: usize = 200;
const LEFT: usize = 46;
const TOP: usize = 30;
const BOTTOM: usize = 40;
const RIGHT: usize = 14;
const SMALL: f32 = 15.0;
const TITLE: f32 = 18.0;

/// Several sounds side by side over the same axes, each with its title. `marks` are seconds that get a tick above each
/// plot, such as strikes.
///
/// # Errors
/// If there is no sound, or no sample to draw.
pub fn spectrograms(sounds: &[(&str, &[f32])], rate: f64, marks: &[f64]) -> Result<Canvas> {
    let longest = sounds.iter().map(|(_, wave)| wave.len()).max().unwrap_or(0);
    if longest == 0 || rate.is_nan() || rate < 1.0 {
        return Err(Error::failed("a spectrogram needs at least one sample and a rate of 1 Hz or more"));
    }
    let panel = LEFT + WIDTH + RIGHT;
    let mut canvas = Canvas::new(panel * sounds.len(), TOP + HEIGHT + BOTTOM, WHITE);
    let seconds = longest as f64 / rate;
    for (i, (title, wave)) in sounds.iter().enumerate() {
        let left = i * panel + LEFT;
        let levels = levels(wave, longest, rate);
        canvas.paint((left, TOP), (WIDTH, HEIGHT), |x, y| loudness(levels[y * WIDTH + x]));
        canvas.frame(left, TOP, WIDTH, HEIGHT, FAINT);
        let title = fit(TITLE, title, WIDTH as f32);
        canvas.text(left as f32, 2.0, TITLE, INK, &title);
        for mark in marks.iter().filter(|mark| (0.0..=seconds).contains(*mark)) {
            let x = left + (mark / seconds * WIDTH as f64) as usize;
            canvas.fill(x.saturating_sub(1), TOP - 7, 2, 6, MARK);
        }
        axes(&mut canvas, left, seconds, rate / 2000.0);
    }
    Ok(canvas)
}

const MARK: Rgb = [214, 73, 9];

/// Ticks and names: seconds below, kilohertz on the left.
fn axes(canvas: &mut Canvas, left: usize, seconds: f64, kilohertz: f64) {
    let bottom = TOP + HEIGHT;
    let step = round_step(seconds / 5.0);
    for i in 0..=(seconds / step + 1e-9) as usize {
        let at = i as f64 * step;
        let x = left + (at / seconds * WIDTH as f64) as usize;
        canvas.fill(x, bottom + 1, 1, 4, FAINT);
        canvas.text_centred(x as f32, bottom as f32 + 4.0, SMALL, FAINT, &number(at));
    }
    canvas.text_centred((left + WIDTH / 2) as f32, bottom as f32 + 19.0, SMALL, INK, "seconds");
    let step = round_step(kilohertz / 4.0);
    let last = (kilohertz / step + 1e-9) as usize;
    for i in 0..=last {
        let at = i as f64 * step;
        let y = bottom - (at / kilohertz * HEIGHT as f64) as usize;
        canvas.fill(left - 5, y.min(bottom - 1), 4, 1, FAINT);
        let label = if i == last { format!("{} kHz", number(at)) } else { number(at) };
        // The topmost label has its unit, and stands within the plot's height.
        canvas.text_right(left as f32 - 7.0, (y as f32 - 8.0).max(TOP as f32 - 8.0), SMALL, FAINT, &label);
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= least).unwrap_or(power)
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Loudness from 0 (silence) to 1 (a sine at full scale), `[HEIGHT, WIDTH]`, the highest frequency first.
fn levels(wave: &[f32], longest: usize, rate: f64) -> Vec<f32> {
    let window = ((WINDOW * rate).round() as usize).max(4);
    // At least as many bins as rows: rows are then read off the nearest bin.
    let mut spectrum = Spectrum::new(window, (2 * HEIGHT).max(window).next_power_of_two());
    let scale = 2.0 / spectrum.weight();
    let mut levels = vec![0.0f32; WIDTH * HEIGHT];
    let mut magnitudes = Vec::new();
    // A column shows the loudest of the windows that fall on it, so that no short strike is lost in a long clip.
    let columns = longest as f64 / WIDTH as f64;
    let windows = (columns / (window as f64 / 2.0)).ceil().max(1.0) as usize;
    for x in 0..WIDTH {
        for part in 0..windows {
            let middle = (x as f64 + (part as f64 + 0.5) / windows as f64) * columns;
            spectrum.magnitudes(wave, middle as isize - window as isize / 2, &mut magnitudes);
            for y in 0..HEIGHT {
                let place = (HEIGHT - 1 - y) as f64 / (HEIGHT - 1) as f64;
                let amplitude = magnitudes[(place * (magnitudes.len() - 1) as f64).round() as usize] * scale;
                let level = 1.0 + 20.0 * amplitude.max(1e-9).log10() / RANGE;
                levels[y * WIDTH + x] = levels[y * WIDTH + x].max(level.clamp(0.0, 1.0));
            }
        }
    }
    levels
}

/// Dark blue over purple and orange to pale yellow: lightness rises evenly, so louder is always lighter, in grey and to
/// the colour-blind as well.
pub fn loudness(level: f32) -> Rgb {
    const LADDER: [Rgb; 6] =
        [[8, 8, 32], [62, 20, 98], [136, 38, 106], [206, 68, 72], [246, 140, 42], [252, 244, 166]];
    let place = level.clamp(0.0, 1.0) * (LADDER.len() - 1) as f32;
    // NaN, which clamp lets through, casts to step 0.
    let step = (place as usize).min(LADDER.len() - 2);
    mix(LADDER[step], LADDER[step + 1], (place - step as f32).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn light(rgb: Rgb) -> f32 {
        0.2126 * f32::from(rgb[0]) + 0.7152 * f32::from(rgb[1]) + 0.0722 * f32::from(rgb[2])
    }

    #[test]
    fn louder_is_always_lighter() {
        let lights: Vec<f32> = (0..=100).map(|i| light(loudness(i as f32 / 100.0))).collect();
        assert!(lights.windows(2).all(|pair| pair[1] > pair[0]), "{lights:?}");
        loudness(f32::NAN);
    }

    /// A sine at 1 kHz in the second half of a second at 8 kHz: its line is a quarter up, on the right half.
    #[test]
    fn a_tone_is_a_line_at_its_height_while_it_sounds() {
        let tone = |n: usize| if n < 4000 { 0.0 } else { (std::f32::consts::TAU * n as f32 / 8.0).sin() };
        let wave: Vec<f32> = (0..8000).map(tone).collect();
        let canvas = spectrograms(&[("tone", &wave)], 8000.0, &[0.5]).unwrap();
        let row = TOP + HEIGHT - HEIGHT / 4;
        let at = |share: f64, row: usize| light(canvas.get(LEFT + (share * WIDTH as f64) as usize, row));
        assert!(at(0.75, row) > 180.0, "{}", at(0.75, row));
        assert!(at(0.25, row) < 20.0 && at(0.75, row - 60) < 60.0);
        assert_eq!(canvas.get(LEFT + WIDTH / 2, TOP - 4), MARK);
    }

    #[test]
    fn nothing_to_draw_is_an_error_and_short_sounds_are_drawn() {
        assert!(spectrograms(&[], 8000.0, &[]).is_err() && spectrograms(&[("", &[])], 8000.0, &[]).is_err());
        assert!(spectrograms(&[("a", &[0.5]), ("b", &[])], 4000.0, &[f64::NAN, 9.0]).is_ok());
        assert!(spectrograms(&[("a", &[f32::NAN; 100])], 4000.0, &[]).is_ok());
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!([0.6, 0.04, 1.0, 5.1].map(round_step), [1.0, 0.05, 1.0, 10.0]);
        assert_eq!([2.0, 0.25, 0.0].map(number), ["2", "0.25", "0"]);
    }
}
