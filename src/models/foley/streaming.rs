//! One sample more for each of some clips, or one group of samples, all at the same place in time: what is sounding is made
//! from rings of keys and values, each as long as its layer reaches back, so that memory does not grow with the sound.
//!
//! A step is a sample, with `head = "groups"` a group of them.

use super::Foley;
use super::decoder::{Layer, Samples};
use super::waiting::Waiting;
use crate::Result;
use crate::graph::{DType, Graph, Id};
use crate::nn::layers::Linear;
use crate::ops::attention::Heads;
use crate::ops::attention::decode::{Cache, decode, decode_fixed};
use crate::ops::embedding::embedding_at;
use crate::ops::few_rows::{Ring, Weights};
use crate::ops::positions::add_position_at;
use crate::ops::waveform::decoded::groups_as_heard;

/// The tensors of one step of streaming. The rings are inputs that outlive the step.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// (batch) u32: each clip's last sample; [`super::START`] before the first. (batch, group) u32: its last group, which
    /// before the first is silence, as [`super::START`] is.
    pub codes: Id,
    /// (batch, lags - 1) u32: the samples before those, the nearest first, where `model.lags` is above 1.
    pub earlier: Option<Id>,
    /// (1) u32: how many steps came before.
    pub position: Id,
    /// (1) u32: one more than that.
    pub count: Id,
    /// (1) u32: how many of them belong to the clip whose frames are in `memory`.
    pub moment: Id,
    /// (batch * tokens, memory width): the decoder's view of the frames, where there are any.
    pub memory: Option<Id>,
    /// The logits (batch, classes), or the waveform of the next group (batch, group).
    pub made: Id,
}

impl Layer {
    /// Rows of a clip in its ring, and how many of them stay for good, for sounds of up to `most` steps.
    pub(super) fn ring(&self, most: usize) -> (usize, usize) {
        let pinned = self.patterns.iter().map(|pattern| pattern.prefix_keys(most)).max().unwrap_or(0);
        // A pattern without a limit reaches back to the first sample.
        let reach = self.patterns.iter().map(|pattern| pattern.reach().unwrap_or(most)).max().unwrap_or(1);
        (pinned + reach.max(1), pinned)
    }
}

impl Foley {
    /// Traces one step more for each of `batch` clips. `most` is the longest sound there will be, in steps: what patterns
    /// without a limit (dense, strided, fixed) must keep; bands keep their window alone, whatever it is.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn extend(&self, g: &mut Graph, batch: usize, most: usize) -> Result<Next> {
        let (config, p) = (&self.config, &self.parameters);
        let width = config.width;
        let codes = match self.decoder.samples {
            Samples::Codes { .. } => g.input("codes", &[batch], DType::U32),
            Samples::Groups { .. } => g.input("codes", &[batch, config.group], DType::U32),
        };
        let earlier = self.earlier(g, batch);
        let position = g.input("position", &[1], DType::U32);
        let count = g.input("count", &[1], DType::U32);
        let moment = g.input("moment", &[1], DType::U32);
        let columns = self.memory_width();
        let memory = (columns > 0).then(|| g.input_activation("memory", &[batch * self.tokens(), columns]));
        let positions = p.on(g, self.decoder.positions);
        let x = match self.decoder.samples {
            Samples::Codes { table, lags, .. } => {
                let (table, scale) = (p.on(g, table), (width as f32).sqrt());
                let x = embedding_at(g, codes, position, table, positions, scale)?;
                Samples::with_earlier(g, p, x, lags.zip(earlier), (table, scale))?
            }
            Samples::Groups { enter, .. } => {
                let heard = groups_as_heard(g, codes, config.group, self.ends.codes)?;
                let x = enter.trace(g, p, heard, None)?;
                add_position_at(g, x, position, positions)?
            }
        };
        let mut waiting = Waiting::new(x, self.decoder.first_norm, config.norm);
        let weights = |linear: &Linear, g: &mut Graph, activation| {
            let (weight, bias) = linear.on(g, p);
            Weights { weight, bias: Some(bias), activation }
        };
        for layer in &self.decoder.layers {
            let (capacity, pinned) = layer.ring(most);
            let sizes = Cache { batch, heads: config.heads, capacity, pinned };
            let cache = g.input_activation("cache", &[batch * capacity, 2 * width]);
            let ring = Ring { cache, count, sizes };
            let qkv = weights(&layer.attention.qkv, g, None);
            let (q, stored) = waiting.through(g, p, qkv, Some(ring))?;
            let stored = stored.unwrap_or(cache);
            let (k, v) = (g.columns(stored, 0, width), g.columns(stored, width, width));
            let mixed = decode(g, [q, k, v], count, sizes, &layer.patterns)?;
            waiting.join(layer.attention.out.trace(g, p, mixed, None)?, layer.attention_norm);
            if let (Some(cross), Some(memory)) = (&layer.cross, memory) {
                let query = weights(&cross.query, g, None);
                let (q, _) = waiting.through(g, p, query, None)?;
                let (k, v) = cross.keys_and_values(g, memory, width);
                let queries = config.sequence(self.ends.samples);
                let heads = Heads { batch, heads: config.heads, queries, keys: self.tokens() };
                let mixed = decode_fixed(g, [q, k, v], moment, heads, &[self.decoder.near])?;
                waiting.join(cross.out.trace(g, p, mixed, None)?, cross.norm);
            }
            let first = weights(&layer.feed_forward.first, g, Some(config.activation));
            let (inner, _) = waiting.through(g, p, first, None)?;
            waiting.join(layer.feed_forward.second.trace(g, p, inner, None)?, layer.feed_forward_norm);
        }
        let output = match self.decoder.samples {
            Samples::Codes { output, .. } => {
                Weights { weight: p.on(g, output), bias: None, activation: None }
            }
            Samples::Groups { leave, .. } => weights(&leave, g, None),
        };
        let (made, _) = waiting.through(g, p, output, None)?;
        g.keep(made);
        Ok(Next { codes, earlier, position, count, moment, memory, made })
    }

    /// Bytes of the rings of `batch` clips for sounds of up to `most` steps, keys and values in elements of `bytes`.
    pub fn ring_bytes(&self, batch: usize, most: usize, bytes: usize) -> usize {
        let rows: usize = self.decoder.layers.iter().map(|layer| layer.ring(most).0).sum();
        batch * rows * 2 * self.config.width * bytes
    }
}
