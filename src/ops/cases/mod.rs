//! One registry of cases for every op: it drives the checks against f64, the gradient checks, `evoke selftest`,
//! `evoke bench` and the README's table.
//!
//! A case says what goes in, how the op is traced, and what comes out in f64. Gradients are checked against central
//! differences of that f64 form, so no gradient is written twice.

pub mod check;
pub mod random;
pub mod reference;

use std::fmt;

use crate::Result;
use crate::graph::{Graph, Id};

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

    pub fn gradient(mut self, gradient: Gradient) -> Case {
        self.gradient = gradient;
        self
    }
}

/// Every case of every op. Those without a reference are timed only.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(super::attention::cases::cases());
    cases.extend(super::cached_attention::cases::cases());
    cases.extend(super::convolution::cases::cases());
    cases.extend(super::cross_entropy::cases::cases());
    cases.extend(super::elementwise::cases());
    cases.extend(super::embedding::cases::cases());
    cases.extend(super::linear::cases::cases());
    cases.extend(super::norm::cases::cases());
    cases.extend(super::optimizer::cases::cases());
    cases.extend(super::patches::cases());
    cases.extend(super::positions::cases());
    cases
}
