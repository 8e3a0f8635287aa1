//! The convolution stem: pixels to a grid of channels, halving the picture layer by layer.

use super::layers::Linear;
use super::{Parameters, Part};
use crate::Result;
use crate::config::Activation;
use crate::graph::{Graph, Id};
use crate::ops::convolution::{SIDE, STRIDE, windows};
use crate::ops::patches::{CHANNELS, patches};

/// Convolutions of 3x3 with stride 2 down to a grid of patches.
#[derive(Debug)]
pub struct Stem {
    convolutions: Vec<Linear>,
    /// Channels of its result.
    pub channels: usize,
}

impl Stem {
    /// Registers `NAME.0` and so on. Channels double from layer to layer and end at `width`; `patch` is a power of two.
    pub fn new(p: &mut Parameters, part: Part, name: &str, patch: usize, width: usize) -> Stem {
        let halvings = patch.ilog2();
        let (mut convolutions, mut channels) = (Vec::new(), CHANNELS);
        for i in 0..halvings {
            let next = (width >> (halvings - 1 - i)).max(8);
            convolutions.push(Linear::new(p, part, &format!("{name}.{i}"), SIDE * SIDE * channels, next));
            channels = next;
        }
        Stem { convolutions, channels }
    }

    /// Pixels (pictures, height, width, 3) u8 to (pictures * grid, channels).
    pub fn trace(&self, g: &mut Graph, p: &Parameters, pixels: Id) -> Result<Id> {
        let (mut height, mut width) = (g.shape(pixels)[1], g.shape(pixels)[2]);
        let mut x = patches(g, pixels, 1)?;
        for convolution in &self.convolutions {
            let seen = windows(g, x, height, width)?;
            x = convolution.trace(g, p, seen, Some(Activation::Relu))?;
            (height, width) = (height / STRIDE, width / STRIDE);
        }
        Ok(x)
    }
}
