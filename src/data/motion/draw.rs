//! Rendering: a plain ground, then each shape. Edges are as smooth as the motion: a pixel takes the share of the colour
//! that its distance from the outline gives, so a shape that moves by a tenth of a pixel changes the picture.

use super::body::Body;

/// Shapes darken towards their outline over this share of the side: it sets pale colours off from the ground.
const RIM: f32 = 0.025;

/// The bodies as red, green, blue bytes, row by row: `[side, side, 3]`, added to the end of `pixels`.
pub fn frame(bodies: &[Body], ground: [f32; 3], side: usize, pixels: &mut Vec<u8>) {
    let step = 1.0 / side as f32;
    for row in 0..side {
        for column in 0..side {
            let (x, y) = ((column as f32 + 0.5) * step, (row as f32 + 0.5) * step);
            let mut colour = ground;
            for body in bodies {
                let radius = body.size.radius() as f32;
                let (dx, dy) = ((x - body.place[0] as f32) / radius, (y - body.place[1] as f32) / radius);
                // Beyond any outline and its soft edge.
                if dx.abs().max(dy.abs()) * radius > radius + step {
                    continue;
                }
                let distance = body.shape.distance(dx, dy) * radius;
                let coverage = (0.5 - distance / step).clamp(0.0, 1.0);
                let rim = 0.75 + 0.25 * (-distance / RIM).clamp(0.0, 1.0);
                for (channel, fill) in colour.iter_mut().zip(body.colour.rgb()) {
                    *channel += coverage * (fill * rim - *channel);
                }
            }
            pixels.extend(colour.map(|channel| (channel + 0.5).clamp(0.0, 255.0) as u8));
        }
    }
}
