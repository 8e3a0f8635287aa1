//! A stack of encoder layers: self-attention and feed-forward, each joined to the residual stream.

use super::layers::{FeedForward, Norm, Residual, SelfAttention};
use super::{Parameters, Part, Sites};
use crate::Result;
use crate::config::{Activation, NormOrder};
use crate::graph::{Graph, Id};
use crate::ops::attention::{Heads, pattern::Pattern};

/// What all layers of a stack have in common.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub width: usize,
    /// Channels inside the feed-forward block.
    pub inner: usize,
    pub norm: NormOrder,
    pub activation: Activation,
    pub dropout: f32,
}

/// The layers of a stack, with the norm in front of pre-norm's first.
#[derive(Debug)]
pub struct Stack {
    style: Style,
    first_norm: Option<Norm>,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    attention: SelfAttention,
    /// The norm behind the attention's sum.
    attention_norm: Norm,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

impl Stack {
    /// Registers `depth` layers as `NAME.0` and so on, and the first norm as `NAME.norm`.
    pub fn new(p: &mut Parameters, part: Part, name: &str, depth: usize, style: Style) -> Stack {
        let Style { width, inner, .. } = style;
        let first_norm =
            (style.norm == NormOrder::Pre).then(|| Norm::new(p, part, &format!("{name}.norm"), width));
        let layers = (0..depth)
            .map(|i| {
                let name = |part: &str| format!("{name}.{i}.{part}");
                Layer {
                    attention: SelfAttention::new(p, part, &name("attention"), width, depth),
                    attention_norm: Norm::new(p, part, &name("attention.norm"), width),
                    feed_forward: FeedForward::new(p, part, &name("feed_forward"), width, inner, depth),
                    feed_forward_norm: Norm::new(p, part, &name("feed_forward.norm"), width),
                }
            })
            .collect();
        Stack { style, first_norm, layers }
    }

    /// Embedded tokens (batch * tokens, width) to features of the same shape.
    pub fn trace(
        &self,
        g: &mut Graph,
        p: &Parameters,
        x: Id,
        heads: Heads,
        patterns: &[Pattern],
        sites: &mut Sites,
    ) -> Result<Id> {
        let Style { norm, activation, dropout: rate, .. } = self.style;
        let branch_input = match &self.first_norm {
            Some(norm) => norm.trace(g, p, x)?,
            None => x,
        };
        let mut residual = Residual { stream: x, branch_input };
        for (i, layer) in self.layers.iter().enumerate() {
            residual = g.scope(i.to_string(), |g| -> Result<Residual> {
                let dropout = sites.dropout(rate);
                let a = layer.attention.trace(g, p, residual.branch_input, heads, patterns, dropout)?;
                let residual = residual.join(g, p, a, &layer.attention_norm, norm, sites.dropout(rate))?;
                let f = layer.feed_forward.trace(g, p, residual.branch_input, activation)?;
                residual.join(g, p, f, &layer.feed_forward_norm, norm, sites.dropout(rate))
            })?;
        }
        Ok(residual.branch_input)
    }
}
