//! One registry of cases for every op: it drives the checks against f64, the gradient checks, `evoke selftest`,
//! `evoke bench` and the README's table.
//!
//! A case says what goes in, how the op is traced, and what comes out in f64. Gradients are checked against central
//! differences of that f64 form, so no gradient is written twice.

pub mod check;
pub mod random;
pub mod reference;
pub mod table;

use std::fmt;

use crate::Result;
use crate::device::Device;
use crate::graph::{DType, Graph, Id};

/// Values of one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// An activation whose gradient is checked: normal values times this.
    Activation(f32),
    /// A parameter whose accumulated gradient is checked: normal values times this.
    Weight(f32),
    /// f32 that has no gradient.
    Fixed(Vec<f32>),
    Tokens(Vec<u32>),
    /// Random bytes.
    Bytes,
}

/// One input of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub shape: Vec<usize>,
    pub values: Values,
}

impl Input {
    pub fn activation(shape: &[usize], deviation: f32) -> Input {
        Input { shape: shape.to_vec(), values: Values::Activation(deviation) }
    }

    pub fn weight(shape: &[usize], deviation: f32) -> Input {
        Input { shape: shape.to_vec(), values: Values::Weight(deviation) }
    }

    pub fn tokens(shape: &[usize], tokens: Vec<u32>) -> Input {
        Input { shape: shape.to_vec(), values: Values::Tokens(tokens) }
    }

    pub fn fixed(shape: &[usize], values: Vec<f32>) -> Input {
        Input { shape: shape.to_vec(), values: Values::Fixed(values) }
    }

    pub fn bytes(shape: &[usize]) -> Input {
        Input { shape: shape.to_vec(), values: Values::Bytes }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a gradient is asked for.
    pub fn trained(&self) -> bool {
        matches!(self.values, Values::Activation(_) | Values::Weight(_))
    }
}

/// Traces the op onto a graph; returns its outputs.
type Trace = Box<dyn Fn(&mut Graph, &[Id]) -> Result<Vec<Id>> + Send + Sync>;
/// Inputs to outputs, flattened, in f64.
pub(crate) type Reference = Box<dyn Fn(&[Vec<f64>]) -> Vec<Vec<f64>> + Send + Sync>;

/// The same formula with every stored intermediate rounded by the second argument: plain arithmetic in 16 bits.
pub(crate) type Plain = Box<dyn Fn(&[Vec<f64>], &dyn Fn(f64) -> f64) -> Vec<Vec<f64>> + Send + Sync>;

/// How the gradient of a case is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// Seeded with random weights of all outputs.
    Seeded,
    /// The op is a loss: its first output's first element is differentiated.
    Loss,
    None,
}

/// One op at one shape.
pub struct Case {
    pub op: &'static str,
    pub name: String,
    pub inputs: Vec<Input>,
    pub gradient: Gradient,
    /// Traces the op onto a graph; returns its outputs.
    pub trace: Trace,
    /// The same in f64: inputs and outputs flattened. `None` for shapes that are only timed.
    pub reference: Option<Reference>,
    /// Where its error may be larger than that of one rounding: what is allowed is twice the plain form's.
    pub plain: Option<Plain>,
    /// Where it runs.
    on: On,
}

/// Which devices a case is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    All,
    /// There is no kernel for its sizes, and an error that says so.
    Cpu,
    /// Devices with kernels, storing activations as this.
    Kernels(DType),
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.op, self.name)
    }
}

impl Case {
    pub fn new(
        op: &'static str,
        name: impl Into<String>,
        inputs: Vec<Input>,
        trace: impl Fn(&mut Graph, &[Id]) -> Result<Vec<Id>> + Send + Sync + 'static,
    ) -> Case {
        Case {
            op,
            name: name.into(),
            inputs,
            gradient: Gradient::Seeded,
            trace: Box::new(trace),
            reference: None,
            plain: None,
            on: On::All,
        }
    }

    /// The f64 form that outputs and gradients are compared with.
    pub fn against(
        mut self,
        reference: impl Fn(&[Vec<f64>]) -> Vec<Vec<f64>> + Send + Sync + 'static,
    ) -> Case {
        self.reference = Some(Box::new(reference));
        self
    }

    /// The plain form in 16 bits, whose error is the measure of a kernel's (FlashAttention's rule).
    pub fn plain(
        mut self,
        plain: impl Fn(&[Vec<f64>], &dyn Fn(f64) -> f64) -> Vec<Vec<f64>> + Send + Sync + 'static,
    ) -> Case {
        self.plain = Some(Box::new(plain));
        self
    }

