//! The decoder: samples that see the samples before them, as each layer's patterns say, then the frames near by.
//!
//! Keys and values of the frames for all layers that look at them come from one product, `memory`, (batch * tokens,
//! layers * 2 * width).

use super::Ends;
use super::positions::{LEAST_PERIOD, codes, period, waves};
use crate::Result;
use crate::config::foley::{Head, Recompute, Table};
use crate::config::{self, NormOrder};
use crate::graph::{Graph, Id};
use crate::nn::init::Init;
use crate::nn::layers::{FeedForward, Linear, Norm, Residual, SelfAttention};
use crate::nn::positions::sinusoid_1d;
use crate::nn::{Parameter, Parameters, Part, Sites};
use crate::ops::attention::pattern::{Pattern, Rate};
use crate::ops::attention::{self, Heads};
use crate::ops::elementwise::sum;
use crate::ops::embedding::embedding;
use crate::ops::linear::linear;
use crate::ops::positions::add_positions;

const PART: Part = Part::Decoder;

/// The output table starts this much smaller than the samples' own: the first guess is no surer than it is right.
const OUTPUT_SIZE: f32 = 0.25;

/// The decoder's parameters.
#[derive(Debug)]
pub struct Decoder {
    pub(super) samples: Samples,
    pub(super) positions: Parameter,
    pub(super) first_norm: Option<Norm>,
    /// None in a set without pictures.
    memory: Option<Linear>,
    pub(super) layers: Vec<Layer>,
    /// Which frames' tokens a sample sees.
    pub(super) near: Pattern,
}

/// How samples come in and go out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Samples {
    /// One by one: rows of a table of codes, and the table of the logits, which may be the same.
    Codes { table: Parameter, output: Parameter, lags: Option<Lags> },
    /// The waveform of a group at a time.
    Groups { enter: Linear, leave: Linear },
}

/// How the samples before the last one enter with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lags {
    /// (lags - 1, width): what is added to a code for its distance.
    distances: Parameter,
    /// From the codes side by side.
    enter: Linear,
}

#[derive(Debug)]
pub(super) struct Layer {
    pub attention: SelfAttention,
    /// One for all heads, or one a head.
    pub patterns: Vec<Pattern>,
    pub attention_norm: Norm,
    pub cross: Option<Cross>,
    pub feed_forward: FeedForward,
    pub feed_forward_norm: Norm,
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
        let samples = Samples::new(p, config, ends);
        let grouped = config.head == Head::Groups;
        let rows = match config.period {
            // Groups are few.
            _ if grouped => config.sequence(ends.samples),
            0 => period(ends.sample_rate, ends.pictures(), LEAST_PERIOD.max(2 * width)),
            rows => rows,
        };
        let init = match config.sample_positions {
            Table::Learned => Init::Normal(0.02),
            Table::Sinusoid if grouped => Init::Constant(sinusoid_1d(rows, width)?),
            Table::Sinusoid => Init::Constant(waves(rows, width)),
        };
        let positions = p.add(PART, "decoder.positions", &[rows, width], init);
        let first_norm = (config.norm == NormOrder::Pre).then(|| Norm::new(p, PART, "decoder.norm", width));
        let crossing = |i: usize| ends.frames > 0 && config.crosses(i);
        let looks = (0..depth).filter(|&i| crossing(i)).count();
        let memory = (looks > 0).then(|| Linear::new(p, PART, "decoder.memory", width, 2 * looks * width));
        let patterns = config.layer_patterns(config.sequence(ends.samples))?;
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
        let near = near(config, ends, tokens);
        Ok(Decoder { samples, positions, first_norm, memory, layers, near })
    }

    /// Hidden states to logits (batch * samples, classes), or to the waveform of groups (batch * groups, group).
    pub(super) fn leave(&self, g: &mut Graph, p: &Parameters, hidden: Id) -> Result<Id> {
        g.scope("output", |g| match self.samples {
            Samples::Codes { output, .. } => {
                let table = p.on(g, output);
                linear(g, hidden, table, None, None)
            }
            Samples::Groups { leave, .. } => leave.trace(g, p, hidden, None),
        })
    }

    /// Columns of the memory.
    pub(super) fn memory_width(&self, width: usize) -> usize {
        2 * width * self.layers.iter().filter(|layer| layer.cross.is_some()).count()
    }

    /// Features of the frames to the keys and values of all layers that look at them.
    pub(super) fn memory(&self, g: &mut Graph, p: &Parameters, features: Id) -> Result<Option<Id>> {
        self.memory.map(|memory| memory.trace(g, p, features, None)).transpose()
    }

    /// Codes (batch, samples) and what was before each, or groups (batch * samples, group), to hidden states (batch * samples, width).
    pub(super) fn trace(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        (shown, earlier, samples): (Id, Option<Id>, usize),
        seen: Seen,
        sites: &mut Sites,
    ) -> Result<Id> {
        let positions = p.on(g, self.positions);
        let dropout = sites.dropout(config.decoder_dropout);
        let x = match self.samples {
            Samples::Codes { table, lags, .. } => {
                let (table, scale) = (p.on(g, table), (config.width as f32).sqrt());
                let x = embedding(g, shown, samples, table, positions, scale, dropout)?;
                Samples::with_earlier(g, p, x, lags.zip(earlier), (table, scale))?
            }
            Samples::Groups { enter, .. } => {
                let x = enter.trace(g, p, shown, None)?;
                add_positions(g, x, positions, dropout)?
            }
        };
        let mut residual = self.start(g, p, x)?;
        for (i, layer) in self.layers.iter().enumerate() {
            residual = g.scope(i.to_string(), |g| -> Result<Residual> {
                let mut traced =
                    |g: &mut Graph| self.layer(g, p, config, layer, residual, samples, seen, sites);
                let whole = config.recompute == Recompute::Layer;
                let (residual, branch) = if whole { g.recompute(traced) } else { traced(g) }?;
                // The last sum is kept in any case: it is what the next layer reads.
                layer.join(g, p, config, residual, branch, sites)
            })?;
        }
        Ok(residual.branch_input)
    }

    /// A layer up to its last sum: returns the residual stream, and the branch to be added to it.
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
    ) -> Result<(Residual, Id)> {
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
        Ok((residual, layer.branch(g, p, config, residual)?))
    }

    /// The residual stream at the first layer.
    fn start(&self, g: &mut Graph, p: &Parameters, x: Id) -> Result<Residual> {
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
    let group = if config.head == Head::Groups { config.group as u64 } else { 1 };
    let (frames, queries) = whole(u64::from(number) * group, u64::from(second) * u64::from(ends.sample_rate));
    Pattern::in_time(before as u32, after as u32, (tokens / ends.frames) as u32, Rate::new(frames, queries))
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
    /// The feed-forward block, to be joined to the residual stream.
    fn branch(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        residual: Residual,
    ) -> Result<Id> {
        let traced = |g: &mut Graph| self.feed_forward.trace(g, p, residual.branch_input, config.activation);
        if config.recompute == Recompute::FeedForward { g.recompute(traced) } else { traced(g) }
    }

    fn join(
        &self,
        g: &mut Graph,
        p: &Parameters,
        config: &config::Foley,
        residual: Residual,
        branch: Id,
        sites: &mut Sites,
    ) -> Result<Residual> {
        let dropout = sites.dropout(config.decoder_dropout);
        residual.join(g, p, branch, &self.feed_forward_norm, config.norm, dropout)
    }
}

