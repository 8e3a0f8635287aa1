//! Everything a run can be told, with its defaults. `config.toml` in a run folder is this, written out in full.
//!
//! A key that does not exist is an error that names the nearest one that does. Figures are those of
//! *Attention Is All You Need* unless a comment says otherwise.

mod check;
pub mod foley;
mod foley_check;
mod foley_patterns;
mod load;
mod print;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use check::Rules;
pub use foley::{Foley, SoundLoss};

/// A run's whole configuration; `Config` is the captioner's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub struct Settings<M: Model> {
    pub model: M,
    pub loss: M::Loss,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub train: Train,
}

/// The captioner's whole configuration.
pub type Config = Settings<Captioner>;

/// What a section of settings must be: plain data with defaults.
pub trait Section: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + Default {}

impl<T: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + Default> Section for T {}

/// The sections that differ from model to model.
pub trait Model: Section {
    type Loss: Section;

    /// What the command line calls it.
    const NAME: &'static str;
    /// The names of the structs of `[model]` and `[loss]`, and the source that describes their keys.
    const SECTIONS: [&'static str; 2];
    const SOURCE: &'static str;
    /// Keys of the common sections that do nothing for this model: it has no such setting, and is given none.
    const WITHOUT: &'static [&'static str] = &[];

    /// Channels of a token.
    fn width(&self) -> usize;

    /// Adds what is wrong with the sections to `rules`.
    fn check(&self, loss: &Self::Loss, rules: &mut Rules);

    /// The other sections' defaults, where they differ from the common ones.
    fn defaults() -> (Optimizer, Schedule, Train) {
        Default::default()
    }
}

impl<M: Model> Default for Settings<M> {
    fn default() -> Self {
        let (optimizer, schedule, train) = M::defaults();
        Settings { model: M::default(), loss: M::Loss::default(), optimizer, schedule, train }
    }
}

impl<M: Model> Settings<M> {
    /// The same with another `train.batch`.
    pub fn with_batch(&self, batch: usize) -> Settings<M> {
        let mut settings = self.clone();
        settings.train.batch = batch;
        settings
    }
}

impl Model for Captioner {
    type Loss = Loss;
    const NAME: &'static str = "captioner";
    const SECTIONS: [&'static str; 2] = ["Captioner", "Loss"];
    const SOURCE: &'static str = include_str!("mod.rs");
    const WITHOUT: &'static [&'static str] = &["train.evaluate_sounds", "train.evaluate_seconds"];

    fn width(&self) -> usize {
        self.width
    }

    fn check(&self, loss: &Loss, rules: &mut Rules) {
        check::captioner(self, loss, rules);
    }
}

