//! A small program with products and a kernel, run in the process that finds the fake driver.

use evoke::Result;
use evoke::device::cpu::Args;
use evoke::device::gpu::{Factor, Launcher, Product, Scaled};
use evoke::device::{Device, Memory, Sizes, StepState, numbers};
use evoke::graph::plan::{Program, Region};
use evoke::graph::{DType, Graph};
use evoke::ops::elementwise::Add;
use evoke::ops::{Cost, Op};

/// Runs of the program.
pub const RUNS: usize = 11;

/// From this run on nothing waits for one before it.
const UNWAITED: usize = 6;

const ROWS: usize = 8;
const INNER: usize = 24;
const COLUMNS: usize = 16;
/// Elements of an input that does not fit the first pinned memory.
const LARGE: usize = 3 << 19;

/// x (rows, inner), w (columns, inner) -> x w' (rows, columns)
#[derive(Debug)]
struct Multiply;

impl Op for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    fn cpu(&self, _: &Args) {}

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let (out, x, w) = (launch.output(0), launch.input(0), launch.operand(1));
        launch.product(&Product::new(out, Scaled::Set, Factor::new(x), Factor::transposed(w)))
    }
}

/// y (rows, columns), x (rows, inner) -> 2 y' x (columns, inner) in f32
#[derive(Debug)]
struct Outer;

impl Op for Outer {
    fn name(&self) -> &'static str {
        "outer"
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    fn cpu(&self, _: &Args) {}

    fn cuda(&self, launch: &mut Launcher) -> Result<()> {
        let (out, y, x) = (launch.output(0), launch.input(0), launch.input(1));
        launch.zero(&out)?;
        for _ in 0..2 {
            let (y, x) = (Factor::transposed(y.clone()), Factor::new(x.clone()));
            launch.product(&Product::new(out.clone(), Scaled::Add, y, x))?;
        }
        Ok(())
    }
}

fn numbered(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 13) % 31) as f32 / 8.0 - 1.9).collect()
}

/// What the program is to compute: y + b, and 2 (y + b)' x.
fn expected(x: &[f32], w: &[f32], b: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let round = |values: &[f32]| numbers::rounded(DType::BF16, values);
    let (x, w, b) = (round(x), round(w), round(b));
    let dot = |r: usize, c: usize| (0..INNER).map(|k| x[r * INNER + k] * w[c * INNER + k]).sum::<f32>();
    let y = round(&(0..ROWS * COLUMNS).map(|i| dot(i / COLUMNS, i % COLUMNS)).collect::<Vec<_>>());
    let sum = round(&y.iter().zip(&b).map(|(y, b)| y + b).collect::<Vec<_>>());
    let twice =
        |c: usize, k: usize| 2.0 * (0..ROWS).map(|r| sum[r * COLUMNS + c] * x[r * INNER + k]).sum::<f32>();
    let outer = (0..COLUMNS * INNER).map(|i| twice(i / INNER, i % INNER)).collect();
    (sum, outer)
}

#[track_caller]
fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-3 * expected.abs().max(1.0), "{found} and {expected}");
    }
}

