//! The encoder: a stem that turns pixels into tokens, and self-attention layers over them.

use super::{Captioner, Ends, Sites};
use crate::Result;
use crate::config::{self, NormOrder, Positions, Stem};
use crate::graph::{Graph, Id};
use crate::nn::init::Init;
use crate::nn::layers::{FeedForward, Linear, Norm, Residual, SelfAttention};
use crate::nn::positions::{sinusoid_1d, sinusoid_2d};
use crate::nn::{Parameter, Parameters, Part};
use crate::ops::attention::{Heads, pattern::Pattern};
use crate::ops::convolution::{SIDE, STRIDE, windows};
use crate::ops::patches::{CHANNELS, patches};
use crate::ops::positions::add_positions;

const PART: Part = Part::Encoder;

/// The encoder's parameters.
#[derive(Debug)]
pub struct Encoder {
    /// Convolutions, each halving the picture; none in the patch stem.
    convolutions: Vec<Linear>,
    /// To the model's width: from a patch's pixels, or from the last convolution's channels.
    embed: Linear,
    positions: Parameter,
    /// Before the first layer in pre-norm.
    first_norm: Option<Norm>,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    attention: SelfAttention,
    /// The norm behind the attention's sum.
    attention_norm: Norm,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

impl Encoder {
    pub(super) fn new(p: &mut Parameters, config: &config::Captioner, ends: Ends) -> Result<Encoder> {
        let (width, depth, patch) = (config.width, config.encoder_layers, config.patch);
        let (rows, columns) = (ends.height / patch, ends.width / patch);
        let mut convolutions = Vec::new();
        let mut channels = patch * patch * CHANNELS;
        if config.stem == Stem::Convolution {
            // Channels double from layer to layer and end at the model's width.
            let halvings = patch.ilog2();
            channels = CHANNELS;
            for i in 0..halvings {
                let next = (width >> (halvings - 1 - i)).max(8);
                let name = format!("encoder.convolution.{i}");
                convolutions.push(Linear::new(p, PART, &name, SIDE * SIDE * channels, next));
                channels = next;
            }
        }
        let embed = Linear::new(p, PART, "encoder.embed", channels, width);
        let init = match config.positions {
            Positions::Learned => Init::Normal(0.02),
            Positions::Sinusoid1d => Init::Constant(sinusoid_1d(rows * columns, width)?),
            Positions::Sinusoid2d => Init::Constant(sinusoid_2d(rows, columns, width)?),
        };
        let positions = p.add(PART, "encoder.positions", &[rows * columns, width], init);
        let first_norm = (config.norm == NormOrder::Pre).then(|| Norm::new(p, PART, "encoder.norm", width));
        let layers = (0..depth)
            .map(|i| Layer {
                attention: SelfAttention::new(p, PART, &format!("encoder.{i}.attention"), width, depth),
                attention_norm: Norm::new(p, PART, &format!("encoder.{i}.attention.norm"), width),
                feed_forward: FeedForward::new(
                    p,
                    PART,
                    &format!("encoder.{i}.feed_forward"),
                    width,
                    config.feed_forward(),
                    depth,
                ),
                feed_forward_norm: Norm::new(p, PART, &format!("encoder.{i}.feed_forward.norm"), width),
            })
            .collect();
        Ok(Encoder { convolutions, embed, positions, first_norm, layers })
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
        let tokens = self.stem(g, model, pixels)?;
        let embedded = self.embed.trace(g, p, tokens, None)?;
        let positions = p.on(g, self.positions);
        let x = add_positions(g, embedded, positions, sites.dropout(rate))?;
        let branch_input = match &self.first_norm {
            Some(norm) => norm.trace(g, p, x)?,
            None => x,
        };
        let mut residual = Residual { stream: x, branch_input };
        let patches = model.patches();
        let heads = Heads { batch, heads: config.heads, queries: patches, keys: patches };
        for (i, layer) in self.layers.iter().enumerate() {
            residual = g.scope(i.to_string(), |g| -> Result<Residual> {
                let dropout = sites.dropout(rate);
                let a =
                    layer.attention.trace(g, p, residual.branch_input, heads, &[Pattern::full()], dropout)?;
                let after = &layer.attention_norm;
                let residual = residual.join(g, p, a, after, config.norm, sites.dropout(rate))?;
                let f = layer.feed_forward.trace(g, p, residual.branch_input, config.activation)?;
                residual.join(g, p, f, &layer.feed_forward_norm, config.norm, sites.dropout(rate))
            })?;
        }
        Ok(residual.branch_input)
    }

    /// Pixels to tokens: whole patches, or the last convolution's pixels.
    fn stem(&self, g: &mut Graph, model: &Captioner, pixels: Id) -> Result<Id> {
        if self.convolutions.is_empty() {
            return patches(g, pixels, model.config.patch);
        }
        let (mut height, mut width) = (model.ends.height, model.ends.width);
        let mut x = patches(g, pixels, 1)?;
        for convolution in &self.convolutions {
            let seen = windows(g, x, height, width)?;
            x = convolution.trace(g, &model.parameters, seen, Some(config::Activation::Relu))?;
            (height, width) = (height / STRIDE, width / STRIDE);
        }
        Ok(x)
    }
}
