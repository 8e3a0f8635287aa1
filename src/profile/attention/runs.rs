//! A graph that is ready to run, its clock, and the memory it takes.

use std::time::Instant;

use crate::Result;
use crate::bench::energy::{self, Meter};
use crate::bench::{Quantiles, together};
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph, Id};
use crate::nn::{Parameters, Part as Half};
use crate::ops::attention::Heads;
use crate::ops::attention::decode::{Cache, decode};
use crate::ops::attention::{attention, pattern::Pattern};
use crate::ops::cases::random;

use super::setting::Setting;

/// A traced graph with its inputs.
pub struct Traced {
    pub program: Program,
    /// Nodes of the forward pass come first.
    pub forward_nodes: usize,
    /// What must be written before the forward pass, and what before the backward pass alone.
    forward_inputs: Vec<Id>,
    backward_inputs: Vec<Id>,
    /// Keys so far, where it decodes.
    count: Option<(Id, u32)>,
    parameters: Parameters,
}

impl Traced {
    /// Self-attention over packed projections (batch * length, 3 * width), as models run it.
    ///
    /// # Errors
    /// If the device has no kernel for it.
    pub fn attention(s: &Setting, patterns: &[Pattern], length: usize, backward: bool) -> Result<Traced> {
        let (mut g, width) = (Graph::storing(s.device.storage()), s.width());
        let packed = g.input_activation("queries, keys, values", &[s.batch * length, 3 * width]);
        let heads = Heads { batch: s.batch, heads: s.heads, queries: length, keys: length };
        if backward {
            g.require_gradient(packed);
        }
        let [q, k, v] = [0, 1, 2].map(|n| g.columns(packed, n * width, width));
        let out = attention(&mut g, q, k, v, heads, patterns, None, None)?;
        finished(g, Parameters::default(), packed, out, backward)
    }

    /// One step of decoding with `length` keys, the new one's own among them, in a cache as long as they reach back.
    ///
    /// # Errors
    /// If the device has no kernel for it.
    pub fn decoding(s: &Setting, patterns: &[Pattern], length: usize) -> Result<Traced> {
        let (mut g, width) = (Graph::storing(s.device.storage()), s.width());
        let cache = cache(s, patterns, length);
        let q = g.input_activation("query", &[s.batch, width]);
        let packed = g.input_activation("keys, values", &[s.batch * cache.capacity, 2 * width]);
        let count = g.input("keys so far", &[1], DType::U32);
        let (k, v) = (g.columns(packed, 0, width), g.columns(packed, width, width));
        let out = decode(&mut g, [q, k, v], count, cache, patterns)?;
        [q, packed, count, out].into_iter().for_each(|id| g.keep(id));
        Ok(Traced {
            program: Program::new(g, Region::Work),
            forward_nodes: 1,
            forward_inputs: vec![q, packed],
            backward_inputs: Vec::new(),
            count: Some((count, length as u32)),
            parameters: Parameters::default(),
        })
    }

    /// The feed-forward layer of the setting over `tokens`.
    ///
    /// # Errors
    /// If the device refuses its sizes.
    pub fn feed_forward(s: &Setting, tokens: usize) -> Result<Traced> {
        use crate::{config::Activation, nn::layers};
        let (width, inside) = (s.feed_forward.width, s.feed_forward.inside);
        let mut parameters = Parameters::default();
        let layer =
            layers::FeedForward::new(&mut parameters, Half::Encoder, "feed-forward", width, inside, 1);
        parameters.lay_out();
        let mut g = Graph::storing(s.device.storage());
        let x = g.input_activation("tokens", &[tokens, width]);
        g.require_gradient(x);
        let out = layer.trace(&mut g, &parameters, x, Activation::Gelu)?;
        finished(g, parameters, x, out, true)
    }
}

/// Keeps what is written before a run, so that it can be run again, and appends the backward pass.
fn finished(mut g: Graph, parameters: Parameters, x: Id, out: Id, backward: bool) -> Result<Traced> {
    let forward_nodes = g.nodes().len();
    let mut backward_inputs = Vec::new();
    g.keep(x);
    g.keep(out);
    if backward {
        let shape = g.shape(out).to_vec();
        let seed = g.input_activation("gradient of the result", &shape);
        g.keep(seed);
        g.set_gradient(out, seed);
        g.differentiate()?;
        if let Some(gradient) = g.gradient(x) {
            g.keep(gradient);
        }
        backward_inputs.push(seed);
    }
    Ok(Traced {
        program: Program::new(g, Region::Work),
        forward_nodes,
        forward_inputs: vec![x],
        backward_inputs,
        count: None,
        parameters,
    })
}

