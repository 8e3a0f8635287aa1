//! The decoder: samples that see the samples before them, as each layer's patterns say, then the frames near by.
//!
//! Keys and values of the frames for all layers that look at them come from one product, `memory`, (batch * tokens,
//! layers * 2 * width).

use super::Ends;
use super::positions::{LEAST_PERIOD, period, waves};
use crate::Result;
use crate::config::foley::Table;
use crate::config::{self, NormOrder};
use crate::graph::{Graph, Id};
use crate::nn::init::Init;
use crate::nn::layers::{FeedForward, Linear, Norm, Residual, SelfAttention};
use crate::nn::{Parameter, Parameters, Part, Sites};
use crate::ops::attention::pattern::{Pattern, Rate};
use crate::ops::attention::{self, Heads};
use crate::ops::embedding::embedding;

const PART: Part = Part::Decoder;

/// The decoder's parameters.
#[derive(Debug)]
pub struct Decoder {
    pub(super) codes: Parameter,
    pub(super) positions: Parameter,
    pub(super) first_norm: Option<Norm>,
    /// None in a set without pictures.
    memory: Option<Linear>,
    pub(super) layers: Vec<Layer>,
    /// Where embeddings are not tied.
    output: Option<Parameter>,
    /// Which frames' tokens a sample sees.
    pub(super) near: Pattern,
}

#[derive(Debug)]
pub(super) struct Layer {
    pub attention: SelfAttention,
    /// One for all heads, or one a head.
    pub patterns: Vec<Pattern>,
    pub attention_norm: Norm,
    pub cross: Option<Cross>,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

/// A layer's look at the frames.
#[derive(Debug)]
pub(super) struct Cross {
    pub query: Linear,
    pub out: Linear,
    pub norm: Norm,
    /// Its keys' first column of the memory; the values stand behind them.
    pub column: usize,
}

/// A clip's batch and the frames' tokens of each clip, with their keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub memory: Option<Id>,
    pub batch: usize,
    pub tokens: usize,
}

impl Decoder {
    pub(super) fn new(
        p: &mut Parameters,
        config: &config::Foley,
        ends: Ends,
        tokens: usize,
    ) -> Result<Decoder> {
        let (width, depth) = (config.width, config.decoder_layers);
        // Unit variance after the scale of sqrt(width), and sensible logits where the table is the output layer too.
        let table = Init::Normal((width as f32).powf(-0.5));
        // Where it is not the output layer too, one more row is for samples that are not to be seen.
        let rows = ends.classes + usize::from(!config.tie_embeddings);
        let codes = p.add(PART, "decoder.codes", &[rows, width], table.clone());
        let rows = match config.period {
            0 => period(ends.sample_rate, ends.pictures(), LEAST_PERIOD.max(2 * width)),
            rows => rows,
        };
        let init = match config.sample_positions {
            Table::Learned => Init::Normal(0.02),
            Table::Sinusoid => Init::Constant(waves(rows, width)),
        };
        let positions = p.add(PART, "decoder.positions", &[rows, width], init);
        let first_norm = (config.norm == NormOrder::Pre).then(|| Norm::new(p, PART, "decoder.norm", width));
        let crossing = |i: usize| ends.frames > 0 && config.crosses(i);
        let looks = (0..depth).filter(|&i| crossing(i)).count();
        let memory = (looks > 0).then(|| Linear::new(p, PART, "decoder.memory", width, 2 * looks * width));
        let patterns = config.layer_patterns(ends.samples)?;
        let mut looked = 0;
        let mut layers = Vec::new();
        for (i, patterns) in patterns.into_iter().enumerate() {
            let name = |part: &str| format!("decoder.{i}.{part}");
            let attention = SelfAttention::new(p, PART, &name("attention"), width, depth);
            let attention_norm = Norm::new(p, PART, &name("attention.norm"), width);
            let column = 2 * width * looked;
            looked += usize::from(crossing(i));
            let cross = crossing(i).then(|| Cross {
                query: Linear::new(p, PART, &name("cross.query"), width, width),
                out: Linear::residual(p, PART, &name("cross.out"), (width, width), depth),
                norm: Norm::new(p, PART, &name("cross.norm"), width),
                column,
            });
            let inner = config.feed_forward();
            let feed_forward = FeedForward::new(p, PART, &name("feed_forward"), width, inner, depth);
            let feed_forward_norm = Norm::new(p, PART, &name("feed_forward.norm"), width);
            layers.push(Layer {
                attention,
                patterns,
                attention_norm,
                cross,
                feed_forward,
                feed_forward_norm,
            });
        }
        let output =
            (!config.tie_embeddings).then(|| p.add(PART, "decoder.output", &[ends.classes, width], table));
        let near = near(config, ends, tokens);
        Ok(Decoder { codes, positions, first_norm, memory, layers, output, near })
    }

