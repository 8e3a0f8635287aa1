//! The foley model's shape: the `[model]` section of a run that turns video into sound.
//!
//! The size and number of frames, the rate and number of samples come from the data.

use serde::{Deserialize, Serialize};

use super::{Activation, Model, NormOrder, Optimizer, Rules, Schedule, Stem, Train};

/// The foley model's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Foley {
    /// Channels of every token; a multiple of `heads`.
    pub width: usize,
    pub heads: usize,
    /// Of the frames; not used by a set without pictures.
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    /// Channels inside the feed-forward block; 0 means four times the width.
    pub feed_forward: usize,
    /// What a token of the encoder is.
    pub tokens: Tokens,
    /// Side of a square patch in pixels. With `tokens = "frame"` the convolution stem's patch; else not used there.
    pub patch: usize,
    pub stem: Stem,
    /// Positions of the encoder's tokens, by row, column and time.
    pub frame_positions: Table,
    /// Positions of the samples, which come again after `period` of them.
    pub sample_positions: Table,
    /// Rows of the samples' positions; 0: a whole number of frames, at least 2048.
    pub period: usize,
    /// Samples before each place that enter there side by side, through one product (SampleRNN, Mehri 2017); 1: the last
    /// one alone. What swings is continued from the last few samples, and need not learn first where to look for them.
    pub lags: usize,
    /// Frames on either side that a frame's tokens see in the encoder; 0 means all frames.
    pub encoder_window: usize,
    /// Which earlier samples a sample sees, a text for each layer; the last is also that of the layers behind it. A
    /// text has one pattern, or one for each head with spaces between: `"band:256"`, `"2*band:256 dilated:256:2
    /// dilated:256:4"`, `"causal"`, `"strided:sqrt"`, `"fixed:128:8"`. Empty: `preset` decides.
    pub patterns: Vec<String>,
    /// Published settings of the patterns, from `window` and `stride`.
    pub preset: Preset,
    /// Samples before itself that a sample sees in a band; of the widest layer in `longformer`.
    pub window: usize,
    /// The Sparse Transformer's period; 0: the power of two nearest to the root of a clip's samples.
    pub stride: usize,
    /// Frames before and after its own that a sample sees, `[1, 1]`; `[]` is all frames.
    pub cross_window: Vec<usize>,
    /// Layers from one that looks at the frames to the next; the first one does.
    pub cross_every: usize,
    pub norm: NormOrder,
    pub activation: Activation,
    /// The output layer uses the sample embedding's matrix.
    pub tie_embeddings: bool,
    pub encoder_dropout: f32,
    pub decoder_dropout: f32,
    /// What of the decoder is computed again in the backward pass instead of being kept: the same bits in less memory
    /// and more time.
    pub recompute: Recompute,
    pub head: Head,
    /// Samples of a group, where `head = "groups"`.
    pub group: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// A patch of a frame.
    Patches,
    /// A whole frame.
    Frame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    Sinusoid,
    Learned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Every earlier sample.
    Dense,
    /// The `window` samples before.
    Band,
    /// Windows that rise from layer to layer up to `window`, and dilations 1, 2, 3 on two heads in the upper half
    /// (Beltagy et al. 2020).
    Longformer,
    /// Heads in turn see the `stride` samples before and every `stride`-th one (Child et al. 2019).
    SparseStrided,
    /// A sample sees its block of `stride` and a few samples of each block before, others for each head (Child et
    /// al. 2019).
    SparseFixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The probability of each of the 256 codes, sample by sample.
    Classes,
    /// The waveform of the next `group` samples at once, from the groups before and the frames, under the spectrogram loss:
    /// the ancestor's regression. `evoke sound` makes it too, and draws nothing.
    Groups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recompute {
    None,
    /// The inside of the feed-forward blocks, which is half of what a layer keeps.
    FeedForward,
    /// All of a layer but its first and its last sum.
    Layer,
}

impl Default for Foley {
    fn default() -> Self {
        Foley {
            width: 128,
            heads: 4,
            encoder_layers: 2,
            decoder_layers: 4,
            feed_forward: 0,
            tokens: Tokens::Patches,
            patch: 16,
            stem: Stem::Patches,
            frame_positions: Table::Sinusoid,
            sample_positions: Table::Sinusoid,
            period: 0,
            lags: 1,
            encoder_window: 0,
            patterns: Vec::new(),
            preset: Preset::Band,
            window: 256,
            stride: 0,
            cross_window: vec![1, 1],
            cross_every: 1,
            norm: NormOrder::Pre,
            activation: Activation::Gelu,
            tie_embeddings: false,
            encoder_dropout: 0.1,
            decoder_dropout: 0.0,
            recompute: Recompute::None,
            head: Head::Classes,
            group: 500,
        }
    }
}

