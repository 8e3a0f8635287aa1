//! The decoder: words that see the words before them, then the picture.
//!
//! Keys and values of the picture for all layers come from one product, `memory`, (batch * patches, layers * 2 *
//! width); layer i reads columns of it. That is the same arithmetic as a projection in each layer, in one large GEMM.

use super::{Captioner, Ends};
use crate::Result;
use crate::config::{self, NormOrder, Positions};
use crate::graph::{DType, Graph, Id};
use crate::nn::init::Init;
use crate::nn::layers::{FeedForward, Linear, Norm, Residual, SelfAttention};
use crate::nn::positions::sinusoid_1d;
use crate::nn::{Parameter, Parameters, Part, Sites};
use crate::ops::attention::{self, Heads, pattern::Pattern};
use crate::ops::cached_attention::cached_attention;
use crate::ops::embedding::embedding;

const PART: Part = Part::Decoder;

/// The decoder's parameters.
#[derive(Debug)]
pub struct Decoder {
    words: Parameter,
    positions: Parameter,
    first_norm: Option<Norm>,
    memory: Linear,
    layers: Vec<Layer>,
    /// Where embeddings are not tied.
    output: Option<Parameter>,
}

#[derive(Debug)]
struct Layer {
    attention: SelfAttention,
    attention_norm: Norm,
    query: Linear,
    cross_out: Linear,
    cross_norm: Norm,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

/// The tensors of one step of decoding.
#[derive(Debug, Clone)]
pub struct Cached {
    /// (rows) u32: each hypothesis's last word.
    pub words: Id,
    /// (1) u32: how many words came before.
    pub position: Id,
    /// (rows, max words) u32: which row's cache holds each earlier word of a hypothesis.
    pub slots: Id,
    /// The decoder's view of the pictures.
    pub memory: Id,
    pub(super) hidden: Id,
    /// (rows, vocabulary).
    pub logits: Id,
}

impl Decoder {
    pub(super) fn new(p: &mut Parameters, config: &config::Captioner, ends: Ends) -> Result<Decoder> {
        let (width, depth) = (config.width, config.decoder_layers);
        // Unit variance after the scale of sqrt(width), and sensible logits where the table is the output layer too.
        let table = Init::Normal((width as f32).powf(-0.5));
        let words = p.add(PART, "decoder.words", &[ends.vocabulary, width], table.clone());
        let init = match config.word_positions {
            Positions::Learned => Init::Normal(0.02),
            _ => Init::Constant(sinusoid_1d(config.max_words, width)?),
        };
        let positions = p.add(PART, "decoder.positions", &[config.max_words, width], init);
        let first_norm = (config.norm == NormOrder::Pre).then(|| Norm::new(p, PART, "decoder.norm", width));
        let memory = Linear::new(p, PART, "decoder.memory", width, 2 * depth * width);
        let layers = (0..depth)
            .map(|i| {
                let name = |part: &str| format!("decoder.{i}.{part}");
                Layer {
                    attention: SelfAttention::new(p, PART, &name("attention"), width, depth),
                    attention_norm: Norm::new(p, PART, &name("attention.norm"), width),
                    query: Linear::new(p, PART, &name("cross.query"), width, width),
                    cross_out: Linear::residual(p, PART, &name("cross.out"), (width, width), depth),
                    cross_norm: Norm::new(p, PART, &name("cross.norm"), width),
                    feed_forward: FeedForward::new(
                        p,
                        PART,
                        &name("feed_forward"),
                        width,
                        config.feed_forward(),
                        depth,
                    ),
                    feed_forward_norm: Norm::new(p, PART, &name("feed_forward.norm"), width),
                }
            })
            .collect();
        let output =
            (!config.tie_embeddings).then(|| p.add(PART, "decoder.output", &[ends.vocabulary, width], table));
        Ok(Decoder { words, positions, first_norm, memory, layers, output })
    }

    /// The matrix (vocabulary, width) of the output layer.
    pub(super) fn output_table(&self, g: &mut Graph, p: &Parameters) -> Id {
        p.on(g, self.output.unwrap_or(self.words))
    }

    /// Features of the picture to the keys and values of all layers.
    pub(super) fn memory(&self, g: &mut Graph, model: &Captioner, features: Id) -> Result<Id> {
        self.memory.trace(g, &model.parameters, features, None)
    }

    /// Words (batch, length) to hidden states (batch * length, width).
    #[allow(clippy::too_many_arguments)] // the graph and the model stand before what is really passed
    pub(super) fn trace(
        &self,
        g: &mut Graph,
        model: &Captioner,
        words: Id,
        memory: Id,
        (batch, length): (usize, usize),
        both_ways: bool,
        sites: &mut Sites,
    ) -> Result<Id> {
        let mut residual = self.embed(g, model, words, length, sites)?;
        for i in 0..self.layers.len() {
            residual = g.scope(i.to_string(), |g| {
                let residual =
                    self.self_attention(g, model, i, residual, (batch, length), both_ways, sites)?;
                let residual = self.cross_attention(g, model, i, residual, memory, (batch, length), sites)?;
                self.feed_forward(g, model, i, residual, sites)
            })?;
        }
        Ok(residual.branch_input)
    }

