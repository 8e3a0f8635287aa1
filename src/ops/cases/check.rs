//! Runs a case on a device and compares it with its f64 form.
//!
//! Every output and gradient starts as NaN, so that what a kernel does not write is seen; the run is made twice (in the
//! emulator, under another order of threads) and must repeat bit for bit; gradients are compared with central
//! differences of the f64 form at sampled elements. Where the device stores 16-bit floats, what goes in is rounded to
//! them first, so that both forms start from the same numbers.

use serde::Serialize;

use super::{Case, Gradient, Reference, Values, random};
use crate::device::{Device, Memory, Sizes, StepState, numbers};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph, Id};
use crate::{Error, Result};

/// Largest error, as a share of the largest value, of an op whose arithmetic is f32: some 100 roundings of 6e-8.
const TOLERANCE: f64 = 1e-5;
/// The same where activations are stored as bf16, which rounds to 2^-9 of a value: twice what storing an input's
/// product and the result would cost (FlashAttention's rule: at most twice the error of plain arithmetic in bf16).
const TOLERANCE_BF16: f64 = 4.0 / 512.0;
/// Elements of each input whose gradient is checked.
const SAMPLED: usize = 24;
/// A gradient smaller than this share of the case's largest is judged by the largest.
const SMALL: f64 = 1e-2;
/// Step of the central difference: in f64 its error is near 1e-10.
const STEP: f64 = 1e-5;
/// Randomness that cases with dropout run under; their references draw the same.
pub const STATE: StepState = StepState { seed: 0x5eed, pass: 3, step: 2, learning_rate: 0.01 };

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub op: &'static str,
    pub name: String,
    pub ok: bool,
    /// The largest error over outputs and gradients, relative to the largest value of its tensor.
    pub error: f64,
    pub tolerance: f64,
    /// What is wrong, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A case ready to run: its program, inputs, and what is to be read.
pub struct Prepared {
    pub program: Program,
    pub memory: Memory,
    inputs: Vec<(Id, Data)>,
    outputs: Vec<Id>,
    /// Input number and gradient tensor.
    gradients: Vec<(usize, Id)>,
    seeds: Vec<Vec<f32>>,
    device: Device,
    /// Nodes of the forward pass come first.
    pub forward_nodes: usize,
}

