//! The captioner: a Transformer that reads a picture's patches and writes its sentence (Vaswani 2017; patches as in
//! Dosovitskiy 2021, with no pretrained part).
//!
//! Tokens are rows: (batch * patches, width) in the encoder, (batch * words, width) in the decoder.

mod decoder;
mod encoder;
mod session;

use crate::config::{self, Positions, Stem};
use crate::graph::{DType, Graph, Id};
use crate::nn::{Parameters, Sites};
use crate::ops::cross_entropy::{self, Loss};
use crate::ops::guard;
use crate::ops::linear;
use crate::ops::patches::CHANNELS;
use crate::{Error, Result};

pub use decoder::{Cached, Decoder};
pub use encoder::Encoder;
pub use session::Session;

/// What the data says about the model's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Pixels of a picture.
    pub height: usize,
    pub width: usize,
    /// Words of the vocabulary, special tokens included.
    pub vocabulary: usize,
}

/// The model: its parameters, and how to trace it.
#[derive(Debug)]
pub struct Captioner {
    pub config: config::Captioner,
    pub ends: Ends,
    pub parameters: Parameters,
    encoder: Encoder,
    decoder: Decoder,
}

/// The tensors of a training or evaluation step that the caller fills and reads.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// (batch, height, width, 3) u8.
    pub pixels: Id,
    /// (batch, words) u32: start token, then the caption.
    pub words: Id,
    /// (batch * words) u32: the caption, then the end token, then padding.
    pub targets: Id,
    /// (1): one over the number of target words in the whole step.
    pub scale: Id,
    pub loss: Loss,
}

/// The tensors of a look at the last decoder layer's attention.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// (batch, height, width, 3) u8.
    pub pixels: Id,
    /// (batch, words) u32: start token, then words.
    pub words: Id,
    /// (batch, heads, words, patches).
    pub weights: Id,
}

/// What a step is traced for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purpose {
    /// Dropout and a backward pass.
    pub train: bool,
    /// Each word sees both ways: for parallel prediction, where all words are masks.
    pub both_ways: bool,
    pub label_smoothing: f32,
}

impl Captioner {
    /// Registers the parameters.
    ///
    /// # Errors
    /// If the picture cannot be cut into the patches, or the widths do not fit.
    pub fn new(config: &config::Captioner, ends: Ends) -> Result<Captioner> {
        let config = config.clone();
        check(&config, ends)?;
        let mut parameters = Parameters::default();
        let encoder = Encoder::new(&mut parameters, &config, ends)?;
        let decoder = Decoder::new(&mut parameters, &config, ends)?;
        parameters.lay_out();
        Ok(Captioner { config, ends, parameters, encoder, decoder })
    }

    /// Patches of a picture: rows and columns of the grid.
    pub fn grid(&self) -> (usize, usize) {
        (self.ends.height / self.config.patch, self.ends.width / self.config.patch)
    }

    /// Patches of a picture.
    pub fn patches(&self) -> usize {
        self.grid().0 * self.grid().1
    }

    /// Columns of the decoder's view of a picture: keys and values of all its layers.
    pub fn memory_width(&self) -> usize {
        2 * self.config.decoder_layers * self.config.width
    }

    /// Traces a whole step: the loss of captions of up to `words` tokens, and with `purpose.train` its gradient.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn step(&self, g: &mut Graph, batch: usize, words: usize, purpose: Purpose) -> Result<Step> {
        let mut sites = Sites::new(purpose.train);
        let pixels = self.pixels(g, batch);
        let tokens = g.input("words", &[batch, words], DType::U32);
        let targets = g.input("targets", &[batch * words], DType::U32);
        let scale = g.input("loss scale", &[1], DType::F32);
        let features = g.scope("encoder", |g| self.encoder.trace(g, self, pixels, &mut sites))?;
        let memory = g.scope("decoder", |g| self.decoder.memory(g, self, features))?;
        let hidden = g.scope("decoder", |g| {
            self.decoder.trace(g, self, tokens, memory, (batch, words), purpose.both_ways, &mut sites)
        })?;
        let logits = self.logits(g, hidden)?;
        let smoothing = purpose.label_smoothing;
        let loss = cross_entropy::cross_entropy(g, logits, targets, scale, smoothing, purpose.train)?;
        if purpose.train {
            g.differentiate()?;
            guard::tally(g, &[loss.sums]);
        }
        Ok(Step { pixels, words: tokens, targets, scale, loss })
    }

    /// Traces the encoder alone: returns pixels, and the decoder's view of them (batch * patches, memory width).
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn encode(&self, g: &mut Graph, batch: usize) -> Result<(Id, Id)> {
        let pixels = self.pixels(g, batch);
        let features = g.scope("encoder", |g| self.encoder.trace(g, self, pixels, &mut Sites::default()))?;
        let memory = g.scope("decoder", |g| self.decoder.memory(g, self, features))?;
        g.keep(memory);
        Ok((pixels, memory))
    }

    /// Traces one more word of `beams` hypotheses for each of `batch` pictures, with keys and values cached.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn extend(&self, g: &mut Graph, batch: usize, beams: usize) -> Result<Cached> {
        let mut cached = g.scope("decoder", |g| self.decoder.extend(g, self, batch, beams))?;
        cached.logits = self.logits(g, cached.hidden)?;
        g.keep(cached.logits);
        Ok(cached)
    }

    /// Traces captions with what the last decoder layer looks at.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn look(&self, g: &mut Graph, batch: usize, words: usize) -> Result<Look> {
        let mut sites = Sites::default();
        let pixels = self.pixels(g, batch);
        let tokens = g.input("words", &[batch, words], DType::U32);
        let features = g.scope("encoder", |g| self.encoder.trace(g, self, pixels, &mut sites))?;
        let memory = g.scope("decoder", |g| self.decoder.memory(g, self, features))?;
        let weights =
            g.scope("decoder", |g| self.decoder.look(g, self, tokens, memory, (batch, words), &mut sites))?;
        g.keep(weights);
        Ok(Look { pixels, words: tokens, weights })
    }

    fn pixels(&self, g: &mut Graph, batch: usize) -> Id {
        g.input("pixels", &[batch, self.ends.height, self.ends.width, CHANNELS], DType::U8)
    }

    fn logits(&self, g: &mut Graph, hidden: Id) -> Result<Id> {
        let table = self.decoder.output_table(g, &self.parameters);
        g.scope("logits", |g| linear::logits(g, hidden, table))
    }
}

fn check(config: &config::Captioner, ends: Ends) -> Result<()> {
    let patch = config.patch;
    let fail = |line: String| Err(Error::usage(line));
    if patch == 0 || !ends.height.is_multiple_of(patch) || !ends.width.is_multiple_of(patch) {
        return fail(format!(
            "model.patch = {patch} does not divide pictures of {} x {} pixels; choose a patch that divides both",
            ends.height, ends.width
        ));
    }
    if config.stem == Stem::Convolution && !patch.is_power_of_two() {
        return fail(format!(
            "model.patch = {patch}: the convolution stem halves the picture, so it needs a power of 2"
        ));
    }
    if config.heads == 0 || !config.width.is_multiple_of(config.heads) {
        return fail(format!(
            "model.width = {} is not a multiple of model.heads = {}",
            config.width, config.heads
        ));
    }
    if config.positions == Positions::Sinusoid2d && !config.width.is_multiple_of(4) {
        return fail(format!("model.width = {}: sinusoid-2d positions need a multiple of 4", config.width));
    }
    if !config.width.is_multiple_of(2) {
        return fail(format!("model.width = {}: sinusoid positions need an even width", config.width));
    }
    Ok(())
}
