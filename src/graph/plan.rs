//! Memory planning: lifetimes give every tensor of a graph an offset in one arena, so that a step allocates nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{DType, Graph, Id, Node, Role, State, Tensor};

/// Tensors start on a cache line, which is also the widest vector's alignment.
pub const ALIGNMENT: usize = 64;

/// The buffers that a program's tensors lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The f32 masters.
    Weights,
    /// The weights in the device's 16-bit storage type, element for element: what products read. Empty on the CPU.
    Copy,
    Gradients,
    FirstMoment,
    SecondMoment,
    Average,
    /// The arena of training, evaluation and encoding.
    Work,
    /// The arena of decoding: its caches outlive the programs that run in between.
    Decode,
    /// What changes from step to step, where kernels read it ([`crate::device::StepState`]).
    State,
    /// What decides on a device whether a step is used ([`crate::ops::guard::Words`]).
    Guard,
}

impl Region {
    /// Number of regions.
    pub const COUNT: usize = 10;
}

/// A tensor's fixed place: bytes from the start of its region. Views lie inside their base.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub region: Region,
    /// Bytes from the region's start to the tensor's first element.
    pub offset: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
}

/// A graph with a place for every tensor: ready to run.
#[derive(Debug)]
pub struct Program {
    /// No other program of this process has it.
    pub id: u64,
    pub tensors: Vec<Tensor>,
    pub nodes: Vec<Node>,
    pub places: Vec<Place>,
    /// The arena that it runs in.
    pub region: Region,
    /// Bytes of the arena.
    pub arena: usize,
    pub usage: Usage,
}

/// Bytes at the moment when most of the arena is in use, by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub inputs: usize,
    pub activations: usize,
    pub gradients: usize,
    pub workspace: usize,
}

impl Usage {
    fn total(&self) -> usize {
        self.inputs + self.activations + self.gradients + self.workspace
    }
}

/// A tensor of the arena with the nodes between which it must keep its memory.
#[derive(Debug, Clone, Copy)]
struct Life {
    id: Id,
    bytes: usize,
    first: usize,
    last: usize,
}

impl Program {
    /// Plans the memory of `graph` in one of the arenas.
    pub fn new(graph: Graph, region: Region) -> Program {
        let lives = lifetimes(&graph);
        let (offsets, arena) = assign(&lives);
        let mut owned = vec![0; graph.tensors.len()];
        for (life, offset) in lives.iter().zip(offsets) {
            owned[life.id.index()] = offset;
        }
        let places =
            (0..graph.tensors.len() as u32).map(|index| place(&graph, Id(index), &owned, region)).collect();
        let usage = usage(&graph, &lives);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Program { id, tensors: graph.tensors, nodes: graph.nodes, places, region, arena, usage }
    }

    pub fn tensor(&self, id: Id) -> &Tensor {
        &self.tensors[id.index()]
    }

    pub fn place(&self, id: Id) -> Place {
        self.places[id.index()]
    }
}

fn place(graph: &Graph, id: Id, owned: &[usize], arena: Region) -> Place {
    let (root, column, row_stride) = graph.place(id);
    let size = DType::F32.bytes();
    let (region, start) = match graph.tensor(root).role {
        Role::Weight(offset) => (Region::Weights, offset * size),
        Role::WeightGradient(offset) => (Region::Gradients, offset * size),
        Role::State(State::FirstMoment, offset) => (Region::FirstMoment, offset * size),
        Role::State(State::SecondMoment, offset) => (Region::SecondMoment, offset * size),
        Role::State(State::Average, offset) => (Region::Average, offset * size),
        Role::State(State::Guard, offset) => (Region::Guard, offset * size),
        _ => (arena, owned[root.index()]),
    };
    Place { region, offset: start + column * graph.tensor(root).dtype.bytes(), row_stride }
}

