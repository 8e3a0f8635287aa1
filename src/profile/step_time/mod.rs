//! What a training step will take, predicted before any memory is taken for it.
//!
//! Each node of the traced step tells its floating point operations and bytes; what the device allows at best for them,
//! `max(flops / rate, bytes / rate)`, is its floor. How far above its floor each operation stays is measured on this
//! machine ([`trial`]). Where the device is not here, a data sheet gives the rates, and the prediction is the sum of the
//! floors: a time that no run will be under.

pub mod trial;

use std::collections::BTreeMap;

use serde::Serialize;

use self::trial::Factors;
use super::rates::{self, Datasheet};
use crate::Result;
use crate::bench::ceiling::Ceilings;
use crate::config::Optimizer;
use crate::device::Device;
use crate::graph::{Graph, Node};
use crate::models::engine;
use crate::nn::Parameters;
use crate::ops::Cost;
use crate::ops::optimizer::Segment;

/// What a node takes at least.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Need {
    op: &'static str,
    flops: f64,
    /// In the types that the device stores.
    bytes: f64,
}

impl Need {
    fn of(graph: &Graph, node: &Node) -> Need {
        let cost = Cost::of(node, &graph.tensors, graph.storage());
        Need { op: node.op.name(), flops: cost.flops, bytes: cost.bytes }
    }

    fn floor(&self, ceilings: &Ceilings) -> f64 {
        ceilings.floor(self.flops, self.bytes).0
    }
}

/// A step that is to be predicted.
pub struct Step<'a> {
    /// The graph of a pass, forward and backward, over a batch.
    pub trace: &'a dyn Fn(usize) -> Result<Graph>,
    pub parameters: &'a Parameters,
    pub optimizer: &'a Optimizer,
    pub batch: usize,
    /// Passes of a step.
    pub accumulate: usize,
}

/// Whose rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Machine {
    /// This machine's device, measured, with the bytes that a single operation may take for it.
    Here { device: Device, memory: Option<usize> },
    /// A GPU that is not here.
    Sheet { storing: Device, sheet: Datasheet },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    Measured,
    Datasheet,
}

/// The time of all nodes of one kind in a step.
#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    pub op: &'static str,
    /// Nodes of that kind in a step.
    pub count: usize,
    pub seconds: f64,
}

/// What a step will take.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    pub basis: Basis,
    /// Seconds of an optimizer step: its passes and the update.
    pub step_s: f64,
    /// The least that the rates allow for it.
    pub floor_s: f64,
    /// Samples of the batch, pictures or clips, a second.
    pub samples_per_s: f64,
    /// By kind of operation, the longest first.
    pub ops: Vec<Kind>,
}

/// Seconds between two kernels of a recorded CUDA graph, at least: an assumption for data sheets, which do not tell.
const LAUNCH: f64 = 2e-6;
/// Parameters that stand for all in the timing of the update: more than caches hold, and no more memory than that.
const UPDATED: usize = 4 << 20;

/// Predicts a step.
///
/// # Errors
/// If the step cannot be traced, or the device fails.
pub fn predict(step: &Step, machine: Machine) -> Result<Prediction> {
    let (device, ceilings, launch) = match machine {
        Machine::Here { device, .. } => (device, rates::quick(device)?, 0.0),
        Machine::Sheet { storing, sheet } => (storing, Ceilings::from(sheet), LAUNCH),
    };
    let trained = step.parameters.trained();
    let update = |trained: usize| {
        let one = [Segment { start: 0, len: trained, learning_rate: 1.0, weight_decay: 0.0 }];
        engine::update(device, trained, step.optimizer, &one, false).0
    };
    let mut kinds = BTreeMap::new();
    let mut floor = 0.0;
    let mut sum = |graph: Graph, factors: Option<Factors>, times: usize| {
        let needs: Vec<Need> = graph.nodes().iter().map(|node| Need::of(&graph, node)).collect();
        floor += times as f64 * needs.iter().map(|need| need.floor(&ceilings)).sum::<f64>();
        let factors = factors.unwrap_or_else(|| vec![1.0; needs.len()]);
        add(&mut kinds, &needs, &factors, times, &ceilings, launch)
    };
    let (of_pass, of_update) = match machine {
        Machine::Sheet { .. } => (None, None),
        Machine::Here { memory, .. } => {
            let trial = update(trained.min(UPDATED));
            let of_pass = trial::of_step(device, step.trace, step.batch, &ceilings, memory)?;
            (Some(of_pass), Some(trial::of_graph(device, &trial, &ceilings, memory)?))
        }
    };
    let seconds =
        sum((step.trace)(step.batch)?, of_pass, step.accumulate) + sum(update(trained), of_update, 1);
    let mut ops: Vec<Kind> = kinds.into_values().collect();
    ops.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(Prediction {
        basis: if matches!(machine, Machine::Sheet { .. }) { Basis::Datasheet } else { Basis::Measured },
        step_s: seconds,
        floor_s: floor,
        samples_per_s: (step.batch * step.accumulate) as f64 / seconds,
        ops,
    })
}