    /// As [`Decoder::trace`], but returns what the last layer's heads look at: (batch, heads, length, patches).
    pub(super) fn look(
        &self,
        g: &mut Graph,
        model: &Captioner,
        words: Id,
        memory: Id,
        (batch, length): (usize, usize),
        sites: &mut Sites,
    ) -> Result<Id> {
        let mut residual = self.embed(g, model, words, length, sites)?;
        let last = self.layers.len() - 1;
        for i in 0..last {
            residual = self.self_attention(g, model, i, residual, (batch, length), false, sites)?;
            residual = self.cross_attention(g, model, i, residual, memory, (batch, length), sites)?;
            residual = self.feed_forward(g, model, i, residual, sites)?;
        }
        residual = self.self_attention(g, model, last, residual, (batch, length), false, sites)?;
        let q = self.layers[last].query.trace(g, &model.parameters, residual.branch_input, None)?;
        let width = model.config.width;
        let k = g.columns(memory, 2 * last * width, width);
        let heads = Heads { batch, heads: model.config.heads, queries: length, keys: model.patches() };
        attention::weights(g, q, k, heads, &[Pattern::full()])
    }

    /// One more word for each of `batch * beams` hypotheses.
    pub(super) fn extend(
        &self,
        g: &mut Graph,
        model: &Captioner,
        batch: usize,
        beams: usize,
    ) -> Result<Cached> {
        let (config, p) = (&model.config, &model.parameters);
        let (rows, width, most) = (batch * beams, config.width, config.max_words);
        let mut sites = Sites::default();
        let words = g.input("words", &[rows], DType::U32);
        let position = g.input("position", &[1], DType::U32);
        let slots = g.input("slots", &[rows, most], DType::U32);
        let memory = g.input_activation("memory", &[batch * model.patches(), model.memory_width()]);
        let (table, positions) = (p.on(g, self.words), p.on(g, self.positions));
        let scale = (width as f32).sqrt();
        let x = crate::ops::embedding::embedding_at(g, words, position, table, positions, scale)?;
        let mut residual = self.start(g, model, x)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let qkv = layer.attention.qkv.trace(g, p, residual.branch_input, None)?;
            let cache = g.input_activation("cache", &[rows * most, 2 * width]);
            let mixed = cached_attention(g, qkv, slots, position, cache, config.heads)?;
            let branch = layer.attention.out.trace(g, p, mixed, None)?;
            residual = residual.join(g, p, branch, &layer.attention_norm, config.norm, None)?;
            residual = self.cross_attention(g, model, i, residual, memory, (batch, beams), &mut sites)?;
            residual = self.feed_forward(g, model, i, residual, &mut sites)?;
        }
        let hidden = residual.branch_input;
        Ok(Cached { words, position, slots, memory, hidden, logits: hidden })
    }

    fn embed(
        &self,
        g: &mut Graph,
        model: &Captioner,
        words: Id,
        length: usize,
        sites: &mut Sites,
    ) -> Result<Residual> {
        let (config, p) = (&model.config, &model.parameters);
        let (table, positions) = (p.on(g, self.words), p.on(g, self.positions));
        let scale = (config.width as f32).sqrt();
        let dropout = sites.dropout(config.decoder_dropout);
        let x = embedding(g, words, length, table, positions, scale, dropout)?;
        self.start(g, model, x)
    }

    fn start(&self, g: &mut Graph, model: &Captioner, x: Id) -> Result<Residual> {
        let branch_input = match &self.first_norm {
            Some(norm) => norm.trace(g, &model.parameters, x)?,
            None => x,
        };
        Ok(Residual { stream: x, branch_input })
    }

    #[allow(clippy::too_many_arguments)] // the graph and the model stand before what is really passed
    fn self_attention(
        &self,
        g: &mut Graph,
        model: &Captioner,
        i: usize,
        residual: Residual,
        (batch, length): (usize, usize),
        both_ways: bool,
        sites: &mut Sites,
    ) -> Result<Residual> {
        let (config, p, layer) = (&model.config, &model.parameters, &self.layers[i]);
        let rate = config.decoder_dropout;
        let heads = Heads { batch, heads: config.heads, queries: length, keys: length };
        let pattern = if both_ways { Pattern::full() } else { Pattern::causal() };
        let dropout = sites.dropout(rate);
        let branch = layer.attention.trace(g, p, residual.branch_input, heads, &[pattern], dropout)?;
        residual.join(g, p, branch, &layer.attention_norm, config.norm, sites.dropout(rate))
    }

    #[allow(clippy::too_many_arguments)] // the graph and the model stand before what is really passed
    fn cross_attention(
        &self,
        g: &mut Graph,
        model: &Captioner,
        i: usize,
        residual: Residual,
        memory: Id,
        (batch, queries): (usize, usize),
        sites: &mut Sites,
    ) -> Result<Residual> {
        let (config, p, layer) = (&model.config, &model.parameters, &self.layers[i]);
        let (rate, width) = (config.decoder_dropout, config.width);
        let q = layer.query.trace(g, p, residual.branch_input, None)?;
        let (k, v) = (g.columns(memory, 2 * i * width, width), g.columns(memory, (2 * i + 1) * width, width));
        let heads = Heads { batch, heads: config.heads, queries, keys: model.patches() };
        let mixed = attention::attention(g, q, k, v, heads, &[Pattern::full()], None, sites.dropout(rate))?;
        let branch = layer.cross_out.trace(g, p, mixed, None)?;
        residual.join(g, p, branch, &layer.cross_norm, config.norm, sites.dropout(rate))
    }

    fn feed_forward(
        &self,
        g: &mut Graph,
        model: &Captioner,
        i: usize,
        residual: Residual,
        sites: &mut Sites,
    ) -> Result<Residual> {
        let (config, p, layer) = (&model.config, &model.parameters, &self.layers[i]);
        let branch = layer.feed_forward.trace(g, p, residual.branch_input, config.activation)?;
        let dropout = sites.dropout(config.decoder_dropout);
        residual.join(g, p, branch, &layer.feed_forward_norm, config.norm, dropout)
    }
}