#[test]
#[ignore = "run by the test of recordings, in a process that finds the fake driver"]
fn runs() {
    let device = Device::parse("cuda").expect("the fake GPU");
    let sizes = Sizes { trained: COLUMNS * INNER, constant: 3, training: true, average: true };
    let mut memory = Memory::new(device, sizes).expect("memory");
    let mut graph = Graph::storing(device.storage());
    let x = graph.input_activation("x", &[ROWS, INNER]);
    let b = graph.input_activation("b", &[ROWS, COLUMNS]);
    let large = graph.input_activation("large", &[LARGE]);
    let w = graph.weight("w", &[COLUMNS, INNER], 0);
    let y = graph.activation("y", &[ROWS, COLUMNS]);
    graph.push(Multiply, &[x, w], &[y]);
    let sum = graph.activation("sum", &[ROWS, COLUMNS]);
    graph.push(Add { len: ROWS * COLUMNS }, &[y, b], &[sum]);
    let outer = graph.activation_f32("outer", &[COLUMNS, INNER]);
    graph.push(Outer, &[sum, x], &[outer]);
    graph.keep(sum);
    graph.keep(outer);
    let program = Program::new(graph, Region::Work);
    memory.reserve(&program).expect("memory");

    // Where the sums of the last runs are kept, in another arena.
    let mut graph = Graph::storing(device.storage());
    let slots: Vec<_> =
        (UNWAITED..RUNS).map(|n| graph.input_activation(&format!("slot {n}"), &[ROWS, COLUMNS])).collect();
    let aside = Program::new(graph, Region::Decode);
    memory.reserve(&aside).expect("memory");
    let mut wanted_sums = Vec::new();
    let mut weights = Vec::new();
    for n in 0..RUNS {
        if n == 3 {
            // Another program makes the arena larger, and it moves.
            let mut graph = Graph::storing(device.storage());
            graph.input_activation("more", &[4 * LARGE]);
            memory.reserve(&Program::new(graph, Region::Work)).expect("memory");
        }
        if n < UNWAITED && n % 2 == 0 {
            weights = numbered(COLUMNS * INNER, n / 2);
            memory.set_flat(Region::Weights, 0, &weights);
        }
        let (left, right) = (numbered(ROWS * INNER, n + 1), numbered(ROWS * COLUMNS, n + 2));
        memory.write(&program, x, &left);
        memory.write(&program, b, &right);
        let with_large = n < UNWAITED && n % 3 == 0;
        if with_large {
            memory.write(&program, large, &numbered(LARGE, n));
        }
        let state = StepState { pass: n as u64, ..StepState::default() };
        device.run(&program, &mut memory, &state).expect("a run");
        let (wanted, wanted_outer) = expected(&left, &weights, &right);
        if n >= UNWAITED {
            memory.copy((&program, sum), (&aside, slots[n - UNWAITED]));
            wanted_sums.push(wanted);
        } else {
            close(&memory.read(&program, sum), &wanted);
            close(&memory.read(&program, outer), &wanted_outer);
        }
        if with_large {
            close(&memory.read(&program, large), &numbers::rounded(DType::BF16, &numbered(LARGE, n)));
        }
        memory.check().expect("nothing failed");
    }
    for (slot, wanted) in slots.into_iter().zip(&wanted_sums) {
        close(&memory.read(&aside, slot), wanted);
    }

    flat_buffers(&mut memory);
    let plans = memory.plans().expect("a GPU chooses");
    // x w' and y' x; the machine's choices come back in the same words.
    assert_eq!(plans.matches("algorithm").count(), 2, "{plans}");
    assert_eq!(memory.prefer_plans(&plans), 2);
    assert_eq!(memory.prefer_plans(&plans.replace("Fake GPU", "Another GPU")), 0);
    assert_eq!(memory.plans().expect("as before"), plans);
}

/// What is read is what was written, whichever way it took.
fn flat_buffers(memory: &mut Memory) {
    let len = COLUMNS * INNER;
    let (weights, average) = (numbered(len + 3, 5), numbered(len, 9));
    memory.set_flat(Region::Weights, 0, &weights);
    memory.set_flat(Region::Average, 0, &average[..7]);
    memory.set_flat(Region::Average, 7, &average[7..]);
    memory.swap(Region::Weights, Region::Average);
    assert_eq!(memory.flat(Region::Weights)[..len], average);
    assert_eq!(memory.flat(Region::Weights)[len..], weights[len..]);
    assert_eq!(*memory.flat(Region::Average), weights[..len]);
    memory.poison(Region::Gradients);
    assert!(memory.flat(Region::Gradients).iter().all(|value| value.is_nan()));
    memory.clear(Region::Gradients);
    assert!(memory.flat(Region::Gradients).iter().all(|value| value.to_bits() == 0));
    memory.check().expect("nothing failed");
}