/// From the node that first touches a tensor to the last one. Inputs live from the start; kept tensors to the end.
fn lifetimes(graph: &Graph) -> Vec<Life> {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; graph.tensors.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for &id in node.inputs.iter().chain(&node.outputs).chain(&node.workspace) {
            let root = graph.root(id).index();
            let (first, _) = spans[root].unwrap_or((index, index));
            spans[root] = Some((first, index));
        }
    }
    let end = graph.nodes.len();
    (0..graph.tensors.len())
        .filter_map(|index| {
            let tensor = &graph.tensors[index];
            let arena =
                matches!(tensor.role, Role::Input | Role::Activation | Role::Gradient | Role::Workspace);
            if !arena {
                return None;
            }
            let input = tensor.role == Role::Input;
            let (first, last) = match spans[index] {
                Some(span) => span,
                None if input || tensor.kept => (0, 0),
                None => return None,
            };
            let bytes = (tensor.len() * tensor.dtype.bytes()).next_multiple_of(ALIGNMENT);
            Some(Life {
                id: Id(index as u32),
                bytes,
                // An input may be written once and used by many runs: its memory is its own.
                first: if input { 0 } else { first },
                last: if input || tensor.kept { end } else { last },
            })
        })
        .collect()
}

/// Greedy by size: the largest tensors take the lowest place that no tensor alive at the same time holds.
/// Returns each life's offset and the arena's size.
fn assign(lives: &[Life]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lives[i].bytes), lives[i].first, i));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut arena = 0;
    for &i in &order {
        let life = lives[i];
        let mut neighbours: Vec<usize> = placed
            .iter()
            .copied()
            .filter(|&j| lives[j].first <= life.last && life.first <= lives[j].last)
            .collect();
        neighbours.sort_by_key(|&j| offsets[j]);
        let mut offset = 0;
        for j in neighbours {
            if offset + life.bytes <= offsets[j] {
                break;
            }
            offset = offset.max(offsets[j] + lives[j].bytes);
        }
        offsets[i] = offset;
        arena = arena.max(offset + life.bytes);
        placed.push(i);
    }
    (offsets, arena)
}

/// What is alive at the node where most is.
fn usage(graph: &Graph, lives: &[Life]) -> Usage {
    (0..=graph.nodes.len())
        .map(|node| {
            let mut usage = Usage::default();
            for life in lives.iter().filter(|life| life.first <= node && node <= life.last) {
                *match graph.tensor(life.id).role {
                    Role::Input => &mut usage.inputs,
                    Role::Gradient => &mut usage.gradients,
                    Role::Workspace => &mut usage.workspace,
                    _ => &mut usage.activations,
                } += life.bytes;
            }
            usage
        })
        .max_by_key(Usage::total)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(id: u32, bytes: usize, first: usize, last: usize) -> Life {
        Life { id: Id(id), bytes, first, last }
    }

    #[test]
    fn tensors_alive_together_never_overlap() {
        // A small pseudo-random set of lives, checked pair by pair.
        let mut state = 12345u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let lives: Vec<Life> = (0..200)
            .map(|i| {
                let first = next(50) as usize;
                life(i, 64 * (1 + next(40) as usize), first, first + next(20) as usize)
            })
            .collect();
        let (offsets, arena) = assign(&lives);
        for i in 0..lives.len() {
            assert!(offsets[i] + lives[i].bytes <= arena);
            for j in 0..i {
                let together = lives[i].first <= lives[j].last && lives[j].first <= lives[i].last;
                let apart =
                    offsets[i] + lives[i].bytes <= offsets[j] || offsets[j] + lives[j].bytes <= offsets[i];
                assert!(!together || apart, "{i} and {j} share memory");
            }
        }
    }

    #[test]
    fn rows_in_lines_lie_apart_where_kernels_run_and_nowhere_else() {
        for (storage, columns, stride) in [
            (DType::F32, 29, 29),
            (DType::BF16, 29, 64),
            (DType::BF16, 10_003, 10_048),
            (DType::F16, 65, 128),
            (DType::BF16, 128, 128),
        ] {
            let mut graph = Graph::storing(storage);
            let id = graph.activation_in_lines("x", &[2, 3, columns]);
            graph.keep(id);
            assert_eq!((graph.shape(id), graph.matrix(id)), (&[2, 3, columns][..], (6, columns)));
            let program = Program::new(graph, Region::Work);
            assert_eq!(program.place(id).row_stride, stride, "{columns} of {storage:?}");
            let whole = (6 * stride * storage.bytes()).next_multiple_of(ALIGNMENT);
            assert_eq!(program.arena, whole, "{columns} of {storage:?}");
        }
    }

    #[test]
    fn memory_is_used_again_after_a_tensor_dies() {
        let (_, arena) = assign(&[life(0, 640, 0, 1), life(1, 640, 2, 3), life(2, 640, 4, 5)]);
        assert_eq!(arena, 640);
    }
}