    /// For the CPU alone: no kernel takes these sizes.
    pub fn on_cpu(mut self) -> Case {
        self.on = On::Cpu;
        self
    }

    /// For devices with kernels alone, storing activations as `storage`.
    pub fn stored_as(mut self, storage: DType) -> Case {
        self.on = On::Kernels(storage);
        self
    }

    /// What activations are stored as on `device`; `None` where the case does not run there.
    pub fn storage(&self, device: Device) -> Option<DType> {
        let kernels = device.storage() != DType::F32;
        match self.on {
            On::All => Some(device.storage()),
            On::Cpu => (!kernels).then_some(DType::F32),
            On::Kernels(storage) => kernels.then_some(storage),
        }
    }

    pub fn gradient(mut self, gradient: Gradient) -> Case {
        self.gradient = gradient;
        self
    }
}

/// The ops of one folder: what they are called, what they compute, and their cases.
pub struct Entry {
    /// Name as in [`Case::op`], and meaning in one line of the README's table.
    pub ops: &'static [(&'static str, &'static str)],
    /// Makes the cases of these ops, and of no others.
    pub cases: fn() -> Vec<Case>,
}

/// Every op there is, in the order of the table. Nothing else lists them.
pub static REGISTRY: &[Entry] = &[
    Entry {
        ops: &[
            ("attention", "softmax(q k^T / sqrt(d)) v over the pairs that a pattern shows, with dropout"),
            (
                "attention decode",
                "one new query a sequence against a ring of keys and values, or against keys that stay",
            ),
            ("attention weights", "the softmax alone, for pictures of what the model looks at"),
        ],
        cases: super::attention::cases::cases,
    },
    Entry {
        ops: &[(
            "cached attention",
            "one word's attention to the words of its own hypothesis, while decoding",
        )],
        cases: super::cached_attention::cases::cases,
    },
    Entry {
        ops: &[("windows", "the 3x3 windows of a convolution with stride 2, as rows for a linear layer")],
        cases: super::convolution::cases::cases,
    },
    Entry {
        ops: &[(
            "cross-entropy",
            "softmax, label smoothing, loss and its gradient in one pass over the logits",
        )],
        cases: super::cross_entropy::cases::cases,
    },
    Entry {
        ops: &[("add", "the sum of two tensors: where contributions to one gradient meet")],
        cases: super::elementwise::cases,
    },
    Entry {
        ops: &[("embedding", "a word's row of a table, scaled, plus its position's row, with dropout")],
        cases: super::embedding::cases::cases,
    },
    Entry {
        ops: &[(
            "few rows",
            "a linear layer of a few rows with the sum, the norm and the ring around it: a step of decoding",
        )],
        cases: super::few_rows::cases::cases,
    },
    Entry {
        ops: &[
            ("linear", "x W^T + b"),
            ("linear gelu", "gelu(x W^T + b)"),
            ("linear relu", "relu(x W^T + b)"),
        ],
        cases: super::linear::cases::cases,
    },
    Entry {
        ops: &[
            ("norm", "layer normalisation, scaled and shifted"),
            ("residual norm", "x + dropout(branch), and the layer normalisation of that sum"),
        ],
        cases: super::norm::cases::cases,
    },
    Entry {
        ops: &[
            ("gradient norm", "the norm of the whole gradient, and the factor that clips it"),
            ("adamw", "clip, finite check, AdamW and the moving average, on every parameter at once"),
        ],
        cases: super::optimizer::cases::cases,
    },
    Entry { ops: &[("patches", "u8 pixels to rows of patches in [-1, 1]")], cases: super::patches::cases },
    Entry {
        ops: &[("positions", "a row of positions added to each token, with dropout")],
        cases: super::positions::cases,
    },
    Entry {
        ops: &[("store", "the newest key and value of each sequence to their place in a ring")],
        cases: super::ring::cases,
    },
    Entry {
        ops: &[(
            "spectrogram loss",
            "difference of two spectrograms and its gradient, no spectrogram stored",
        )],
        cases: super::spectrogram::cases::cases,
    },
    Entry {
        ops: &[("expected waveform", "the decoded sample's expectation under the softmax of its 256 logits")],
        cases: super::waveform::cases::cases,
    },
    Entry {
        ops: &[("decoded waveform", "what known codes stand for, now or some samples later")],
        cases: super::waveform::decoded::cases,
    },
];

/// Every case of every op. Those without a reference are timed only.
pub fn all() -> Vec<Case> {
    REGISTRY.iter().flat_map(|entry| (entry.cases)()).collect()
}
