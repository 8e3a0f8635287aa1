//! How attention's cost grows with the length: planned memory and visible pairs, which are the same on every machine; and,
//! on demand, times of a whole training step over long sequences.
//!
//! The step that `benches/peers/banded.py` does in PyTorch is `evoke bench foley-step`.

use std::time::Instant;

use evoke::Result;
use evoke::config::{Activation, NormOrder, Optimizer};
use evoke::device::{Device, Memory, Sizes, StepState};
use evoke::graph::plan::{Program, Region};
use evoke::graph::{DType, Graph, Id};
use evoke::nn::init::Init;
use evoke::nn::layers::{FeedForward, Linear, Norm, Residual, SelfAttention};
use evoke::nn::positions::sinusoid_1d;
use evoke::nn::{Parameter, Parameters, Part};
use evoke::ops::attention::Heads;
use evoke::ops::attention::pattern::Pattern;
use evoke::ops::cases::random;
use evoke::ops::cross_entropy::cross_entropy;
use evoke::ops::embedding::embedding;
use evoke::ops::optimizer::{self, AdamW};

const CLASSES: usize = 256;

/// Sizes of a model of samples.
#[derive(Debug, Clone, Copy)]
struct Sizing {
    length: usize,
    layers: usize,
    width: usize,
    heads: usize,
}

/// A decoder alone: an embedding, pre-norm layers of attention and feed-forward, a head of 256 classes.
struct Samples {
    sizing: Sizing,
    p: Parameters,
    table: Parameter,
    positions: Parameter,
    first: Norm,
    layers: Vec<(SelfAttention, Norm, FeedForward, Norm)>,
    head: Linear,
}

/// What goes in and comes out of a step.
struct Ends {
    samples: Id,
    targets: Id,
    scale: Id,
}

impl Samples {
    fn new(sizing: Sizing) -> Samples {
        let Sizing { length, layers: depth, width, .. } = sizing;
        let (mut p, part) = (Parameters::default(), Part::Decoder);
        let table = p.add(part, "embedding", &[CLASSES, width], Init::Normal(0.02));
        let waves = Init::Constant(sinusoid_1d(length, width).unwrap());
        let positions = p.add(part, "positions", &[length, width], waves);
        let first = Norm::new(&mut p, part, "norm", width);
        let layers = (0..depth)
            .map(|i| {
                (
                    SelfAttention::new(&mut p, part, &format!("{i}.attention"), width, depth),
                    Norm::new(&mut p, part, &format!("{i}.attention.norm"), width),
                    FeedForward::new(&mut p, part, &format!("{i}.feed_forward"), width, 4 * width, depth),
                    Norm::new(&mut p, part, &format!("{i}.feed_forward.norm"), width),
                )
            })
            .collect();
        let head = Linear::new(&mut p, part, "head", width, CLASSES);
        p.lay_out();
        Samples { sizing, p, table, positions, first, layers, head }
    }

    /// Forward and backward of one sequence.
    fn step(&self, g: &mut Graph, patterns: &[Pattern]) -> Result<Ends> {
        let Sizing { length, heads, .. } = self.sizing;
        let (p, order) = (&self.p, NormOrder::Pre);
        let samples = g.input("samples", &[length], DType::U32);
        let targets = g.input("targets", &[length], DType::U32);
        let scale = g.input("scale", &[1], DType::F32);
        let (table, positions) = (p.on(g, self.table), p.on(g, self.positions));
        let x = embedding(g, samples, length, table, positions, 1.0, None)?;
        let mut residual = Residual { stream: x, branch_input: self.first.trace(g, p, x)? };
        let heads = Heads { batch: 1, heads, queries: length, keys: length };
        for (attention, attention_norm, feed_forward, norm) in &self.layers {
            let branch = attention.trace(g, p, residual.branch_input, heads, patterns, None)?;
            residual = residual.join(g, p, branch, attention_norm, order, None)?;
            let branch = feed_forward.trace(g, p, residual.branch_input, Activation::Gelu)?;
            residual = residual.join(g, p, branch, norm, order, None)?;
        }
        let logits = self.head.trace(g, p, residual.branch_input, None)?;
        cross_entropy(g, logits, targets, scale, 0.0, true)?;
        g.differentiate()?;
        Ok(Ends { samples, targets, scale })
    }

    fn planned(&self, patterns: &[Pattern]) -> (Program, Ends) {
        let mut g = Graph::new();
        let ends = self.step(&mut g, patterns).unwrap();
        (Program::new(g, Region::Work), ends)
    }
}

const PATTERNS: [&str; 5] = ["band:256", "dilated:64:8", "dilated:256:8", "strided:sqrt", "fixed:sqrt:16"];

fn pattern(text: &str, length: usize) -> Pattern {
    Pattern::parse(text, Some(length)).unwrap()
}

/// The lengths at which a pattern is itself: a window of which most lies before the beginning is no band yet.
fn lengths(text: &str) -> impl Iterator<Item = usize> {
    let reach = pattern(text, LENGTHS[0]).reach().unwrap_or(0);
    LENGTHS.into_iter().filter(move |&length| length >= 2 * reach)
}