/// The captioner's shape. The picture's size and the vocabulary come from the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Captioner {
    /// Channels of every token; a multiple of `heads`.
    pub width: usize,
    pub heads: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    /// Channels inside the feed-forward block; 0 means four times the width.
    pub feed_forward: usize,
    /// Side of a square patch in pixels.
    pub patch: usize,
    pub stem: Stem,
    /// Positions of the patches.
    pub positions: Positions,
    /// Positions of the words: `sinusoid-1d` or `learned`.
    pub word_positions: Positions,
    pub norm: NormOrder,
    pub activation: Activation,
    /// The output layer uses the word embedding's matrix.
    pub tie_embeddings: bool,
    pub encoder_dropout: f32,
    pub decoder_dropout: f32,
    /// Share of the decoder's input words replaced by `<mask>`, so that it has to look at the picture.
    pub word_dropout: f32,
    /// Longest caption in tokens, the end token included; longer ones are cut.
    pub max_words: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// Patches, flattened, one linear layer.
    Patches,
    /// 3x3 convolutions with stride 2 down to the patch grid, then 1x1.
    Convolution,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Positions {
    /// Sinusoids over the sequence of tokens.
    #[serde(rename = "sinusoid-1d")]
    Sinusoid1d,
    /// Half of the channels over rows, half over columns.
    #[serde(rename = "sinusoid-2d")]
    Sinusoid2d,
    #[serde(rename = "learned")]
    Learned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormOrder {
    Pre,
    Post,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    Gelu,
    Relu,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    pub label_smoothing: f32,
    /// Share of steps in which the decoder's input is all `<mask>` and sees both ways (CapPa).
    pub parallel_prediction: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizer {
    /// Peak learning rate; with the `warmup` schedule the factor k.
    pub learning_rate: f32,
    /// Factors on the learning rate, by part.
    pub encoder_learning_rate: f32,
    pub decoder_learning_rate: f32,
    pub encoder_weight_decay: f32,
    pub decoder_weight_decay: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// Largest global norm of the gradient; 0 turns clipping off.
    pub clip: f32,
    /// Decay of the exponential moving average of the weights; 0 turns it off.
    pub average: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Linear warm-up, then half a cosine down to `final_share` of the peak.
    Cosine,
    /// learning_rate * width^-0.5 * min(step^-0.5, step * warmup^-1.5).
    Warmup,
    /// Linear warm-up, then constant.
    Constant,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    pub kind: ScheduleKind,
    pub warmup_steps: usize,
    /// Where the cosine ends, as a share of the peak.
    pub final_share: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    pub seed: u64,
    /// Pictures in one pass forward and backward.
    pub batch: usize,
    /// Passes whose gradients are added up before one step.
    pub accumulate: usize,
    /// Optimizer steps; 0 means that `epochs` decides.
    pub steps: usize,
    pub epochs: f32,
    /// Steps between evaluations; 0 evaluates only at the end.
    pub evaluate_every: usize,
    /// Pictures looked at in each evaluation; 0 means all.
    pub evaluate_pictures: usize,
    /// Clips that are made to sound in each evaluation, for `samples/`; 0 makes none. Foley's alone.
    pub evaluate_sounds: usize,
    /// How much of each of them, from its start. Foley's alone.
    pub evaluate_seconds: f32,
    /// Steps between checkpoints; 0 saves only at the end.
    pub checkpoint_every: usize,
    /// Checkpoints kept, beside the best one.
    pub keep: usize,
    /// Evaluations without a better loss before the run ends; 0 turns early stopping off.
    pub early_stop: usize,
    /// Train on the first N pictures alone, and evaluate on the same; 0 turns it off.
    pub overfit: usize,
    /// Skip a step whose loss is this many standard deviations over its recent mean; 0 turns it off.
    pub skip_spikes: f32,
}

impl Default for Captioner {
    fn default() -> Self {
        Captioner {
            width: 256,
            heads: 8,
            encoder_layers: 4,
            decoder_layers: 4,
            feed_forward: 0,
            patch: 16,
            stem: Stem::Patches,
            positions: Positions::Sinusoid2d,
            word_positions: Positions::Sinusoid1d,
            norm: NormOrder::Pre,
            activation: Activation::Gelu,
            tie_embeddings: true,
            encoder_dropout: 0.1,
            decoder_dropout: 0.1,
            word_dropout: 0.0,
            max_words: 32,
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Loss { label_smoothing: 0.1, parallel_prediction: 0.0 }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer {
            learning_rate: 3e-4,
            encoder_learning_rate: 1.0,
            decoder_learning_rate: 1.0,
            encoder_weight_decay: 0.05,
            decoder_weight_decay: 0.05,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            clip: 1.0,
            average: 0.0,
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule { kind: ScheduleKind::Cosine, warmup_steps: 500, final_share: 0.05 }
    }
}

impl Default for Train {
    fn default() -> Self {
        Train {
            seed: 1,
            batch: 64,
            accumulate: 1,
            steps: 0,
            epochs: 10.0,
            evaluate_every: 500,
            evaluate_pictures: 500,
            evaluate_sounds: 2,
            evaluate_seconds: 1.0,
            checkpoint_every: 500,
            keep: 3,
            early_stop: 0,
            overfit: 0,
            skip_spikes: 0.0,
        }
    }
}

impl Captioner {
    /// Channels inside the feed-forward block.
    pub fn feed_forward(&self) -> usize {
        if self.feed_forward == 0 { 4 * self.width } else { self.feed_forward }
    }
}
