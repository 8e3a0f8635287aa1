//! The newest key and value of each sequence to their place in a ring, where [`super::attention::decode`] finds them.
//!
//! rows (batch, width), which may be columns of a wider tensor; count (1) u32: keys so far, the new one among them; the
//! cache (batch * capacity, width) is written in place, at the slot that [`super::attention::cpu::Decode::slot`] names.

use super::attention::decode::Cache;
use super::cases::{Case, Gradient, Input};
use super::{Cost, Op};
use crate::device::cpu::Args;
use crate::device::gpu::Launcher;
use crate::graph::{Graph, Id};
use crate::{Error, Result};

/// Traces one store; returns the cache as it is behind it.
///
/// # Errors
/// If the shapes do not fit.
pub fn store(graph: &mut Graph, rows: Id, count: Id, cache: Id, sizes: Cache) -> Result<Id> {
    let Cache { batch, capacity, pinned, .. } = sizes;
    let (sequences, width) = graph.matrix(rows);
    if sequences != batch
        || graph.matrix(cache) != (batch * capacity, width)
        || graph.tensor(count).len() != 1
        || pinned >= capacity
    {
        return Err(Error::failed(format!(
            "store: rows ({sequences}, {width}), a cache of {:?}, {sizes:?}",
            graph.matrix(cache)
        )));
    }
    let stored = graph.in_place(cache);
    graph.push(Store { batch, width, capacity, pinned }, &[rows, count], &[stored]);
    Ok(stored)
}

/// Output: the cache.
#[derive(Debug)]
struct Store {
    batch: usize,
    width: usize,
    capacity: usize,
    pinned: usize,
}

impl Op for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn cost(&self) -> Cost {
        Cost { bytes: 8.0 * (self.batch * self.width) as f64, flops: 0.0 }
    }

    fn cpu(&self, args: &Args) {
        let Store { batch, width, capacity, pinned } = *self;
        let (rows, newest) = (args.input_columns(0), args.input::<u32>(1)[0] as usize - 1);
        let slot = if newest < pinned { newest } else { pinned + (newest - pinned) % (capacity - pinned) };
        let cache: &mut [f32] = args.output(0);
        for sequence in 0..batch {
            let at = (sequence * capacity + slot) * width;
            cache[at..at + width].copy_from_slice(rows.row(sequence, 0, width));
        }
    }

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let (cache, rows, count) = (launch.output(0), launch.input(0), launch.input(1));
        let stride = rows.row_stride;
        launch
            .kernel(&format!("ring_store_{}", cache.suffix()))
            .out(cache)
            .read(rows)
            .read(count)
            .size(self.width)
            .size(stride)
            .size(self.capacity)
            .size(self.pinned)
            .grid(self.batch)
    }
}

/// Cases of the store.
pub fn cases() -> Vec<Case> {
    // (sequences, width, capacity, pinned, keys): in the pinned rows, in the ring, and after several rounds.
    let sizes = [(1, 4, 3, 0, 1), (3, 10, 5, 1, 1), (2, 17, 5, 2, 4), (4, 300, 7, 1, 8), (2, 8, 6, 2, 31)];
    sizes
        .map(|(batch, width, capacity, pinned, keys)| {
            let inputs = vec![
                Input::activation(&[batch, width + 3], 1.0),
                Input::tokens(&[1], vec![keys as u32]),
                Input::activation(&[batch * capacity, width], 1.0),
            ];
            let name = format!("key {keys} of {batch} x {width}, {pinned} of {capacity} pinned");
            let sizes = Cache { batch, heads: 1, capacity, pinned };
            Case::new("store", name, inputs, move |g, x| {
                let rows = g.columns(x[0], 3, width);
                Ok(vec![store(g, rows, x[1], x[2], sizes)?])
            })
            .gradient(Gradient::None)
            .against(move |x| {
                let mut cache = x[2].clone();
                // The keys in order, each on the oldest row that is not pinned.
                let mut order: Vec<usize> = (0..capacity).collect();
                for _ in 1..keys {
                    let row = order.remove(0);
                    order.extend((row >= pinned).then_some(row));
                }
                for sequence in 0..batch {
                    let at = (sequence * capacity + order[0]) * width;
                    cache[at..at + width].copy_from_slice(&x[0][sequence * (width + 3) + 3..][..width]);
                }
                vec![cache]
            })
        })
        .into()
}
