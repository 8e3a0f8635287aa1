//! Small benches of what runs on the CPU: products, operations, reading of data. `cargo bench`, or
//! `cargo bench --bench cpu -- attention` for those whose name holds a word.
//!
//! For one who changes such a loop: seconds after a build it tells whether it got faster. What is reported elsewhere is
//! measured by `evoke bench`, with cold caches and against this machine's ceilings.

use std::process::Command;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use evoke::data::loader::gather;
use evoke::data::{Dataset, Split};
use evoke::device::cpu::gemm::{Matrix, Write, product};
use evoke::device::{Device, Memory, Sizes, StepState};
use evoke::graph::plan::{Program, Region};
use evoke::graph::{DType, Graph, Id};
use evoke::ops::attention::pattern::Pattern;
use evoke::ops::attention::{Heads, attention};
use evoke::ops::cases::random;
use evoke::ops::cross_entropy::cross_entropy;
use evoke::ops::linear::linear;
use evoke::ops::norm::{Affine, norm};
use evoke::ops::spectrogram::{Settings, spectrogram_loss};

fn main() {
    divan::main();
}

/// A graph that is ready to run.
struct Ready {
    program: Program,
    memory: Memory,
}

impl Ready {
    /// Traces with `trace`, which returns its inputs of floating point numbers, its tokens with the number of words, and
    /// whether there is a backward pass from its last output.
    fn new(weights: usize, trace: impl FnOnce(&mut Graph) -> (Vec<Id>, Option<(Id, u32)>)) -> Ready {
        let mut graph = Graph::new();
        let (mut inputs, tokens) = trace(&mut graph);
        let last = graph.nodes().last().expect("an operation").outputs[0];
        // A loss brings its own gradient; other results get one from outside.
        if graph.needs_gradient(last) {
            let shape = graph.shape(last).to_vec();
            let gradient = graph.input("gradient", &shape, DType::F32);
            graph.set_gradient(last, gradient);
            graph.differentiate().expect("gradients");
            inputs.push(gradient);
        }
        let program = Program::new(graph, Region::Work);
        let sizes = Sizes { trained: weights.max(16), constant: 0, training: true, average: false };
        let mut memory = Memory::new(Device::Cpu, sizes).expect("memory");
        memory.reserve(&program).expect("memory");
        for (seed, &id) in inputs.iter().enumerate() {
            memory.write(&program, id, &random::normal(seed as u64, program.tensor(id).len(), 1.0));
        }
        if let Some((id, words)) = tokens {
            memory.write(&program, id, &random::tokens(9, program.tensor(id).len(), words));
        }
        memory.set_flat(Region::Weights, 0, &random::normal(7, weights, 0.05));
        Ready { program, memory }
    }

    fn bench(mut self, bencher: Bencher) {
        let flops: f64 = self.program.nodes.iter().map(|node| node.op.cost().flops).sum();
        bencher.counter(ItemsCount::new(flops as u64)).bench_local(|| {
            Device::Cpu
                .run(&self.program, &mut self.memory, &StepState::default())
                .expect("the CPU never fails");
        });
    }
}

/// `side x side` times `side x side`; items are floating point operations, as below.
#[divan::bench(args = [64, 256, 512])]
fn gemm(bencher: Bencher, side: usize) {
    let (a, b) = (random::normal(1, side * side, 1.0), random::normal(2, side * side, 1.0));
    let mut out = vec![0.0; side * side];
    bencher.counter(ItemsCount::new(2 * side * side * side)).bench_local(|| {
        product(&mut out, Write::Set, Matrix::new(&a, side, side), Matrix::new(&b, side, side));
    });
}

/// Forward and backward, 256 inputs and outputs.
#[divan::bench(args = [32, 512])]
fn linear_step(bencher: Bencher, rows: usize) {
    const WIDTH: usize = 256;
    let ready = Ready::new(WIDTH * WIDTH, |g| {
        let x = g.input("x", &[rows, WIDTH], DType::F32);
        g.require_gradient(x);
        let weight = g.weight("weight", &[WIDTH, WIDTH], 0);
        linear(g, x, weight, None, None).expect("shapes that fit");
        (vec![x], None)
    });
    ready.bench(bencher);
}

