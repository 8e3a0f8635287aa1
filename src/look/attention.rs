//! What the model looked at: its attention over the picture, one row for each head, one column for each word.

use super::canvas::{Canvas, FAINT, INK, Rgb, WHITE, bilinear, check_picture, mix};
use super::text::{fit, wrap};
use crate::{Error, Result};

/// Longest side of a cell's picture, in pixels.
const CELL: usize = 112;
const GAP: usize = 6;
const EDGE: usize = 20;
/// Room for the row labels.
const LABELS: usize = 64;
/// Longer captions go on in a further band of rows below.
const COLUMNS: usize = 10;
const LINE: f32 = 17.0;
const TITLE: f32 = 22.0;

/// Draws `weights[heads, words, grid_h * grid_w]` over the picture `pixels[height, width, 3]`: bright and coloured
/// where a head looks while it writes the word, dark grey where it does not. Each cell is scaled to its own largest
/// weight, which is printed in its corner as a share of the whole. The last row is the mean over the heads.
#[allow(clippy::too_many_arguments)] // the shapes of two arrays, as they come from the model
pub fn attention_picture(
    pixels: &[u8],
    height: usize,
    width: usize,
    words: &[String],
    weights: &[f32],
    heads: usize,
    grid_h: usize,
    grid_w: usize,
) -> Result<Canvas> {
    check_picture(pixels, height, width)?;
    let cells = grid_h * grid_w;
    if cells == 0 || heads == 0 || words.is_empty() || weights.len() != heads * words.len() * cells {
        return Err(Error::failed(format!(
            "an attention picture of {heads} heads, {} words and {grid_h}x{grid_w} patches needs {} weights and at \
             least one of each, {} came",
            words.len(),
            heads * words.len() * cells,
            weights.len()
        )));
    }
    let mean = mean_over_heads(weights, heads);
    let longest = width.max(height);
    let (cell_w, cell_h) = ((width * CELL / longest).max(1), (height * CELL / longest).max(1));
    let source = resized(pixels, height, width, cell_h, cell_w);

    let columns = words.len().min(COLUMNS);
    let bands = words.len().div_ceil(columns);
    let rows = heads + 1;
    // Few words still need room for the caption beside the picture.
    let total_w = (EDGE * 2 + LABELS + columns * (cell_w + GAP)).max(560);
    let head_h = cell_h.max(84) + GAP * 4;
    let band_h = LINE as usize + 6 + rows * (cell_h + GAP) + GAP * 5;
    let mut canvas = Canvas::new(total_w, EDGE * 2 + head_h + bands * band_h, WHITE);

    // The picture itself, the caption, and how to read the rest.
    canvas.paint((EDGE, EDGE), (cell_w, cell_h), |x, y| source.get(x, y));
    canvas.frame(EDGE, EDGE, cell_w, cell_h, FAINT);
    let (text_x, text_w) = (EDGE + cell_w + 16, (total_w - EDGE * 2 - cell_w - 16) as f32);
    let mut y = EDGE as f32 - 3.0;
    for line in wrap(TITLE, &words.join(" "), text_w).into_iter().take(3) {
        canvas.text(text_x as f32, y, TITLE, INK, &line);
        y += TITLE + 3.0;
    }
    let legend = "Bright: where a head looks as it writes the word. Each cell is scaled to its largest weight, \
                  printed below it on the left as a share of all the attention.";
    for line in wrap(LINE - 2.0, legend, text_w).into_iter().take(3) {
        canvas.text(text_x as f32, y + 2.0, LINE - 2.0, FAINT, &line);
        y += LINE;
    }

    for band in 0..bands {
        let top = EDGE + head_h + band * band_h;
        let first = band * columns;
        for (column, word) in words[first..].iter().take(columns).enumerate() {
            let x = EDGE + LABELS + column * (cell_w + GAP);
            let label = fit(LINE, word, (cell_w + GAP) as f32);
            canvas.text_centred((x + cell_w / 2) as f32, top as f32, LINE, INK, &label);
            for row in 0..rows {
                // The mean stands a little apart from the heads.
                let apart = if row == heads { GAP * 2 } else { 0 };
                let y = top + LINE as usize + 6 + row * (cell_h + GAP) + apart;
                let of = if row == heads { &mean[..] } else { &weights[row * words.len() * cells..] };
                let grid = &of[(first + column) * cells..][..cells];
                cell(&mut canvas, (x, y), &source, grid, grid_h, grid_w);
                if column == 0 {
                    let name = if row == heads { "mean".to_string() } else { format!("head {}", row + 1) };
                    let (right, middle) =
                        ((EDGE + LABELS - 10) as f32, y as f32 + (cell_h as f32 - LINE) / 2.0);
                    canvas.text_right(right, middle, LINE, INK, &name);
                }
            }
        }
    }
    Ok(canvas)
}

/// `[words, cells]` from `[heads, words, cells]`.
fn mean_over_heads(weights: &[f32], heads: usize) -> Vec<f32> {
    let one = weights.len() / heads;
    (0..one).map(|i| weights.iter().skip(i).step_by(one).sum::<f32>() / heads as f32).collect()
}

