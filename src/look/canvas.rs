//! An RGB picture to draw on: rectangles, other pictures, PNG out. Text is in `text.rs`.

use std::io::Cursor;
use std::path::Path;

use crate::error::At;
use crate::{Error, Result};

pub type Rgb = [u8; 3];

pub const WHITE: Rgb = [255, 255, 255];
pub const INK: Rgb = [32, 36, 44];
pub const FAINT: Rgb = [110, 118, 130];

/// Pixels `[height, width, 3]`. Whatever is drawn beyond the edges is cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Canvas {
    pub fn new(width: usize, height: usize, ground: Rgb) -> Self {
        Canvas { width, height, pixels: ground.repeat(width * height) }
    }

    /// The colour at column x, row y.
    pub fn get(&self, x: usize, y: usize) -> Rgb {
        let start = (y * self.width + x) * 3;
        [self.pixels[start], self.pixels[start + 1], self.pixels[start + 2]]
    }

    pub fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        if x < self.width && y < self.height {
            let start = (y * self.width + x) * 3;
            self.pixels[start..start + 3].copy_from_slice(&colour);
        }
    }

    /// Mixes `share` (0..1) of the colour into the pixel.
    pub fn blend(&mut self, x: usize, y: usize, colour: Rgb, share: f32) {
        if x < self.width && y < self.height {
            self.set(x, y, mix(self.get(x, y), colour, share));
        }
    }

    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        for row in y..(y + height).min(self.height) {
            for column in x..(x + width).min(self.width) {
                self.set(column, row, colour);
            }
        }
    }

    /// A one-pixel frame around (not over) the rectangle.
    pub fn frame(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        let (left, top) = (x.saturating_sub(1), y.saturating_sub(1));
        self.fill(left, top, width + 2, 1, colour);
        self.fill(left, y + height, width + 2, 1, colour);
        self.fill(left, top, 1, height + 2, colour);
        self.fill(x + width, top, 1, height + 2, colour);
    }

    /// Fills a rectangle from a function of (column, row) within it.
    pub fn paint(
        &mut self,
        (x, y): (usize, usize),
        (width, height): (usize, usize),
        colour: impl Fn(usize, usize) -> Rgb,
    ) {
        for row in 0..height {
            for column in 0..width {
                self.set(x + column, y + row, colour(column, row));
            }
        }
    }

    /// The picture as a PNG file's bytes.
    pub fn png(&self) -> Result<Vec<u8>> {
        png(&self.pixels, self.height, self.width)
    }

    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        std::fs::write(&path, self.png()?).at("write", path)
    }
}

/// A PNG file's bytes from pixels `[height, width, 3]`.
pub fn png(pixels: &[u8], height: usize, width: usize) -> Result<Vec<u8>> {
    check_picture(pixels, height, width)?;
    let mut bytes = Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut bytes,
        pixels,
        width as u32,
        height as u32,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|error| Error::failed(format!("cannot encode a picture of {width}x{height} as PNG: {error}")))?;
    Ok(bytes.into_inner())
}

/// An error unless the bytes are a picture `[height, width, 3]` of at least one pixel.
pub(super) fn check_picture(pixels: &[u8], height: usize, width: usize) -> Result<()> {
    if height == 0 || width == 0 || pixels.len() != height * width * 3 {
        return Err(Error::failed(format!(
            "a picture of {width}x{height} needs {} bytes of RGB and at least one pixel, {} bytes came",
            height * width * 3,
            pixels.len()
        )));
    }
    Ok(())
}

pub fn mix(from: Rgb, to: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|i| {
        (f32::from(from[i]) + (f32::from(to[i]) - f32::from(from[i])) * share).round() as u8
    })
}

/// Blue for -1, white for 0, red for 1: an even ladder of lightness, told apart by the colour-blind as well.
pub fn diverging(value: f32) -> Rgb {
    const LADDER: [Rgb; 5] = [[23, 70, 140], [110, 165, 214], [247, 247, 247], [240, 140, 95], [168, 22, 40]];
    let place = (value.clamp(-1.0, 1.0) + 1.0) * 2.0;
    // NaN, which clamp lets through, casts to step 0.
    let step = (place as usize).min(LADDER.len() - 2);
    mix(LADDER[step], LADDER[step + 1], (place - step as f32).clamp(0.0, 1.0))
}

/// The value at a place (0..1 across and down) of a grid `[rows, columns]`, bilinear between the cells' middles and
/// constant beyond the outermost ones.
pub(super) fn bilinear(grid: &[f32], rows: usize, columns: usize, across: f32, down: f32) -> f32 {
    let split = |place: f32, cells: usize| {
        let place = (place * cells as f32 - 0.5).clamp(0.0, cells as f32 - 1.0);
        let low = place as usize;
        (low, (low + 1).min(cells - 1), place - low as f32)
    };
    let ((left, right, x), (top, bottom, y)) = (split(across, columns), split(down, rows));
    let row = |row: usize| grid[row * columns + left] * (1.0 - x) + grid[row * columns + right] * x;
    row(top) * (1.0 - y) + row(bottom) * y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_reads_back_as_the_same_pixels() {
        let mut canvas = Canvas::new(7, 3, WHITE);
        canvas.paint((1, 1), (9, 9), |x, y| [x as u8 * 20, y as u8 * 40, 9]);
        let read = image::load_from_memory(&canvas.png().unwrap()).unwrap().to_rgb8();
        assert_eq!((read.width(), read.height()), (7, 3));
        assert_eq!(read.into_raw(), canvas.pixels);
        assert_eq!(canvas.get(0, 0), WHITE);
        assert_eq!(canvas.get(6, 2), [100, 40, 9]);
    }

    #[test]
    fn bytes_that_are_no_picture_are_an_error() {
        assert!(png(&[0; 10], 2, 2).unwrap_err().to_string().contains("12 bytes of RGB"));
        assert!(png(&[], 0, 2).is_err());
    }

    #[test]
    fn bilinear_passes_through_the_cells_and_halfway_between() {
        let grid = [0.0, 1.0, 2.0, 5.0];
        assert_eq!(bilinear(&grid, 2, 2, 0.25, 0.25), 0.0);
        assert_eq!(bilinear(&grid, 2, 2, 0.75, 0.75), 5.0);
        assert_eq!(bilinear(&grid, 2, 2, 0.5, 0.5), 2.0);
        assert_eq!(bilinear(&grid, 2, 2, 0.0, 1.0), 2.0);
    }

    #[test]
    fn the_diverging_colours_run_from_blue_to_red() {
        let (low, middle, high) = (diverging(-1.0), diverging(0.0), diverging(1.0));
        assert!(low[2] > low[0] && high[0] > high[2] && middle.iter().all(|&c| c > 240));
        assert_eq!(diverging(7.0), high);
        diverging(f32::NAN);
    }
}
