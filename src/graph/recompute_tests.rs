//! Recompute leaves every bit of the gradients as it is, and takes less memory.

use super::*;
use crate::device::{Device, Memory, Sizes, StepState};
use crate::graph::DType;
use crate::graph::plan::{Program, Region};
use crate::ops::attention::{Heads, attention, pattern::Pattern};
use crate::ops::cases::random;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::linear::linear;
use crate::ops::norm::{Affine, add_norm};
use crate::ops::{Dropout, norm};

const TOKENS: usize = 40;
const WIDTH: usize = 16;

/// Weights in the order in which they are asked for.
struct Weights {
    next: usize,
}

impl Weights {
    fn take(&mut self, g: &mut Graph, shape: &[usize]) -> Id {
        let id = g.weight("w", shape, self.next);
        self.next += shape.iter().product::<usize>().next_multiple_of(16);
        id
    }
}

/// Three layers with views, attention, dropout, two outputs each and an input that all of them read.
fn trace(g: &mut Graph, again: bool) -> (Id, Id, Id) {
    let mut weights = Weights { next: 0 };
    let x = g.input_activation("x", &[TOKENS, WIDTH]);
    let first = weights.take(g, &[WIDTH, WIDTH]);
    let mut stream = linear(g, x, first, None, None).unwrap();
    let shared = weights.take(g, &[2 * WIDTH, WIDTH]);
    let memory = linear(g, stream, shared, None, None).unwrap();
    let mut input = stream;
    for layer in 0..3u32 {
        let mut one = |g: &mut Graph| {
            let wide = weights.take(g, &[3 * WIDTH, WIDTH]);
            let (gamma, beta) = (weights.take(g, &[WIDTH]), weights.take(g, &[WIDTH]));
            let qkv = linear(g, input, wide, None, Some(crate::config::Activation::Gelu)).unwrap();
            let heads = Heads { batch: 2, heads: 2, queries: TOKENS / 2, keys: TOKENS / 2 };
            let (q, k, v) =
                (g.columns(qkv, 0, WIDTH), g.columns(qkv, WIDTH, WIDTH), g.columns(qkv, 2 * WIDTH, WIDTH));
            let dropout = Dropout::new(0.2, 1 + layer);
            let own = attention(g, q, k, v, heads, &[Pattern::banded(3, 0)], None, dropout).unwrap();
            let (k, v) = (g.columns(memory, 0, WIDTH), g.columns(memory, WIDTH, WIDTH));
            let other = attention(g, own, k, v, heads, &[Pattern::full()], None, None).unwrap();
            let affine = Affine { gamma, beta };
            add_norm(g, stream, other, affine, Dropout::new(0.1, 10 + layer)).unwrap()
        };
        (stream, input) = if again { g.recompute(one) } else { one(g) };
    }
    let (gamma, beta) = (weights.take(g, &[WIDTH]), weights.take(g, &[WIDTH]));
    let both = norm::add_norm(g, stream, input, Affine { gamma, beta }, None).unwrap().1;
    let targets = g.input("targets", &[TOKENS], DType::U32);
    let scale = g.input("scale", &[1], DType::F32);
    cross_entropy(g, both, targets, scale, 0.1, true).unwrap();
    g.differentiate().unwrap();
    (x, targets, scale)
}

/// The gradient of all weights, and the program that made it.
fn gradient(again: bool) -> (Vec<u32>, Program) {
    let mut graph = Graph::new();
    let (x, targets, scale) = trace(&mut graph, again);
    let program = Program::new(graph, Region::Work);
    let trained = 8192;
    let sizes = Sizes { trained, constant: 0, training: true, average: false };
    let mut memory = Memory::new(Device::Cpu, sizes).unwrap();
    memory.reserve(&program).unwrap();
    memory.poison(Region::Work);
    memory.set_flat(Region::Weights, 0, &random::normal(1, trained, 0.3));
    memory.write(&program, x, &random::normal(2, TOKENS * WIDTH, 1.0));
    memory.write(&program, targets, &random::tokens(3, TOKENS, WIDTH as u32));
    memory.write(&program, scale, &[1.0 / TOKENS as f32]);
    let state = StepState { seed: 7, pass: 1, step: 1, ..StepState::default() };
    Device::Cpu.run(&program, &mut memory, &state).unwrap();
    (memory.flat(Region::Gradients).iter().map(|v| v.to_bits()).collect(), program)
}

#[test]
fn gradients_have_the_same_bits_in_less_memory() {
    let ((kept, kept_program), (again, again_program)) = (gradient(false), gradient(true));
    assert!(kept.iter().filter(|&&bits| bits != 0).count() > 3000, "gradients of all weights");
    assert_eq!(kept, again);
    let count =
        |program: &Program, op: &str| program.nodes.iter().filter(|node| node.op.name() == op).count();
    assert_eq!(count(&kept_program, "attention"), 6);
    assert_eq!(count(&again_program, "attention"), 12);
    assert!(
        again_program.arena * 4 < kept_program.arena * 3,
        "{} bytes instead of {}",
        again_program.arena,
        kept_program.arena
    );
}

#[test]
fn what_no_gradient_reads_is_not_made_again() {
    let mut graph = Graph::new();
    let x = graph.input_activation("x", &[4, 8]);
    let (first, second) = (graph.weight("a", &[8, 8], 0), graph.weight("b", &[8, 8], 64));
    let y = graph.recompute(|g| {
        let inner = linear(g, x, first, None, None).unwrap();
        linear(g, inner, second, None, None).unwrap()
    });
    let (targets, scale) = (graph.input("t", &[4], DType::U32), graph.input("s", &[1], DType::F32));
    cross_entropy(&mut graph, y, targets, scale, 0.0, true).unwrap();
    graph.differentiate().unwrap();
    let count = graph.nodes().iter().filter(|node| node.op.name() == "linear").count();
    assert_eq!(
        count, 3,
        "the gradient of the second product reads what the first one made, and nobody its result"
    );
}