fn cell(
    canvas: &mut Canvas,
    at: (usize, usize),
    source: &Canvas,
    grid: &[f32],
    grid_h: usize,
    grid_w: usize,
) {
    // Not max: weights that are all zero or NaN must give a dark cell, not a division by zero.
    let largest = grid.iter().copied().filter(|w| w.is_finite()).fold(0.0, f32::max);
    let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    let (w, h) = (source.width, source.height);
    canvas.paint(at, (w, h), |x, y| {
        let weight = bilinear(grid, grid_h, grid_w, (x as f32 + 0.5) / w as f32, (y as f32 + 0.5) / h as f32);
        let lit = (weight * scale).clamp(0.0, 1.0);
        let pixel = source.get(x, y);
        mix(shadow(pixel), pixel, if lit.is_nan() { 0.0 } else { lit })
    });
    let share = format!("{:.0} %", 100.0 * largest);
    let y = (at.1 + h) as f32 - 15.0;
    // Dark below light: readable on a lit and on an unlit corner.
    canvas.text(at.0 as f32 + 4.0, y + 1.0, 13.0, [0, 0, 0], &share);
    canvas.text(at.0 as f32 + 3.0, y, 13.0, WHITE, &share);
}

/// What is not looked at: dark, nearly grey, its outlines still there.
fn shadow(pixel: Rgb) -> Rgb {
    let grey = 0.3 * f32::from(pixel[0]) + 0.59 * f32::from(pixel[1]) + 0.11 * f32::from(pixel[2]);
    std::array::from_fn(|i| (16.0 + 0.22 * (0.75 * grey + 0.25 * f32::from(pixel[i]))) as u8)
}

fn resized(pixels: &[u8], height: usize, width: usize, to_h: usize, to_w: usize) -> Canvas {
    let mut canvas = Canvas::new(to_w, to_h, WHITE);
    let channels: [Vec<f32>; 3] = std::array::from_fn(|channel| {
        pixels.iter().skip(channel).step_by(3).map(|&b| f32::from(b)).collect()
    });
    // Many source pixels to one: sample a few places within the pixel, so that thin lines do not vanish.
    let samples = (width.div_ceil(to_w)).clamp(1, 4);
    canvas.paint((0, 0), (to_w, to_h), |x, y| {
        std::array::from_fn(|channel| {
            let sum: f32 = (0..samples * samples)
                .map(|i| {
                    let (dx, dy) = ((i % samples) as f32 + 0.5, (i / samples) as f32 + 0.5);
                    let across = (x as f32 + dx / samples as f32) / to_w as f32;
                    let down = (y as f32 + dy / samples as f32) / to_h as f32;
                    bilinear(&channels[channel], height, width, across, down)
                })
                .sum();
            (sum / (samples * samples) as f32).round() as u8
        })
    });
    canvas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_string).collect()
    }

    /// The mean luminance of a rectangle.
    fn light(canvas: &Canvas, x: usize, y: usize, side: usize) -> f32 {
        let all = (0..side * side).map(|i| canvas.get(x + i % side, y + i / side));
        all.map(|p| p.iter().map(|&c| f32::from(c)).sum::<f32>()).sum::<f32>() / (3 * side * side) as f32
    }

    #[test]
    fn a_cell_is_bright_where_the_head_looks() {
        let (heads, grid) = (2, 4);
        let words = words("a red circle");
        // Head 1 looks at the upper left patch at the first word, head 2 at the lower right one; else all alike.
        let mut weights = vec![1.0 / 16.0; heads * words.len() * grid * grid];
        weights[..16].fill(0.0);
        weights[0] = 1.0;
        weights[3 * 16..4 * 16].fill(0.0);
        weights[3 * 16 + 15] = 1.0;
        let canvas =
            attention_picture(&vec![220; 64 * 64 * 3], 64, 64, &words, &weights, heads, grid, grid).unwrap();
        let left = EDGE + LABELS;
        let top = EDGE + CELL + GAP * 4 + LINE as usize + 6;
        let second = top + CELL + GAP;
        let mean = second + CELL + GAP * 3;
        let far = CELL - 14;
        assert!(light(&canvas, left + 2, top + 2, 12) > 200.0);
        assert!(light(&canvas, left + far, top + 40, 12) < 80.0);
        assert!(light(&canvas, left + 2, second + 2, 12) < 80.0);
        assert!(light(&canvas, left + far, second + far, 12) > 200.0);
        // The mean shows both, and a head that looks everywhere alike is bright everywhere.
        assert!(light(&canvas, left + 2, mean + 2, 12) > 200.0);
        assert!(light(&canvas, left + far, mean + far, 12) > 200.0);
        assert!(light(&canvas, left + CELL + GAP + 50, top + 50, 12) > 200.0);
    }

    #[test]
    fn long_captions_and_wide_pictures_fit() {
        let words = words(&vec!["extraordinarily"; 23].join(" "));
        let weights = vec![0.1; 3 * 23 * 2];
        let canvas = attention_picture(&vec![90; 300 * 20 * 3], 20, 300, &words, &weights, 3, 1, 2).unwrap();
        assert!(canvas.width < 1400, "{}", canvas.width);
    }

    #[test]
    fn weights_of_another_shape_or_no_number_do_no_harm() {
        let pixels = vec![0; 12];
        let error = attention_picture(&pixels, 2, 2, &words("a b"), &[0.0; 7], 2, 2, 1).unwrap_err();
        assert!(error.to_string().contains("needs 8 weights"), "{error}");
        assert!(attention_picture(&pixels, 3, 2, &words("a b"), &[0.0; 8], 2, 2, 1).is_err());
        assert!(attention_picture(&pixels, 2, 2, &[], &[], 2, 2, 1).is_err());
        attention_picture(&pixels, 2, 2, &words("a b"), &[f32::NAN; 8], 2, 2, 1).unwrap();
        attention_picture(&pixels, 2, 2, &words("a b"), &[0.0; 8], 2, 2, 1).unwrap();
    }
}