/// The cache that decoding with these patterns needs.
pub fn cache(s: &Setting, patterns: &[Pattern], length: usize) -> Cache {
    let pinned = patterns.iter().map(|p| p.prefix_keys(usize::MAX)).max().unwrap_or(0);
    let ring = patterns.iter().map(|p| p.reach().unwrap_or(length)).max().unwrap_or(length).max(1);
    Cache { batch: s.batch, heads: s.heads, capacity: pinned + ring, pinned }
}

/// A graph in the memory of its device.
pub struct Ready {
    traced: Traced,
    memory: Memory,
    device: Device,
    seed: u64,
    /// Runs so far, of either part.
    runs: usize,
}

/// Which nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Forward,
    Backward,
}

/// A GPU's run from which one a wait is enough.
const LONG_RUN: f64 = 10e-3;
const STATE: StepState = StepState { seed: 1, pass: 0, step: 1, learning_rate: 0.0 };

impl Ready {
    /// Takes the memory and writes what the forward pass reads.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn new(traced: Traced, device: Device, seed: u64) -> Result<Ready> {
        let trained = traced.parameters.trained();
        let constant = traced.parameters.constant();
        let mut memory = Memory::new(device, Sizes { trained, constant, training: true, average: false })?;
        memory.reserve(&traced.program)?;
        if trained > 0 {
            memory.set_flat(Region::Weights, 0, &random::normal(seed, trained, 0.02));
        }
        let mut ready = Ready { traced, memory, device, seed, runs: 0 };
        for id in ready.traced.forward_inputs.clone() {
            ready.write(id);
        }
        if let Some((id, count)) = ready.traced.count {
            ready.memory.write(&ready.traced.program, id, &[count]);
        }
        Ok(ready)
    }

    /// Writes what the backward pass reads beside the forward pass's results.
    pub fn seed_gradients(&mut self) {
        for id in self.traced.backward_inputs.clone() {
            self.write(id);
        }
    }

    fn write(&mut self, id: Id) {
        let len = self.traced.program.tensor(id).len();
        self.seed += 1;
        self.memory.write(&self.traced.program, id, &random::normal(self.seed, len, 1.0));
    }

    /// Seconds of one run, from some runs with one wait behind them where the device works on its own.
    ///
    /// # Errors
    /// If the device fails.
    pub fn clocked(&mut self, part: Part, expected: f64) -> Result<f64> {
        let forward = self.traced.forward_nodes;
        let nodes = match part {
            Part::Forward => 0..forward,
            Part::Backward => forward..self.traced.program.nodes.len(),
        };
        let runs = if expected < LONG_RUN { together(self.device) } else { 1 };
        let start = Instant::now();
        for _ in 0..runs {
            self.device.run_nodes(&self.traced.program, nodes.clone(), &mut self.memory, &STATE)?;
        }
        self.memory.finish()?;
        self.runs += runs;
        Ok(start.elapsed().as_secs_f64() / runs as f64)
    }
}

/// Most runs of one point: more say nothing new.
const MOST_RUNS: usize = 200;

/// As [`timed`], with the joules of one run where `meter` tells.
///
/// # Errors
/// If the device fails.
pub fn metered(
    ready: &mut Ready,
    part: Part,
    expected: f64,
    allowance: f64,
    meter: Option<&Meter>,
) -> Result<(Quantiles, Option<f64>)> {
    energy::over(meter, || {
        let before = ready.runs;
        let times = timed(ready, part, expected, allowance)?;
        Ok((times, ready.runs - before))
    })
}

/// Runs for about `allowance` seconds. Where `expected` seconds fit in it more than once or so, one run goes before that
/// is not counted.
///
/// # Errors
/// If the device fails.
pub fn timed(ready: &mut Ready, part: Part, expected: f64, allowance: f64) -> Result<Quantiles> {
    let began = Instant::now();
    let mut last = ready.clocked(part, expected)?;
    let mut times = Vec::new();
    // A run so long that there is no time for another is no worse for having touched its memory first.
    if 2.0 * last > allowance {
        times.push(last);
    }
    while times.is_empty()
        || (times.len() < MOST_RUNS && began.elapsed().as_secs_f64() + 0.5 * last < allowance)
    {
        last = ready.clocked(part, last)?;
        times.push(last);
    }
    Ok(Quantiles::of(times, 1))
}