enum Data {
    F32(Vec<f32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl Data {
    fn as_f64(&self) -> Vec<f64> {
        match self {
            Data::F32(values) => values.iter().map(|v| f64::from(*v)).collect(),
            Data::U32(values) => values.iter().map(|v| f64::from(*v)).collect(),
            Data::U8(values) => values.iter().map(|v| f64::from(*v)).collect(),
        }
    }
}

impl Prepared {
    /// Traces, differentiates and plans a case.
    ///
    /// # Errors
    /// If the op refuses its shapes.
    pub fn new(case: &Case, device: Device) -> Result<Prepared> {
        let storage = case
            .storage(device)
            .ok_or_else(|| Error::failed(format!("{case:?} does not run on {}", device.name())))?;
        let mut graph = Graph::storing(storage);
        let (mut ids, mut inputs, mut weights) = (Vec::new(), Vec::new(), 0);
        for (number, input) in case.inputs.iter().enumerate() {
            let (seed, len) = (number as u64 + 11, input.len());
            let name = format!("input {number}");
            let (id, data) = match &input.values {
                Values::Activation(deviation) => {
                    let id = graph.input_activation(&name, &input.shape);
                    graph.require_gradient(id);
                    (id, Data::F32(numbers::rounded(storage, &random::normal(seed, len, *deviation))))
                }
                Values::Weight(deviation) => {
                    let id = graph.weight(&name, &input.shape, weights);
                    weights += len.next_multiple_of(16);
                    (id, Data::F32(numbers::rounded(storage, &random::normal(seed, len, *deviation))))
                }
                Values::Fixed(values) => {
                    (graph.input(&name, &input.shape, DType::F32), Data::F32(values.clone()))
                }
                Values::Tokens(values) => {
                    (graph.input(&name, &input.shape, DType::U32), Data::U32(values.clone()))
                }
                Values::Bytes => {
                    (graph.input(&name, &input.shape, DType::U8), Data::U8(random::bytes(seed, len)))
                }
            };
            ids.push(id);
            inputs.push((id, data));
        }
        let outputs = (case.trace)(&mut graph, &ids)?;
        let forward_nodes = graph.nodes().len();
        let mut seeds = Vec::new();
        for (number, &output) in outputs.iter().enumerate() {
            graph.keep(output);
            if case.gradient == Gradient::Seeded {
                let shape = graph.shape(output).to_vec();
                let dtype = graph.tensor(output).dtype;
                let seed = graph.input(&format!("seed {number}"), &shape, dtype);
                let values = random::normal(100 + number as u64, shape.iter().product(), 1.0);
                let values = numbers::rounded(dtype, &values);
                graph.set_gradient(output, seed);
                inputs.push((seed, Data::F32(values.clone())));
                seeds.push(values);
            }
        }
        let mut gradients = Vec::new();
        if case.gradient != Gradient::None {
            graph.differentiate()?;
            for (number, input) in case.inputs.iter().enumerate().filter(|(_, input)| input.trained()) {
                let gradient = graph.gradient(ids[number]).ok_or_else(|| {
                    Error::failed(format!("{case:?}: no gradient of input {number} {:?}", input.shape))
                })?;
                graph.keep(gradient);
                gradients.push((number, gradient));
            }
        }
        let program = Program::new(graph, Region::Work);
        let sizes = Sizes { trained: weights.max(16), constant: 0, training: true, average: true };
        let mut memory = Memory::new(device, sizes)?;
        memory.reserve(&program)?;
        Ok(Prepared { program, memory, inputs, outputs, gradients, seeds, device, forward_nodes })
    }

    /// Bytes that it holds: the arena, parameters with all that belongs to them, and the inputs beside it.
    pub fn bytes(&self) -> usize {
        let fixed: usize = crate::device::REGIONS.iter().map(|&region| self.memory.bytes(region)).sum();
        let inputs: usize = self
            .inputs
            .iter()
            .map(|(id, _)| self.program.tensor(*id))
            .map(|tensor| tensor.len() * tensor.dtype.bytes())
            .sum();
        fixed + inputs
    }

    /// Poisons the arena, clears the parameters' gradients, writes the inputs and runs.
    ///
    /// # Errors
    /// If the device fails, or the emulator finds that a kernel breaks a rule.
    pub fn run(&mut self) -> Result<()> {
        self.memory.poison(Region::Work);
        self.memory.clear(Region::Gradients);
        for (id, data) in &self.inputs {
            match data {
                Data::F32(values) => self.memory.write(&self.program, *id, values),
                Data::U32(values) => self.memory.write(&self.program, *id, values),
                Data::U8(values) => self.memory.write(&self.program, *id, values),
            }
        }
        self.device.run(&self.program, &mut self.memory, &STATE)
    }

    /// Outputs, then gradients.
    pub(crate) fn results(&self) -> Vec<Vec<f32>> {
        let gradients = self.gradients.iter().map(|(_, id)| *id);
        self.outputs
            .iter()
            .copied()
            .chain(gradients)
            .map(|id| self.memory.read(&self.program, id).into_owned())
            .collect()
    }
}

/// Checks one case that has a reference. The emulator runs it under the thread orders `schedule` and the next one.
///
/// # Errors
/// If the case cannot be traced.
pub fn check(case: &Case, device: Device, schedule: u64) -> Result<Outcome> {
    Ok(check_under(case, device, &[(schedule, false)])?.remove(0))
}

/// As [`check`], once for each thread order; in the emulator products take their epilogues or not, as `fuses` beside it
/// says. The f64 form, which costs more than many a kernel, is worked out once for all.
///
/// # Errors
/// As [`check`].
pub fn check_under(case: &Case, device: Device, runs: &[(u64, bool)]) -> Result<Vec<Outcome>> {
    let mut expected = None;
    runs.iter().map(|&(schedule, fuses)| run_once(case, device, schedule, fuses, &mut expected)).collect()
}

/// What the f64 form says of a case on a device.
struct Expected {
    outputs: Vec<Vec<f64>>,
    /// Sampled elements and their differences, for each of [`Prepared::gradients`].
    gradients: Vec<(Vec<usize>, Vec<f64>)>,
    tolerance: f64,
}

impl Expected {
    fn of(case: &Case, prepared: &Prepared, reference: &Reference, tolerance: f64) -> Expected {
        let inputs: Vec<Vec<f64>> =
            prepared.inputs[..case.inputs.len()].iter().map(|(_, data)| data.as_f64()).collect();
        let outputs = reference(&inputs);
        let mut expected = Expected { outputs, gradients: Vec::new(), tolerance };
        let storage = prepared.program.tensor(prepared.outputs[0]).dtype;
        if let (Some(plain), true) = (&case.plain, storage != DType::F32) {
            let rounded = plain(&inputs, &|x| f64::from(numbers::rounded(storage, &[x as f32])[0]));
            let errors = rounded.iter().zip(&expected.outputs).map(|(found, expected)| {
                let found: Vec<f32> = found.iter().map(|v| *v as f32).collect();
                relative(&found, expected)
            });
            expected.tolerance = tolerance.max(2.0 * errors.fold(0.0, f64::max));
        }
        let of = |(number, _): &(usize, Id)| differences(case, &prepared.seeds, reference, &inputs, *number);
        expected.gradients = prepared.gradients.iter().map(of).collect();
        expected
    }
}

fn run_once(
    case: &Case,
    device: Device,
    schedule: u64,
    fuses: bool,
    expected: &mut Option<Expected>,
) -> Result<Outcome> {
    let tolerance = if device.storage() == DType::F32 { TOLERANCE } else { TOLERANCE_BF16 };
    let mut outcome =
        Outcome { op: case.op, name: case.name.clone(), ok: false, error: f64::NAN, tolerance, fault: None };
    let Some(reference) = &case.reference else {
        outcome.fault = Some("has no reference".into());
        return Ok(outcome);
    };
    let mut prepared = Prepared::new(case, device)?;
    (prepared.memory.schedule, prepared.memory.fuses) = (schedule, fuses);
    // A kernel that went wrong leaves a GPU unusable: the cases that follow would only say so.
    let told = |error| Error::failed(format!("{} {}: {error}", case.op, case.name));
    if let Err(error) = prepared.run() {
        prepared.results();
        if prepared.memory.check().is_err() {
            return Err(told(error));
        }
        outcome.fault = Some(error.to_string());
        return Ok(outcome);
    }
    let first = prepared.results();
    prepared.memory.check().map_err(told)?;
    prepared.memory.schedule = schedule + 1;
    if let Err(error) = prepared.run() {
        outcome.fault = Some(format!("the second time: {error}"));
        return Ok(outcome);
    }
    let same = prepared
        .results()
        .iter()
        .zip(&first)
        .all(|(a, b)| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()));
    let expected = expected.get_or_insert_with(|| Expected::of(case, &prepared, reference, tolerance));
    outcome.tolerance = expected.tolerance;
    let mut worst = (0.0, String::new());
    let mut note = |error: f64, what: String| {
        // A NaN is the worst error there is, and stays.
        if error.is_nan() || error > worst.0 {
            worst = (error, what);
        }
    };
    for (number, (output, expected)) in first.iter().zip(&expected.outputs).enumerate() {
        if output.len() != expected.len() {
            note(f64::NAN, format!("output {number} has {} elements, not {}", output.len(), expected.len()));
        }
        note(relative(output, expected), format!("output {number}"));
    }
    let size = |values: &[f32]| values.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let gradients = &first[prepared.outputs.len()..];
    let largest = gradients.iter().map(|g| size(g)).fold(0.0, f64::max);
    let sampled = prepared.gradients.iter().zip(&expected.gradients);
    for (((number, _), (sampled, differences)), gradient) in sampled.zip(gradients) {
        let found: Vec<f32> = sampled.iter().map(|&i| gradient[i]).collect();
        // A gradient that is zero by nature (one key has all the weight) is all rounding of its neighbours' size.
        let scale = size(gradient).max(SMALL * largest);
        note(
            absolute(&found, differences) / scale.max(f64::MIN_POSITIVE),
            format!("gradient of input {number}"),
        );
        if gradient.iter().any(|v| !v.is_finite()) {
            note(f64::NAN, format!("gradient of input {number} was not written everywhere"));
        }
    }
    outcome.error = worst.0;
    outcome.ok = same && worst.0 <= outcome.tolerance;
    if !same {
        outcome.fault = Some("two runs differ".into());
    } else if !outcome.ok {
        outcome.fault = Some(worst.1);
    }
    Ok(outcome)
}

/// Central differences of the f64 form at some elements of input `number`.
fn differences(
    case: &Case,
    seeds: &[Vec<f32>],
    reference: &Reference,
    inputs: &[Vec<f64>],
    number: usize,
) -> (Vec<usize>, Vec<f64>) {
    let objective = |inputs: &[Vec<f64>]| -> f64 {
        let outputs = reference(inputs);
        if case.gradient == Gradient::Loss {
            return outputs[0][0];
        }
        outputs
            .iter()
            .zip(seeds)
            .map(|(o, s)| o.iter().zip(s).map(|(o, s)| o * f64::from(*s)).sum::<f64>())
            .sum()
    };
    let len = inputs[number].len();
    let sampled: Vec<usize> = (0..len.min(SAMPLED)).map(|i| i * len / len.min(SAMPLED)).collect();
    let differences = sampled
        .iter()
        .map(|&element| {
            let mut moved = inputs.to_vec();
            let mut at = |by: f64| {
                moved[number][element] = inputs[number][element] + by;
                objective(&moved)
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        })
        .collect();
    (sampled, differences)
}

/// The largest difference; NaN where any is.
fn absolute(found: &[f32], expected: &[f64]) -> f64 {
    found.iter().zip(expected).fold(0.0, |worst: f64, (a, b)| {
        let error = (f64::from(*a) - b).abs();
        if error <= worst { worst } else { error }
    })
}

fn relative(found: &[f32], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    absolute(found, expected) / scale.max(f64::MIN_POSITIVE)
}