    /// The matrix (classes, width) of the output layer.
    pub(super) fn output_table(&self, g: &mut Graph, p: &Parameters) -> Id {
        p.on(g, self.output.unwrap_or(self.codes))
    }

    /// Columns of the memory.
    pub(super) fn memory_width(&self, width: usize) -> usize {
        2 * width * self.layers.iter().filter(|layer| layer.cross.is_some()).count()
    }

    /// Features of the frames to the keys and values of all layers that look at them.
    pub(super) fn memory(&self, g: &mut Graph, p: &Parameters, features: Id) -> Result<Option<Id>> {
        self.memory.map(|memory| memory.trace(g, p, features, None)).transpose()
    }

    /// Codes (batch, samples) to hidden states (batch * samples, width).
    pub(super) fn trace(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        (codes, samples): (Id, usize),
        seen: Seen,
        sites: &mut Sites,
    ) -> Result<Id> {
        let (table, positions) = (p.on(g, self.codes), p.on(g, self.positions));
        let scale = (config.width as f32).sqrt();
        let rate = config.decoder_dropout;
        let x = embedding(g, codes, samples, table, positions, scale, sites.dropout(rate))?;
        let mut residual = self.start(g, p, x)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let mut traced = |g: &mut Graph| {
                g.scope(i.to_string(), |g| self.layer(g, p, config, layer, residual, samples, seen, sites))
            };
            residual = if config.recompute { g.recompute(traced) } else { traced(g) }?;
        }
        Ok(residual.branch_input)
    }

    #[allow(clippy::too_many_arguments)] // the graph and the model stand before what is really passed
    fn layer(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        layer: &Layer,
        residual: Residual,
        samples: usize,
        seen: Seen,
        sites: &mut Sites,
    ) -> Result<Residual> {
        let rate = config.decoder_dropout;
        let heads = Heads { batch: seen.batch, heads: config.heads, queries: samples, keys: samples };
        let dropout = sites.dropout(rate);
        let branch = layer.attention.trace(g, p, residual.branch_input, heads, &layer.patterns, dropout)?;
        let norm = &layer.attention_norm;
        let mut residual = residual.join(g, p, branch, norm, config.norm, sites.dropout(rate))?;
        if let (Some(cross), Some(memory)) = (&layer.cross, seen.memory) {
            let q = cross.query.trace(g, p, residual.branch_input, None)?;
            let (k, v) = cross.keys_and_values(g, memory, config.width);
            let heads = Heads { keys: seen.tokens, ..heads };
            let mixed = attention::attention(g, q, k, v, heads, &[self.near], None, sites.dropout(rate))?;
            let branch = cross.out.trace(g, p, mixed, None)?;
            residual = residual.join(g, p, branch, &cross.norm, config.norm, sites.dropout(rate))?;
        }
        layer.feed_forward(g, p, config, residual, sites)
    }

    /// The residual stream at the first layer.
    pub(super) fn start(&self, g: &mut Graph, p: &Parameters, x: Id) -> Result<Residual> {
        let branch_input = match &self.first_norm {
            Some(norm) => norm.trace(g, p, x)?,
            None => x,
        };
        Ok(Residual { stream: x, branch_input })
    }
}

/// Which of the frames' tokens a sample sees.
fn near(config: &config::Foley, ends: Ends, tokens: usize) -> Pattern {
    let &[before, after] = config.cross_window.as_slice() else { return Pattern::full() };
    if ends.frames == 0 {
        return Pattern::full();
    }
    // Frames and samples that last equally long: frames / samples = number / (second * sample_rate).
    let (number, second) = ends.frame_rate;
    let (frames, samples) = whole(u64::from(number), u64::from(second) * u64::from(ends.sample_rate));
    Pattern::in_time(before as u32, after as u32, (tokens / ends.frames) as u32, Rate::new(frames, samples))
}

/// The fraction in lowest terms; where that is too large for 32 bits, the nearest that is not much larger than half.
fn whole(over: u64, under: u64) -> (u32, u32) {
    let (mut a, mut b) = (over, under);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let (mut over, mut under) = (over / a.max(1), under / a.max(1));
    while over.max(under) > 1 << 30 {
        (over, under) = (over.div_ceil(2), under.div_ceil(2));
    }
    (over as u32, under as u32)
}

impl Layer {
    pub(super) fn feed_forward(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        residual: Residual,
        sites: &mut Sites,
    ) -> Result<Residual> {
        let branch = self.feed_forward.trace(g, p, residual.branch_input, config.activation)?;
        let dropout = sites.dropout(config.decoder_dropout);
        residual.join(g, p, branch, &self.feed_forward_norm, config.norm, dropout)
    }
}

impl Cross {
    pub(super) fn keys_and_values(&self, g: &mut Graph, memory: Id, width: usize) -> (Id, Id) {
        (g.columns(memory, self.column, width), g.columns(memory, self.column + width, width))
    }
}
