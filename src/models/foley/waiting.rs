//! The residual stream of a step of decoding, on its way from one layer that reads it to the next.
//!
//! A branch that is to be added, and the norm behind the sum, wait for the layer that reads their result. Where kernels run
//! and rows are few that layer takes them into its own launch (`ops::few_rows`); elsewhere they are operations of their
//! own, those of training.

use crate::Result;
use crate::config::NormOrder;
use crate::graph::{Graph, Id};
use crate::nn::Parameters;
use crate::nn::layers::{Norm, Residual};
use crate::ops::few_rows::{self, Entering, Ring, Weights, few_rows};
use crate::ops::linear::linear;
use crate::ops::ring::store;

/// The stream, and what waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    stream: Id,
    joining: Option<Joining>,
    order: NormOrder,
}

#[derive(Debug, Clone, Copy)]
struct Joining {
    branch: Option<Id>,
    norm: Norm,
}

impl Waiting {
    /// At the first layer, with the norm that stands before it in pre-norm.
    pub(super) fn new(x: Id, first: Option<Norm>, order: NormOrder) -> Waiting {
        Waiting { stream: x, joining: first.map(|norm| Joining { branch: None, norm }), order }
    }

    /// A branch is to be added, and the sum normed.
    pub(super) fn join(&mut self, branch: Id, norm: Norm) {
        self.joining = Some(Joining { branch: Some(branch), norm });
    }

    /// Joins what waits and puts the result through a layer. With a ring the layer makes queries, keys and values: returns
    /// the queries, and the ring as it is behind the newest key and value.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub(super) fn through(
        &mut self,
        g: &mut Graph,
        p: &Parameters,
        layer: Weights,
        ring: Option<Ring>,
    ) -> Result<(Id, Option<Id>)> {
        let joining = self.joining.take();
        if few_rows::serves(g, g.matrix(self.stream).0) {
            let entering = Entering {
                x: self.stream,
                branch: joining.and_then(|joining| joining.branch),
                norm: joining.map(|joining| joining.norm.on(g, p)),
                norm_goes_on: self.order == NormOrder::Post,
            };
            let made = few_rows(g, entering, layer, ring)?;
            self.stream = made.stream;
            return Ok((made.y, made.cache));
        }
        let plain = Residual { stream: self.stream, branch_input: self.stream };
        let residual = match joining {
            None => plain,
            Some(Joining { branch: None, norm }) => {
                Residual { branch_input: norm.trace(g, p, self.stream)?, ..plain }
            }
            Some(Joining { branch: Some(branch), norm }) => {
                plain.join(g, p, branch, &norm, self.order, None)?
            }
        };
        self.stream = residual.stream;
        let y = linear(g, residual.branch_input, layer.weight, layer.bias, layer.activation)?;
        let Some(Ring { cache, count, sizes }) = ring else { return Ok((y, None)) };
        let (columns, stored) = (g.matrix(y).1, g.matrix(cache).1);
        let newest = g.columns(y, columns - stored, stored);
        let cache = store(g, newest, count, cache, sizes)?;
        Ok((g.columns(y, 0, columns - stored), Some(cache)))
    }
}