/// What the foley model learns from: each term with its weight, 0 to leave it out. The spectrogram terms compare the
/// waveform that the probabilities promise, with `head = "groups"` the waveform itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoundLoss {
    /// Of the code of each sample, with `head = "classes"`.
    pub cross_entropy: f32,
    pub label_smoothing: f32,
    /// Of the difference of magnitudes of spectrograms (window 512, hop 256).
    pub spectrogram: f32,
    /// Of the multi-resolution spectrogram loss (Yamamoto 2020).
    pub multi_resolution: f32,
    /// The spectrogram term joins the clips of a batch into one signal, as the ancestor did.
    pub joined: bool,
    /// Share of the clips whose samples the decoder is not shown in training: what it hears must then come from the
    /// frames alone, which teaches it to look at them (as CapPa does for captions). Needs `tie_embeddings = false`.
    pub parallel_prediction: f32,
    /// Noise on the samples that the decoder is shown in training, as a standard deviation in codes: each clip gets from
    /// none to this much, and what is to be predicted stays clean. A model that has only heard clean sound takes its own
    /// first small error for sound and goes on with it (LPCNet, Valin 2019, does the same).
    pub input_noise: f32,
}

impl Default for SoundLoss {
    fn default() -> Self {
        SoundLoss {
            cross_entropy: 1.0,
            label_smoothing: 0.0,
            spectrogram: 0.0,
            multi_resolution: 0.0,
            joined: false,
            parallel_prediction: 0.0,
            input_noise: 0.0,
        }
    }
}

impl Model for Foley {
    type Loss = SoundLoss;
    const NAME: &'static str = "foley";
    const SECTIONS: [&'static str; 2] = ["Foley", "SoundLoss"];
    const SOURCE: &'static str = include_str!("foley.rs");

    fn width(&self) -> usize {
        self.width
    }

    fn check(&self, loss: &SoundLoss, rules: &mut Rules) {
        for problem in self.problems() {
            rules.broken(problem);
        }
        rules.not_negative("loss.cross_entropy", loss.cross_entropy);
        rules.below_one("loss.label_smoothing", loss.label_smoothing);
        rules.not_negative("loss.spectrogram", loss.spectrogram);
        rules.not_negative("loss.multi_resolution", loss.multi_resolution);
        let heard = loss.spectrogram > 0.0 || loss.multi_resolution > 0.0;
        if self.head == Head::Groups && !heard {
            rules.broken(
                "model.head is groups, which learns from spectrograms alone: set loss.spectrogram or \
                 loss.multi_resolution above 0",
            );
        } else if self.head == Head::Classes && !heard && loss.cross_entropy == 0.0 {
            rules.broken("loss.cross_entropy, loss.spectrogram and loss.multi_resolution are all 0");
        }
        rules.share("loss.parallel_prediction", loss.parallel_prediction);
        rules.within("model.lags", self.lags, 1, 1024);
        rules.not_negative("loss.input_noise", loss.input_noise);
        if loss.input_noise > 0.0 && self.head == Head::Groups {
            rules.broken("loss.input_noise is above 0, but model.head = \"groups\" shows no single samples: set it to 0");
        }
        if loss.parallel_prediction > 0.0 && self.head == Head::Groups {
            rules.broken(
                "loss.parallel_prediction is above 0, but model.head = \"groups\" shows no single samples: set it to 0",
            );
        }
        if loss.parallel_prediction > 0.0 && self.tie_embeddings {
            rules.broken(
                "loss.parallel_prediction is above 0, but model.tie_embeddings = true leaves no embedding for a sample \
                 that is not shown: set it to false",
            );
        }
    }

    fn defaults() -> (Optimizer, Schedule, Train) {
        // A clip has tens of thousands of targets, a caption a dozen.
        let optimizer = Optimizer { learning_rate: 1e-3, ..Optimizer::default() };
        (optimizer, Schedule::default(), Train { batch: 4, evaluate_pictures: 32, ..Train::default() })
    }
}

impl Foley {
    /// Channels inside the feed-forward block.
    pub fn feed_forward(&self) -> usize {
        if self.feed_forward == 0 { 4 * self.width } else { self.feed_forward }
    }

    /// Tokens that the decoder makes of `samples` samples.
    pub fn sequence(&self, samples: usize) -> usize {
        match self.head {
            Head::Classes => samples,
            Head::Groups => samples / self.group.max(1),
        }
    }

    /// Whether decoder layer `layer` looks at the frames, where there are any.
    pub fn crosses(&self, layer: usize) -> bool {
        layer.is_multiple_of(self.cross_every.max(1))
    }
}
