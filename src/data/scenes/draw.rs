//! Rendering: the ground, then each object, antialiased.

use super::scene::{Object, REACH, Scene};

/// Samples along each side of a pixel that an edge crosses.
const SAMPLES: usize = 4;
/// Objects darken towards their outline over this share of the side: it sets pale colours off from the ground.
const RIM: f32 = 0.022;

impl Scene {
    /// The picture as red, green, blue bytes, row by row: `[side, side, 3]`.
    pub fn pixels(&self, side: usize) -> Vec<u8> {
        let mut pixels = vec![0; side * side * 3];
        let step = 1.0 / side.max(1) as f32;
        for (row, line) in pixels.chunks_exact_mut(side.max(1) * 3).enumerate() {
            let down = self.slope[1] * ((row as f32 + 0.5) * step - 0.5);
            for (column, pixel) in line.chunks_exact_mut(3).enumerate() {
                let change = down + self.slope[0] * ((column as f32 + 0.5) * step - 0.5);
                for (byte, ground) in pixel.iter_mut().zip(self.ground) {
                    *byte = to_byte(ground + change);
                }
            }
        }
        for object in &self.objects {
            paint(object, side, &mut pixels);
        }
        pixels
    }
}

/// Blends one object over the picture; only its bounding box is visited, and only edge pixels are supersampled.
fn paint(object: &Object, side: usize, pixels: &mut [u8]) {
    let step = 1.0 / side as f32;
    let reach = object.radius * REACH;
    let span = |centre: f32| {
        let low = ((centre - reach) * side as f32).floor().max(0.0) as usize;
        let high = ((centre + reach) * side as f32).ceil().max(0.0) as usize;
        low..high.min(side)
    };
    let fill = object.colour.rgb().map(|channel| channel * object.shade);
    for row in span(object.y) {
        for column in span(object.x) {
            let (x, y) = ((column as f32 + 0.5) * step, (row as f32 + 0.5) * step);
            let distance = object.distance(x, y);
            // A pixel's corner is 0.71 of its side from the middle: further from the outline, it is all in or all out.
            let coverage = if distance >= 0.71 * step {
                continue;
            } else if distance <= -0.71 * step {
                1.0
            } else {
                coverage(object, x, y, step)
            };
            let rim = 0.72 + 0.28 * (-distance / RIM).clamp(0.0, 1.0);
            let start = (row * side + column) * 3;
            for (byte, fill) in pixels[start..start + 3].iter_mut().zip(fill) {
                *byte = to_byte(*byte as f32 + coverage * (fill * rim - *byte as f32));
            }
        }
    }
}

/// The share of the pixel around (x, y) that the object covers.
fn coverage(object: &Object, x: f32, y: f32, step: f32) -> f32 {
    let offset = |i: usize| ((i as f32 + 0.5) / SAMPLES as f32 - 0.5) * step;
    let hits = (0..SAMPLES * SAMPLES)
        .filter(|i| object.distance(x + offset(i % SAMPLES), y + offset(i / SAMPLES)) < 0.0)
        .count();
    hits as f32 / (SAMPLES * SAMPLES) as f32
}

fn to_byte(value: f32) -> u8 {
    (value + 0.5).clamp(0.0, 255.0) as u8
}