/// Forward and backward, 512 tokens in 4 heads of 32.
#[divan::bench(args = ["full", "causal", "band:64", "strided:16"])]
fn attention_step(bencher: Bencher, pattern: &str) {
    const TOKENS: usize = 512;
    const HEADS: usize = 4;
    const WIDTH: usize = 32 * HEADS;
    let ready = Ready::new(0, |g| {
        let packed = g.input("queries, keys, values", &[TOKENS, 3 * WIDTH], DType::F32);
        g.require_gradient(packed);
        let [q, k, v] = [0, 1, 2].map(|part| g.columns(packed, part * WIDTH, WIDTH));
        let heads = Heads { batch: 1, heads: HEADS, queries: TOKENS, keys: TOKENS };
        let pattern = Pattern::parse(pattern, Some(TOKENS)).expect("a pattern");
        attention(g, q, k, v, heads, &[pattern], None, None).expect("shapes that fit");
        (vec![packed], None)
    });
    ready.bench(bencher);
}

/// Forward and backward, rows of 256.
#[divan::bench(args = [64, 2048])]
fn norm_step(bencher: Bencher, rows: usize) {
    const WIDTH: usize = 256;
    let ready = Ready::new(2 * WIDTH, |g| {
        let x = g.input("x", &[rows, WIDTH], DType::F32);
        g.require_gradient(x);
        let affine =
            Affine { gamma: g.weight("gamma", &[WIDTH], 0), beta: g.weight("beta", &[WIDTH], WIDTH) };
        norm(g, x, affine).expect("shapes that fit");
        (vec![x], None)
    });
    ready.bench(bencher);
}

/// The loss with its gradient, 128 rows.
#[divan::bench(args = [256, 10_000])]
fn cross_entropy_step(bencher: Bencher, words: usize) {
    const ROWS: usize = 128;
    let ready = Ready::new(0, |g| {
        let logits = g.input("logits", &[ROWS, words], DType::F32);
        let targets = g.input("targets", &[ROWS], DType::U32);
        let scale = g.input("scale", &[1], DType::F32);
        cross_entropy(g, logits, targets, scale, 0.1, true).expect("shapes that fit");
        (vec![logits, scale], Some((targets, words as u32)))
    });
    ready.bench(bencher);
}

/// The loss with its gradient, clips of a second.
#[divan::bench(args = [1, 4])]
fn spectrogram_step(bencher: Bencher, clips: usize) {
    const SAMPLES: usize = 16_000;
    let ready = Ready::new(0, |g| {
        let predicted = g.input("predicted", &[clips, SAMPLES], DType::F32);
        g.require_gradient(predicted);
        let target = g.input("target", &[clips, SAMPLES], DType::F32);
        let scale = g.input("scale", &[1], DType::F32);
        spectrogram_loss(g, predicted, target, Settings::default(), scale, true).expect("settings that work");
        (vec![predicted, target, scale], None)
    });
    ready.bench(bencher);
}

/// A small data set, drawn by the program itself, and its folder.
fn scenes() -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("scenes");
    let output = Command::new(env!("CARGO_BIN_EXE_evoke"))
        .args(["prepare", "scenes", "--train", "256", "--val", "4", "--unseen", "4", "--size", "64", "--out"])
        .arg(&data)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data = Dataset::open(&data).expect("what was just made");
    (folder, data)
}

fn train(data: &Dataset) -> Split {
    data.split("train").expect("a training split")
}

/// Batches of 64 pictures of 64 x 64 with their captions, from the memory map; bytes are those of the pictures.
#[divan::bench]
fn shard_reading(bencher: Bencher) {
    let (_folder, data) = scenes();
    let split = train(&data);
    let picks: Vec<(usize, usize)> = (0..64).map(|n| (n * 37 % split.len(), 0)).collect();
    let bytes = picks.len() * data.height() * data.width() * 3;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| gather(&split, &picks, 32));
}

/// Captions to tokens and back; items are captions.
#[divan::bench]
fn tokenizer(bencher: Bencher) {
    let (_folder, data) = scenes();
    let split = train(&data);
    let captions: Vec<String> = (0..64).map(|n| split.caption_text(n, 0).to_string()).collect();
    let vocabulary = data.tokenizer();
    bencher.counter(ItemsCount::new(captions.len())).bench_local(|| {
        captions.iter().map(|caption| vocabulary.decode(&vocabulary.encode(caption)).len()).sum::<usize>()
    });
}