/// The exponent `e` of the best fit of `cost = c * length^e`.
fn exponent(points: &[(usize, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(n, cost)| ((*n as f64).ln(), cost.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) =
        (logs.iter().map(|l| l.0).sum::<f64>() / count, logs.iter().map(|l| l.1).sum::<f64>() / count);
    logs.iter().map(|l| (l.0 - x) * (l.1 - y)).sum::<f64>()
        / logs.iter().map(|l| (l.0 - x).powi(2)).sum::<f64>()
}

const LENGTHS: [usize; 7] = [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];

/// Largest exponent of the work: bands grow with the length, the others with its power 3/2.
fn most(name: &str) -> f64 {
    if name.starts_with("band") || name.starts_with("dilated") { 1.1 } else { 1.6 }
}

#[test]
fn memory_grows_with_the_length_and_work_with_what_is_seen() {
    for name in PATTERNS {
        let (mut memory, mut pairs) = (Vec::new(), Vec::new());
        for length in lengths(name) {
            let pattern = pattern(name, length);
            let model = Samples::new(Sizing { length, layers: 2, width: 64, heads: 2 });
            memory.push((length, model.planned(&[pattern]).0.arena as f64));
            pairs.push((length, pattern.visible_pairs(length, length, length) as f64));
        }
        let (memory, work) = (exponent(&memory), exponent(&pairs));
        assert!(memory <= 1.1, "{name}: memory grows with the length's power {memory}");
        assert!(work <= most(name), "{name}: work grows with the length's power {work}");
    }
}

#[test]
fn the_fit_finds_the_power() {
    let cubes: Vec<(usize, f64)> = LENGTHS.iter().map(|&n| (n, 5.0 * (n as f64).powi(3))).collect();
    assert!((exponent(&cubes) - 3.0).abs() < 1e-9);
}

/// Whole training steps on the CPU.
struct Training {
    model: Samples,
    memory: Memory,
    step: (Program, Ends),
    update: Program,
    state: StepState,
}

impl Training {
    fn new(sizing: Sizing, patterns: &[Pattern]) -> Training {
        let model = Samples::new(sizing);
        let p = &model.p;
        let sizes = Sizes { trained: p.trained(), constant: p.constant(), training: true, average: false };
        let mut memory = Memory::new(Device::Cpu, sizes).unwrap();
        let mut weights = vec![0.0; p.trained() + p.constant()];
        p.initialise(1, &mut weights);
        memory.set_flat(Region::Weights, 0, &weights);
        let settings = Optimizer::default();
        let adamw = AdamW {
            beta1: settings.beta1,
            beta2: settings.beta2,
            epsilon: settings.epsilon,
            clip: settings.clip,
            average: 0.0,
        };
        let mut g = Graph::new();
        optimizer::update(&mut g, p.trained(), adamw, &p.segments(&settings), false);
        let (step, update) = (model.planned(patterns), Program::new(g, Region::Work));
        let state = StepState { seed: 1, pass: 0, step: 0, learning_rate: 1e-3 };
        let mut training = Training { model, memory, step, update, state };
        training.fill();
        training
    }

    fn fill(&mut self) {
        let length = self.model.sizing.length;
        let (program, ends) = &self.step;
        self.memory.reserve(program).unwrap();
        let samples = random::tokens(3, length + 1, CLASSES as u32);
        self.memory.write(program, ends.samples, &samples[..length]);
        self.memory.write(program, ends.targets, &samples[1..]);
        self.memory.write(program, ends.scale, &[1.0 / length as f32]);
    }

    /// Seconds of one step. The inputs share the arena with everything else, so they are written each time.
    fn run(&mut self) -> f64 {
        self.state.step += 1;
        self.fill();
        let start = Instant::now();
        Device::Cpu.run(&self.step.0, &mut self.memory, &self.state).unwrap();
        self.memory.reserve(&self.update).unwrap();
        Device::Cpu.run(&self.update, &mut self.memory, &self.state).unwrap();
        start.elapsed().as_secs_f64()
    }

    /// Some runs, after one that touches the memory.
    fn best(&mut self, seconds: f64) -> Best {
        self.run();
        let mut best = Best { seconds: f64::INFINITY, cpu: 0.0 };
        let (begin, cpu, mut runs) = (Instant::now(), processor_seconds(), 0);
        while runs < 3 || begin.elapsed().as_secs_f64() < seconds {
            best.seconds = best.seconds.min(self.run());
            runs += 1;
        }
        best.cpu = (processor_seconds() - cpu) / f64::from(runs);
        best
    }
}

/// What a step takes.
struct Best {
    /// Of the fastest run.
    seconds: f64,
    /// The mean of all threads together: other programs on the machine disturb it least.
    cpu: f64,
}

/// Processor time of this process so far, in hundredths of a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th fields behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

#[test]
#[ignore = "a benchmark: prints times"]
fn steps_by_length() {
    for text in PATTERNS {
        let (mut times, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for length in lengths(text) {
            let sizing = Sizing { length, layers: 1, width: 128, heads: 4 };
            let mut training = Training::new(sizing, &[pattern(text, length)]);
            let best = training.best(2.0);
            let arena = training.step.0.arena;
            println!(
                "{text:>14}  {length:>6} samples  {:>9.1} ms  {:>9.1} ms of processor time  {:>7.1} MB",
                best.seconds * 1e3,
                best.cpu * 1e3,
                arena as f64 / 1e6
            );
            times.push((length, best.seconds));
            cpu.push((length, best.cpu));
            memory.push((length, arena as f64));
        }
        let [time, cpu, memory] = [&times, &cpu, &memory].map(|points| exponent(points));
        println!(
            "{text:>14}  grows with the length's power: time {time:.3}, processor time {cpu:.3}, memory {memory:.3}"
        );
    }
}
