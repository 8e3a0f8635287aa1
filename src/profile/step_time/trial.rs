//! How far above its floor each operation of a step stays on this machine: every distinct one runs alone, on random
//! data, at a batch small enough that all of them together take about a second.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Need;
use crate::Result;
use crate::bench::ceiling::Ceilings;
use crate::bench::machine::Flush;
use crate::bench::together;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph, Id, Node, Role, Tensor};
use crate::ops::cases::random;

/// How many times its floor each node takes, in the order of a graph's nodes.
pub type Factors = Vec<f64>;

/// The whole calibration may take about this long, in seconds, of which a single operation at most a part.
const ALLOWED: f64 = 1.0;
const ALLOWED_EACH: f64 = ALLOWED / 4.0;
/// An operation is run until it took this long, but for its first run, and at least so often.
const ENOUGH: f64 = 15e-3;
const LEAST_RUNS: usize = 2;
/// Operations often take this many times their floor: for choosing the batch alone, before anything is measured.
const USUAL_FACTOR: f64 = 2.5;
/// Runs of an operation: one to touch its memory, and those that count.
const RUNS: f64 = 1.0 + LEAST_RUNS as f64;
/// Random values that fill the operands, over and over.
const DRAWN: usize = 1 << 16;

/// Two nodes with the same key are the same work.
type Key = (&'static str, u64, u64, Vec<Vec<usize>>);

fn key(graph: &Graph, node: &Node) -> Key {
    let cost = node.op.cost();
    let shapes = node.inputs.iter().chain(&node.outputs).map(|&id| graph.shape(id).to_vec()).collect();
    (node.op.name(), cost.flops.to_bits(), cost.bytes.to_bits(), shapes)
}

/// The distinct nodes of a graph, each with its first number, and which of them every node is.
fn distinct(graph: &Graph) -> (Vec<usize>, Vec<usize>) {
    let mut known = BTreeMap::new();
    let mut firsts = Vec::new();
    let of = graph
        .nodes()
        .iter()
        .enumerate()
        .map(|(index, node)| {
            *known.entry(key(graph, node)).or_insert_with(|| {
                firsts.push(index);
                firsts.len() - 1
            })
        })
        .collect();
    (firsts, of)
}

/// The largest batch, at most `batch`, whose distinct operations can all be timed in the time that calibration has.
fn trial_batch(trace: &dyn Fn(usize) -> Result<Graph>, batch: usize, ceilings: &Ceilings) -> Result<usize> {
    let one = trace(1)?;
    let floor: f64 = distinct(&one).0.iter().map(|&n| Need::of(&one, &one.nodes()[n]).floor(ceilings)).sum();
    let fits = ALLOWED / (RUNS * USUAL_FACTOR * floor.max(f64::MIN_POSITIVE));
    Ok((fits as usize).clamp(1, batch))
}

/// How many times its floor each node of `trace(batch)` takes on `device`. Operations that would take too long or need
/// more than `memory` bytes are not run: they get the factor of others of their name, or of all others.
///
/// # Errors
/// If the model cannot be traced, or the device fails.
pub fn of_step(
    device: Device,
    trace: &dyn Fn(usize) -> Result<Graph>,
    batch: usize,
    ceilings: &Ceilings,
    memory: Option<usize>,
) -> Result<Factors> {
    of_graph(device, &trace(trial_batch(trace, batch, ceilings)?)?, ceilings, memory)
}

/// As [`of_step`], at the size that the graph has.
///
/// # Errors
/// If the device fails.
pub fn of_graph(
    device: Device,
    graph: &Graph,
    ceilings: &Ceilings,
    memory: Option<usize>,
) -> Result<Factors> {
    let (firsts, of) = distinct(graph);
    let needs: Vec<Need> = firsts.iter().map(|&n| Need::of(graph, &graph.nodes()[n])).collect();
    let drawn = random::normal(1, DRAWN, 1.0);
    let mut flush = (device == Device::Cpu).then(Flush::new);
    let began = Instant::now();
    // The largest first: what there is no time for then weighs least.
    let mut order: Vec<usize> = (0..firsts.len()).collect();
    order.sort_by(|&a, &b| needs[b].floor(ceilings).total_cmp(&needs[a].floor(ceilings)));
    let mut seconds = vec![None; firsts.len()];
    for &n in &order {
        let expected = USUAL_FACTOR * needs[n].floor(ceilings);
        let left = 2.0 * ALLOWED - began.elapsed().as_secs_f64();
        if RUNS * expected > left.min(2.0 * ALLOWED_EACH) {
            continue;
        }
        if let Some((alone, elements)) = graph.alone(firsts[n]) {
            seconds[n] = timed(device, alone, elements, memory, &drawn, flush.as_mut())?;
        }
    }
    Ok(factors(&needs, &seconds, ceilings, &of))
}

/// From the seconds of the distinct nodes the factor of every node.
fn factors(needs: &[Need], seconds: &[Option<f64>], ceilings: &Ceilings, of: &[usize]) -> Factors {
    let known = |wanted: &dyn Fn(&Need) -> bool| {
        let pairs = needs.iter().zip(seconds).filter(|(need, _)| wanted(need));
        let (time, floor) = pairs
            .filter_map(|(need, seconds)| Some(((*seconds)?, need.floor(ceilings))))
            .fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        (floor > 0.0).then_some(time / floor)
    };
    let all = known(&|_| true).unwrap_or(USUAL_FACTOR);
    of.iter()
        .map(|&n| {
            let floor = needs[n].floor(ceilings);
            match seconds[n].filter(|_| floor > 0.0) {
                Some(seconds) => seconds / floor,
                None => known(&|need| need.op == needs[n].op).unwrap_or(all),
            }
        })
        .collect()
}

/// Seconds of one run of a graph of one node: the shortest of some. `None` where it needs more memory than there is.
fn timed(
    device: Device,
    graph: Graph,
    elements: usize,
    memory: Option<usize>,
    drawn: &[f32],
    mut flush: Option<&mut Flush>,
) -> Result<Option<f64>> {
    let program = Program::new(graph, Region::Work);
    let bytes = program.arena + 5 * DType::F32.bytes() * elements;
    if memory.is_some_and(|memory| bytes > memory) {
        return Ok(None);
    }
    let sizes = Sizes { trained: elements, constant: 0, training: true, average: true };
    let mut memory = Memory::new(device, sizes)?;
    memory.reserve(&program)?;
    let random = |len: usize| -> Vec<f32> { drawn.iter().copied().cycle().take(len).collect() };
    memory.set_flat(Region::Weights, 0, &random(elements));
    let owned = |tensor: &Tensor| {
        tensor.kept
            && tensor.dtype.is_float()
            && matches!(tensor.role, Role::Input | Role::Activation | Role::Gradient)
    };
    for id in (0..program.tensors.len() as u32).map(Id) {
        if owned(program.tensor(id)) {
            memory.write(&program, id, &random(program.tensor(id).len()));
        }
    }
    let together = together(device);
    let state = StepState { seed: 1, pass: 0, step: 1, learning_rate: 0.0 };
    let mut run = || -> Result<f64> {
        let start = Instant::now();
        for _ in 0..together {
            device.run(&program, &mut memory, &state)?;
        }
        memory.finish()?;
        Ok(start.elapsed().as_secs_f64() / together as f64)
    };
    // The first touches the memory.
    run()?;
    let began = Instant::now();
    let (mut best, mut runs) = (f64::INFINITY, 0);
    while runs < LEAST_RUNS || began.elapsed().as_secs_f64() < ENOUGH {
        // In a step other operations came in between, and their data are in the caches.
        if let Some(flush) = &mut flush {
            flush.run();
        }
        best = best.min(run()?);
        runs += 1;
    }
    Ok(Some(best))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::linear::linear;

    #[test]
    fn an_operation_that_was_not_run_is_judged_by_others_of_its_name() {
        let need = |op, flops| Need { op, flops, bytes: 0.0 };
        let needs = [need("linear", 100.0), need("linear", 400.0), need("norm", 100.0), need("add", 0.0)];
        let ceilings = Ceilings { copy_bytes_per_s: 1.0, matmul_flop_per_s: 100.0 };
        let seconds = [Some(2.0), None, Some(5.0), Some(1.0)];
        // 2 and 5 and 1 seconds over floors of 1, 1 and 0.
        assert_eq!(factors(&needs, &seconds, &ceilings, &[0, 1, 0, 2, 3]), [2.0, 2.0, 2.0, 5.0, 4.0]);
        assert_eq!(factors(&needs[..1], &[None], &ceilings, &[0]), [USUAL_FACTOR]);
    }

    #[test]
    fn equal_nodes_are_run_once_and_every_node_has_its_factor() {
        let mut g = Graph::new();
        let x = g.input("x", &[64, 96], DType::F32);
        let mut last = x;
        for layer in 0..3 {
            let weight = g.weight("weight", &[96, 96], layer * 96 * 96);
            last = linear(&mut g, last, weight, None, None).expect("shapes that fit");
        }
        let weight = g.weight("out", &[7, 96], 3 * 96 * 96);
        linear(&mut g, last, weight, None, None).expect("shapes that fit");
        assert_eq!(distinct(&g), (vec![0, 3], vec![0, 0, 0, 1]));
        let ceilings = Ceilings { copy_bytes_per_s: 1e9, matmul_flop_per_s: 1e10 };
        let found = of_graph(Device::Cpu, &g, &ceilings, None).expect("it runs");
        assert!(found.len() == 4 && found.iter().all(|&factor| factor > 0.0), "{found:?}");
        assert_eq!((found[0], found[1]), (found[2], found[0]));
        // Where there is no memory nothing is run.
        let none = of_graph(Device::Cpu, &g, &ceilings, Some(0)).expect("nothing runs");
        assert_eq!(none, [USUAL_FACTOR; 4]);
    }
}