impl Samples {
    fn new(p: &mut Parameters, config: &config::Foley, ends: Ends) -> Samples {
        let (width, group) = (config.width, config.group);
        match config.head {
            Head::Classes => {
                let lags = (config.lags > 1).then(|| Lags {
                    distances: p.add(
                        PART,
                        "decoder.lags.distances",
                        &[config.lags - 1, width],
                        Init::Constant(vec![0.0; (config.lags - 1) * width]),
                    ),
                    enter: Linear::new(p, PART, "decoder.lags", (config.lags - 1) * width, width),
                });
                // Unit variance after the scale of sqrt(width), and sensible logits where one table serves both ends.
                if config.tie_embeddings {
                    let start = Init::Normal((width as f32).powf(-0.5));
                    let table = p.add(PART, "decoder.codes", &[ends.classes, width], start);
                    return Samples::Codes { table, output: table, lags };
                }
                // One more row is for samples that are not to be seen.
                let table = Init::From(codes(ends.classes, 1, width, 1.0));
                let table = p.add(PART, "decoder.codes", &[ends.classes + 1, width], table);
                let output = Init::From(codes(ends.classes, 0, width, OUTPUT_SIZE));
                let output = p.add(PART, "decoder.output", &[ends.classes, width], output);
                Samples::Codes { table, output, lags }
            }
            Head::Groups => Samples::Groups {
                enter: Linear::new(p, PART, "decoder.enter", group, width),
                leave: Linear::new(p, PART, "decoder.leave", width, group),
            },
        }
    }
}

impl Samples {
    /// Adds what enters with the embedded samples `x`, (rows, width): the codes before them, (rows, lags - 1).
    pub(super) fn with_earlier(
        g: &mut Graph,
        p: &Parameters,
        x: Id,
        lags: Option<(Lags, Id)>,
        (table, scale): (Id, f32),
    ) -> Result<Id> {
        let Some((lags, earlier)) = lags else { return Ok(x) };
        let ((rows, more), (_, width)) = (g.matrix(earlier), g.matrix(x));
        let distances = p.on(g, lags.distances);
        let codes = embedding(g, earlier, more, table, distances, scale, None)?;
        let side_by_side = g.reshape(codes, &[rows, more * width]);
        let entered = lags.enter.trace(g, p, side_by_side, None)?;
        sum(g, x, entered)
    }
}

impl Cross {
    pub(super) fn keys_and_values(&self, g: &mut Graph, memory: Id, width: usize) -> (Id, Id) {
        (g.columns(memory, self.column, width), g.columns(memory, self.column + width, width))
    }
}