/// Adds nodes that run `times` times a step; returns their seconds, all times together.
fn add(
    kinds: &mut BTreeMap<&'static str, Kind>,
    needs: &[Need],
    factors: &Factors,
    times: usize,
    ceilings: &Ceilings,
    launch: f64,
) -> f64 {
    needs.iter().zip(factors).fold(0.0, |sum, (need, factor)| {
        let seconds = times as f64 * (need.floor(ceilings) * factor).max(launch);
        let kind = kinds.entry(need.op).or_insert(Kind { op: need.op, count: 0, seconds: 0.0 });
        kind.count += times;
        kind.seconds += seconds;
        sum + seconds
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::ops::linear::linear;

    fn graph(storage: DType, rows: usize) -> Graph {
        let mut g = Graph::storing(storage);
        let x = g.input_activation("x", &[rows, 64]);
        let weight = g.weight("weight", &[128, 64], 0);
        linear(&mut g, x, weight, None, None).expect("shapes that fit");
        g
    }

    fn need(storage: DType) -> Need {
        let graph = graph(storage, 32);
        Need::of(&graph, &graph.nodes()[0])
    }

    #[test]
    fn what_is_stored_in_16_bits_moves_fewer_bytes_and_as_many_operations() {
        let (whole, half) = (need(DType::F32), need(DType::BF16));
        assert_eq!(whole.flops, 2.0 * 32.0 * 64.0 * 128.0);
        assert_eq!(whole.bytes, 4.0 * (32.0 * 64.0 + 64.0 * 128.0 + 32.0 * 128.0));
        assert_eq!(half.flops, whole.flops);
        assert_eq!(half.bytes, whole.bytes / 2.0);
    }

    #[test]
    fn kinds_add_up_and_a_launch_is_never_free() {
        let need = |op, flops| Need { op, flops, bytes: 0.0 };
        let needs = [need("linear", 100.0), need("norm", 1.0), need("linear", 300.0)];
        let ceilings = Ceilings { copy_bytes_per_s: 1.0, matmul_flop_per_s: 100.0 };
        let mut kinds = BTreeMap::new();
        let seconds = add(&mut kinds, &needs, &vec![2.0, 1.0, 1.0], 2, &ceilings, 0.5);
        assert_eq!(seconds, 2.0 * (2.0 + 0.5 + 3.0));
        assert_eq!((kinds["linear"].count, kinds["linear"].seconds), (4, 10.0));
        assert_eq!((kinds["norm"].count, kinds["norm"].seconds), (2, 1.0));
    }

    #[test]
    fn a_data_sheets_time_is_its_floor_and_grows_with_the_batch() {
        let optimizer = Optimizer::default();
        let mut parameters = Parameters::default();
        let part = crate::nn::Part::Encoder;
        parameters.add(part, "weight", &[128, 64], crate::nn::init::Init::Zeros);
        parameters.lay_out();
        let trace = |batch: usize| Ok(graph(DType::BF16, 1024 * batch));
        let machine = Machine::Sheet {
            storing: Device::Cuda(0),
            sheet: Datasheet { bytes_per_s: 1e9, flop_per_s: 1e12 },
        };
        let of = |batch, accumulate| {
            let step =
                Step { trace: &trace, parameters: &parameters, optimizer: &optimizer, batch, accumulate };
            predict(&step, machine).expect("a prediction")
        };
        let (one, four, twice) = (of(1, 1), of(4, 1), of(4, 2));
        assert!(one.step_s >= one.floor_s && one.floor_s > 0.0, "{one:?}");
        assert!(four.step_s > 2.0 * one.step_s && twice.step_s > 1.5 * four.step_s, "{four:?} {twice:?}");
        assert_eq!(four.samples_per_s, 4.0 / four.step_s);
    }
}
