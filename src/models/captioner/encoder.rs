//! The encoder: a stem that turns pixels into tokens, and self-attention layers over them.

use super::{Captioner, Ends};
use crate::Result;
use crate::config::{self, Positions, Stem};
use crate::graph::{Graph, Id};
use crate::nn::init::Init;
use crate::nn::layers::Linear;
use crate::nn::positions::{sinusoid_1d, sinusoid_2d};
use crate::nn::stack::{Stack, Style};
use crate::nn::{Parameter, Parameters, Part, Sites, stem};
use crate::ops::attention::{Heads, pattern::Pattern};
use crate::ops::patches::{CHANNELS, patches};
use crate::ops::positions::add_positions;

const PART: Part = Part::Encoder;

/// The encoder's parameters.
#[derive(Debug)]
pub struct Encoder {
    /// None in the patch stem.
    convolutions: Option<stem::Stem>,
    /// To the model's width: from a patch's pixels, or from the last convolution's channels.
    embed: Linear,
    positions: Parameter,
    layers: Stack,
}

impl Encoder {
    pub(super) fn new(p: &mut Parameters, config: &config::Captioner, ends: Ends) -> Result<Encoder> {
        let (width, depth, patch) = (config.width, config.encoder_layers, config.patch);
        let (rows, columns) = (ends.height / patch, ends.width / patch);
        let convolutions = (config.stem == Stem::Convolution)
            .then(|| stem::Stem::new(p, PART, "encoder.convolution", patch, width));
        let channels = convolutions.as_ref().map_or(patch * patch * CHANNELS, |stem| stem.channels);
        let embed = Linear::new(p, PART, "encoder.embed", channels, width);
        let init = match config.positions {
            Positions::Learned => Init::Normal(0.02),
            Positions::Sinusoid1d => Init::Constant(sinusoid_1d(rows * columns, width)?),
            Positions::Sinusoid2d => Init::Constant(sinusoid_2d(rows, columns, width)?),
        };
        let positions = p.add(PART, "encoder.positions", &[rows * columns, width], init);
        let style = Style {
            width,
            inner: config.feed_forward(),
            norm: config.norm,
            activation: config.activation,
            dropout: config.encoder_dropout,
        };
        let layers = Stack::new(p, PART, "encoder", depth, style);
        Ok(Encoder { convolutions, embed, positions, layers })
    }

    /// Pixels to features (batch * patches, width).
    pub(super) fn trace(
        &self,
        g: &mut Graph,
        model: &Captioner,
        pixels: Id,
        sites: &mut Sites,
    ) -> Result<Id> {
        let (config, p) = (&model.config, &model.parameters);
        let batch = g.shape(pixels)[0];
        let rate = config.encoder_dropout;
        let tokens = match &self.convolutions {
            Some(convolutions) => convolutions.trace(g, p, pixels)?,
            None => patches(g, pixels, config.patch)?,
        };
        let embedded = self.embed.trace(g, p, tokens, None)?;
        let positions = p.on(g, self.positions);
        let x = add_positions(g, embedded, positions, sites.dropout(rate))?;
        let patches = model.patches();
        let heads = Heads { batch, heads: config.heads, queries: patches, keys: patches };
        self.layers.trace(g, p, x, heads, &[Pattern::full()], sites)
    }
}
