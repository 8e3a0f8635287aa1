//! Reverse-mode differentiation: walks the trace backwards and lets each op append its own backward ops.

use std::sync::Arc;

use super::{DType, Graph, Id, Role};
use crate::ops::elementwise::Add;
use crate::{Error, Result};

impl Graph {
    /// Appends the backward pass of everything traced so far. The ops that compute a loss seed it: they write the
    /// gradient of their own inputs ([`crate::ops::cross_entropy`]), so no gradient of ones is needed.
    ///
    /// # Errors
    /// An op that lies between a parameter and the loss but has no gradient is an error that names it.
    pub fn differentiate(&mut self) -> Result<()> {
        let mut end = self.nodes.len();
        while end > 0 {
            match self.segment_ending_at(end) {
                Some(segment) => {
                    end = segment.start;
                    self.differentiate_again(segment)?;
                }
                None => {
                    end -= 1;
                    self.differentiate_node(end)?;
                }
            }
        }
        Ok(())
    }

    /// Lets a node append its backward ops, where anyone needs a gradient of its inputs.
    pub(super) fn differentiate_node(&mut self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let (op, inputs, outputs) = (Arc::clone(&node.op), node.inputs.clone(), node.outputs.clone());
        if !op.differentiable() || !inputs.iter().any(|&id| self.needs_gradient(id)) {
            return Ok(());
        }
        op.backward(self, &inputs, &outputs)
            .map_err(|error| Error::failed(format!("gradient of {}: {error}", op.name())))
    }

    /// The gradient that has reached `id`, summed over its readers, or `None` where the loss does not depend on it.
    pub fn gradient(&mut self, id: Id) -> Option<Id> {
        let mut contributions = std::mem::take(&mut self.gradients[id.index()]);
        while contributions.len() > 1 {
            let (a, b) = (contributions.remove(0), contributions.remove(0));
            let sum = self.fresh_gradient(id);
            let len = self.tensor(id).len();
            self.push(Add { len }, &[a, b], &[sum]);
            contributions.insert(0, sum);
        }
        self.gradients[id.index()] = contributions.clone();
        contributions.first().copied()
    }

    /// A tensor for an op to write its contribution to the gradient of `id` into; `None` where nobody needs it.
    ///
    /// For a parameter this is the accumulated gradient itself: the op must add to it.
    pub fn gradient_slot(&mut self, id: Id) -> Option<Id> {
        if !self.needs_gradient(id) {
            return None;
        }
        if let Role::View { base, column } = self.tensor(id).role {
            // Views of one base (the q, k, v of one projection) write disjoint columns of one gradient.
            let base_gradient = match self.gradients[base.index()].first() {
                Some(&gradient) => gradient,
                None => self.gradient_slot(base)?,
            };
            let columns = self.tensor(id).columns();
            return Some(self.columns(base_gradient, column, columns));
        }
        if let Role::Reshaped { base } = self.tensor(id).role {
            let shape = self.shape(id).to_vec();
            let gradient = self.gradient_slot(base)?;
            return Some(self.reshape(gradient, &shape));
        }
        if let Role::Weight(offset) = self.tensor(id).role {
            if let Some(&gradient) = self.gradients[id.index()].first() {
                return Some(gradient);
            }
            let (name, shape) = (format!("d {}", self.tensor(id).name), self.tensor(id).shape.clone());
            let gradient = self.add(&name, &shape, DType::F32, Role::WeightGradient(offset));
            self.gradients[id.index()].push(gradient);
            return Some(gradient);
        }
        let gradient = self.fresh_gradient(id);
        self.gradients[id.index()].push(gradient);
        Some(gradient)
    }

    /// Declares that the gradient of `id` is the tensor `gradient`, already written (an identity, or a loss).
    pub fn set_gradient(&mut self, id: Id, gradient: Id) {
        if !self.needs_gradient(id) {
            return;
        }
        if let Role::Reshaped { base } = self.tensor(id).role {
            let shape = self.shape(base).to_vec();
            let gradient = self.reshape(gradient, &shape);
            return self.set_gradient(base, gradient);
        }
        self.gradients[id.index()].push(gradient);
    }

    fn fresh_gradient(&mut self, id: Id) -> Id {
        let (name, shape) = (format!("d {}", self.tensor(id).name), self.tensor(id).shape.clone());
        let dtype = self.tensor(id).dtype;
        self.add(&name, &shape, dtype, Role::Gradient)
    }
}
