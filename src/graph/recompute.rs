//! Recompute in backward: parts of the trace whose activations are not kept for the backward pass but made again.
//!
//! [`Graph::recompute`] marks a segment. Where the backward pass comes to it, its forward ops are appended once more,
//! onto fresh tensors, and their gradients are taken there; so between the two passes the tensors that enter the segment
//! are alive, and no others. The ops are the same and dropout is a function of its counter, so every bit is as without
//! (Chen 2016; Child 2019 for attention and feed-forward). What no gradient reads is not made again.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::{Graph, Id, Role};
use crate::{Error, Result};

impl Graph {
    /// Traces a segment whose activations are made again in the backward pass. Segments inside it make no difference.
    pub fn recompute<T>(&mut self, trace: impl FnOnce(&mut Graph) -> T) -> T {
        let first = self.nodes.len();
        let result = trace(self);
        self.segments.retain(|segment| segment.end <= first);
        self.segments.push(first..self.nodes.len());
        result
    }

    /// The segment that ends before node `end`.
    pub(super) fn segment_ending_at(&self, end: usize) -> Option<Range<usize>> {
        self.segments.iter().find(|segment| segment.end == end && !segment.is_empty()).cloned()
    }

    /// Appends the segment's forward ops again, and behind them their gradients.
    pub(super) fn differentiate_again(&mut self, segment: Range<usize>) -> Result<()> {
        let copied = self.nodes.len();
        let mut copies = HashMap::new();
        for index in segment {
            let node = &self.nodes[index];
            let (op, inputs, outputs) = (Arc::clone(&node.op), node.inputs.clone(), node.outputs.clone());
            let inputs: Vec<Id> = inputs.into_iter().map(|id| self.again(id, &mut copies)).collect();
            for &output in &outputs {
                if self.tensor(output).role == Role::Activation {
                    self.copy(output, Role::Activation, &mut copies);
                } else if self.again(output, &mut copies) == output {
                    return Err(Error::failed(format!(
                        "{}: a segment that is made again may not write over {}, which comes from outside",
                        op.name(),
                        self.tensor(output).name
                    )));
                }
            }
            let outputs: Vec<Id> = outputs.into_iter().map(|id| copies[&id]).collect();
            self.push_shared(op, &inputs, &outputs);
        }
        let behind = self.nodes.len();
        for (old, new) in copies {
            // What has reached the old tensor from behind the segment.
            self.gradients[new.index()] = std::mem::take(&mut self.gradients[old.index()]);
        }
        for index in (copied..behind).rev() {
            self.differentiate_node(index)?;
        }
        self.prune(copied..behind);
        Ok(())
    }

    /// The copy of a tensor of the segment, or of a view of one; a tensor from outside is itself.
    fn again(&mut self, id: Id, copies: &mut HashMap<Id, Id>) -> Id {
        if let Some(&copy) = copies.get(&id) {
            return copy;
        }
        let role = match self.tensor(id).role {
            Role::View { base, column } => {
                let copy = self.again(base, copies);
                (copy != base).then_some(Role::View { base: copy, column })
            }
            Role::Reshaped { base } => {
                let copy = self.again(base, copies);
                (copy != base).then_some(Role::Reshaped { base: copy })
            }
            _ => None,
        };
        role.map_or(id, |role| self.copy(id, role, copies))
    }

    fn copy(&mut self, id: Id, role: Role, copies: &mut HashMap<Id, Id>) -> Id {
        let mut tensor = self.tensor(id).clone();
        (tensor.role, tensor.kept) = (role, false);
        let copy = self.insert(tensor);
        copies.insert(id, copy);
        copy
    }

    /// Takes out those of the copied nodes whose results nobody reads.
    fn prune(&mut self, copied: Range<usize>) {
        let mut read = HashSet::new();
        let mut needed = vec![true; self.nodes.len()];
        for index in (copied.start..self.nodes.len()).rev() {
            let node = &self.nodes[index];
            let root = |id: &Id| self.root(*id);
            if copied.contains(&index) && !node.outputs.iter().any(|id| read.contains(&root(id))) {
                needed[index] = false;
                continue;
            }
            read.extend(node.inputs.iter().map(root));
            // An output that lies in another tensor may be an overwriting of it.
            let views = node.outputs.iter().filter(|&&id| root(&id) != id);
            read.extend(views.map(root));
        }
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            needed[index - 1]
        });
    }
}

#[cfg(test)]
#[path = "recompute_tests.rs"]
mod tests;
