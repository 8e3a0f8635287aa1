//! Layers of a Transformer: each registers its parameters once and traces itself onto any number of graphs.

use super::init::Init;
use super::parameters::{Parameter, Parameters, Part};
use crate::Result;
use crate::config::{Activation, NormOrder};
use crate::graph::{Graph, Id};
use crate::ops::attention::{self, Heads};
use crate::ops::linear::linear;
use crate::ops::norm::{Affine, add_norm, norm};
use crate::ops::{Dropout, attention::pattern::Pattern};

/// A weight (outputs, inputs) with its bias.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    pub fn new(p: &mut Parameters, part: Part, name: &str, inputs: usize, outputs: usize) -> Linear {
        Self::with(p, part, name, (inputs, outputs), Init::glorot(outputs, inputs))
    }

    /// The last layer of a residual branch in a stack of `layers`.
    pub fn residual(
        p: &mut Parameters,
        part: Part,
        name: &str,
        sizes: (usize, usize),
        layers: usize,
    ) -> Linear {
        Self::with(p, part, name, sizes, Init::residual(sizes.1, sizes.0, layers))
    }

    fn with(
        p: &mut Parameters,
        part: Part,
        name: &str,
        (inputs, outputs): (usize, usize),
        init: Init,
    ) -> Linear {
        Linear {
            weight: p.add(part, format!("{name}.weight"), &[outputs, inputs], init),
            bias: p.add(part, format!("{name}.bias"), &[outputs], Init::Zeros),
        }
    }

    pub fn trace(&self, g: &mut Graph, p: &Parameters, x: Id, activation: Option<Activation>) -> Result<Id> {
        let (weight, bias) = self.on(g, p);
        linear(g, x, weight, Some(bias), activation)
    }

    /// Weight and bias as tensors of a graph.
    pub fn on(&self, g: &mut Graph, p: &Parameters) -> (Id, Id) {
        (p.on(g, self.weight), p.on(g, self.bias))
    }
}

/// A norm's scale and shift.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    gamma: Parameter,
    beta: Parameter,
}

impl Norm {
    pub fn new(p: &mut Parameters, part: Part, name: &str, width: usize) -> Norm {
        Norm {
            gamma: p.add(part, format!("{name}.gamma"), &[width], Init::Ones),
            beta: p.add(part, format!("{name}.beta"), &[width], Init::Zeros),
        }
    }

    pub fn on(&self, g: &mut Graph, p: &Parameters) -> Affine {
        Affine { gamma: p.on(g, self.gamma), beta: p.on(g, self.beta) }
    }

    pub fn trace(&self, g: &mut Graph, p: &Parameters, x: Id) -> Result<Id> {
        let affine = self.on(g, p);
        norm(g, x, affine)
    }
}

/// The residual stream between branches: `stream` is what the next sum starts from, `branch_input` what the next
/// branch reads. Pre-norm reads the norm and adds to the sum; post-norm reads and adds to the norm.
#[derive(Debug, Clone, Copy)]
pub struct Residual {
    pub stream: Id,
    pub branch_input: Id,
}

impl Residual {
    /// Adds a branch's result and applies the norm that stands behind the sum.
    pub fn join(
        self,
        g: &mut Graph,
        p: &Parameters,
        branch: Id,
        after: &Norm,
        order: NormOrder,
        dropout: Option<Dropout>,
    ) -> Result<Residual> {
        let affine = after.on(g, p);
        let (sum, normed) = add_norm(g, self.stream, branch, affine, dropout)?;
        Ok(match order {
            NormOrder::Pre => Residual { stream: sum, branch_input: normed },
            NormOrder::Post => Residual { stream: normed, branch_input: normed },
        })
    }
}

/// Self-attention: one projection to queries, keys and values, and one back.
#[derive(Debug, Clone, Copy)]
pub struct SelfAttention {
    pub qkv: Linear,
    pub out: Linear,
}

impl SelfAttention {
    pub fn new(p: &mut Parameters, part: Part, name: &str, width: usize, layers: usize) -> SelfAttention {
        SelfAttention {
            qkv: Linear::new(p, part, &format!("{name}.qkv"), width, 3 * width),
            out: Linear::residual(p, part, &format!("{name}.out"), (width, width), layers),
        }
    }

    /// x (batch * tokens, width); one pattern for all heads or one for each.
    pub fn trace(
        &self,
        g: &mut Graph,
        p: &Parameters,
        x: Id,
        heads: Heads,
        patterns: &[Pattern],
        dropout: Option<Dropout>,
    ) -> Result<Id> {
        let (_, width) = g.matrix(x);
        let qkv = self.qkv.trace(g, p, x, None)?;
        let (q, k, v) =
            (g.columns(qkv, 0, width), g.columns(qkv, width, width), g.columns(qkv, 2 * width, width));
        let mixed = attention::attention(g, q, k, v, heads, patterns, None, dropout)?;
        self.out.trace(g, p, mixed, None)
    }
}

/// Two linear layers with an activation between.
#[derive(Debug, Clone, Copy)]
pub struct FeedForward {
    pub first: Linear,
    pub second: Linear,
}

impl FeedForward {
    pub fn new(
        p: &mut Parameters,
        part: Part,
        name: &str,
        width: usize,
        inner: usize,
        layers: usize,
    ) -> Self {
        FeedForward {
            first: Linear::new(p, part, &format!("{name}.first"), width, inner),
            second: Linear::residual(p, part, &format!("{name}.second"), (inner, width), layers),
        }
    }

    pub fn trace(&self, g: &mut Graph, p: &Parameters, x: Id, activation: Activation) -> Result<Id> {
        let inner = self.first.trace(g, p, x, Some(activation))?;
        self.second.trace(g, p, inner, None)
    }
}
