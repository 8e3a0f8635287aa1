//! The encoder: the frames of a clip to tokens, and self-attention over all tokens of the clip, or those of the frames
//! near by.

use super::Ends;
use super::positions::frame_positions;
use crate::config::foley::{Table, Tokens};
use crate::config::{self, Stem};
use crate::graph::{Graph, Id};
use crate::nn::init::Init;
use crate::nn::layers::Linear;
use crate::nn::stack::{Stack, Style};
use crate::nn::{Parameter, Parameters, Part, Sites, stem};
use crate::ops::attention::{Heads, pattern::Pattern};
use crate::ops::patches::{CHANNELS, patches_of};
use crate::ops::positions::add_positions;
use crate::{Error, Result};

const PART: Part = Part::Encoder;

/// The encoder's parameters.
#[derive(Debug)]
pub struct Encoder {
    /// Height and width of a patch: with one token a frame and no convolutions the whole frame.
    patch: (usize, usize),
    convolutions: Option<stem::Stem>,
    /// To the model's width: from a token's pixels, or from the channels of the grid that belong to it.
    embed: Linear,
    positions: Parameter,
    layers: Stack,
    /// Tokens of a clip.
    tokens: usize,
    pattern: Pattern,
}

impl Encoder {
    pub(super) fn new(p: &mut Parameters, config: &config::Foley, ends: Ends) -> Result<Encoder> {
        let (width, side) = (config.width, config.patch);
        let whole = config.tokens == Tokens::Frame;
        let convolves = config.stem == Stem::Convolution;
        let (height, across) = (ends.height, ends.width);
        if (!whole || convolves) && (!height.is_multiple_of(side) || !across.is_multiple_of(side)) {
            return Err(Error::usage(format!(
                "model.patch = {side} does not divide frames of {height} x {across} pixels; choose a patch that \
                 divides both"
            )));
        }
        let patch = if whole && !convolves { (height, across) } else { (side, side) };
        let grid = (height / patch.0, across / patch.1);
        let convolutions = convolves.then(|| stem::Stem::new(p, PART, "encoder.convolution", side, width));
        let cell = convolutions.as_ref().map_or(patch.0 * patch.1 * CHANNELS, |stem| stem.channels);
        let (rows, columns) = if whole { (1, 1) } else { grid };
        let channels = if whole { grid.0 * grid.1 * cell } else { cell };
        let embed = Linear::new(p, PART, "encoder.embed", channels, width);
        let init = match config.frame_positions {
            Table::Learned => Init::Normal(0.02),
            Table::Sinusoid => Init::Constant(frame_positions(ends.frames, rows, columns, width)?),
        };
        let tokens = ends.frames * rows * columns;
        let positions = p.add(PART, "encoder.positions", &[tokens, width], init);
        let style = Style {
            width,
            inner: config.feed_forward(),
            norm: config.norm,
            activation: config.activation,
            dropout: config.encoder_dropout,
        };
        let layers = Stack::new(p, PART, "encoder", config.encoder_layers, style);
        let pattern = match config.encoder_window {
            0 => Pattern::full(),
            // So many frames to either side, counted from the token itself.
            frames => Pattern::banded((frames * rows * columns) as u32, (frames * rows * columns) as u32),
        };
        Ok(Encoder { patch, convolutions, embed, positions, layers, tokens, pattern })
    }

    /// Tokens of a clip.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Frames (batch * frames, height, width, 3) u8 to features (batch * tokens, width).
    pub(super) fn trace(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        frames: Id,
        batch: usize,
        sites: &mut Sites,
    ) -> Result<Id> {
        let tokens = match &self.convolutions {
            Some(convolutions) => {
                let cells = convolutions.trace(g, p, frames)?;
                let rows = batch * self.tokens;
                let columns = g.tensor(cells).len() / rows;
                // The cells of a frame lie side by side, so a frame's token is all of them.
                if (rows, columns) == g.matrix(cells) { cells } else { g.reshape(cells, &[rows, columns]) }
            }
            None => patches_of(g, frames, self.patch)?,
        };
        let embedded = self.embed.trace(g, p, tokens, None)?;
        let positions = p.on(g, self.positions);
        let x = add_positions(g, embedded, positions, sites.dropout(config.encoder_dropout))?;
        let heads = Heads { batch, heads: config.heads, queries: self.tokens, keys: self.tokens };
        self.layers.trace(g, p, x, heads, &[self.pattern], sites)
    }
}
