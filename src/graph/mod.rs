//! The graph of one step: traced once from ordinary Rust, differentiated, planned and then replayed.
//!
//! - A model is a function over a [`Graph`] that appends coarse ops ([`crate::ops`]): some dozens of nodes.
//! - [`Graph::differentiate`] appends each op's own backward ops.
//! - [`plan::Program`] gives every tensor a fixed place; a step then allocates nothing.
//!
//! **How gradients add up** (stated here, once): gradients of parameters accumulate, `+=`, into one flat buffer
//! that the optimizer sets back to zero; gradients of activations are written once, and where a value has
//! several readers their contributions are summed by explicit `add` nodes in the order of the trace.

mod alone;
mod differentiate;
pub mod plan;
mod recompute;

use std::ops::Range;
use std::sync::Arc;

use crate::ops::Op;

/// Bytes of a line of a GPU's memory. cublasLt has its fast kernels for rows that begin on multiples of 16 bytes, and takes
/// whole lines best (cuBLAS documentation, "Tensor Core Usage"; NVIDIA's guide to matrix products names 128 bytes).
pub const LINE: usize = 128;

/// A tensor of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(crate) u32);

impl Id {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    F32,
    /// Storage of activations on a GPU; arithmetic is in f32.
    BF16,
    F16,
    U32,
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::BF16 | DType::F16 => 2,
            DType::U8 => 1,
        }
    }

    /// Whether elements are floating point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::BF16 | DType::F16)
    }
}

/// Where a tensor's values come from, and how long they live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Written by the caller before a run.
    Input,
    /// A slice of the flat weights, starting at this element.
    Weight(usize),
    /// A slice of the flat parameter gradients, starting at this element.
    WeightGradient(usize),
    /// A slice of another flat buffer of the optimizer.
    State(State, usize),
    /// The result of an op.
    Activation,
    /// The gradient of an activation.
    Gradient,
    /// Scratch of one op.
    Workspace,
    /// Columns `column..column + shape[1]` of another tensor's rows: no memory of its own.
    View { base: Id, column: usize },
    /// All elements of another tensor under another shape: no memory of its own either.
    Reshaped { base: Id },
}

/// The optimizer's flat buffers beside weights and gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    FirstMoment,
    SecondMoment,
    Average,
    /// What decides whether a step is used ([`crate::ops::guard::Words`]).
    Guard,
}

/// A tensor's description: row-major, the last dimension contiguous (but for views).
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: DType,
    pub role: Role,
    /// The caller reads it after the run, so its memory is never given to another tensor.
    pub kept: bool,
    needs_gradient: bool,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// The last dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// One op with what it reads and writes.
#[derive(Debug)]
pub struct Node {
    /// Shared with the node that runs it again, where the backward pass does ([`Graph::recompute`]).
    pub op: Arc<dyn Op>,
    pub inputs: Vec<Id>,
    pub outputs: Vec<Id>,
    pub workspace: Option<Id>,
}

/// Tensors and nodes, in the order in which they run.
///
/// Activations and their gradients are stored in the type that the device works on ([`Graph::storing`]); parameters,
/// their gradients, statistics and losses are f32 on every device.
#[derive(Debug)]
pub struct Graph {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) nodes: Vec<Node>,
    /// Contributions to the gradient of each tensor, in the order in which they were written.
    gradients: Vec<Vec<Id>>,
    /// The op that is being traced or differentiated, for names and error messages.
    scope: Vec<String>,
    storage: DType,
    /// Nodes whose activations are made again in the backward pass.
    segments: Vec<Range<usize>>,
}

impl Default for Graph {
    fn default() -> Self {
        Self::storing(DType::F32)
    }
}

/// The tensor that owns the memory of `id`.
pub(crate) fn root(tensors: &[Tensor], mut id: Id) -> Id {
    while let Role::View { base, .. } | Role::Reshaped { base } = tensors[id.index()].role {
        id = base;
    }
    id
}

impl Graph {
    /// A graph whose activations are f32, as the CPU stores them.
    pub fn new() -> Self {
        Self::default()
    }

    /// A graph whose activations are stored as `storage`: what [`crate::device::Device::storage`] says.
    pub fn storing(storage: DType) -> Self {
        let (tensors, nodes, gradients) = (Vec::new(), Vec::new(), Vec::new());
        Graph { tensors, nodes, gradients, scope: Vec::new(), storage, segments: Vec::new() }
    }

    /// What activations are stored as.
    pub fn storage(&self) -> DType {
        self.storage
    }

    pub fn tensor(&self, id: Id) -> &Tensor {
        &self.tensors[id.index()]
    }

    pub fn shape(&self, id: Id) -> &[usize] {
        &self.tensor(id).shape
    }

    /// Number of rows and columns of a tensor seen as a matrix.
    pub fn matrix(&self, id: Id) -> (usize, usize) {
        let tensor = self.tensor(id);
        (tensor.rows(), tensor.columns())
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Runs `trace` with `name` in front of the names of all tensors it makes: `encoder.0.attention`.
    pub fn scope<T>(&mut self, name: impl Into<String>, trace: impl FnOnce(&mut Graph) -> T) -> T {
        self.scope.push(name.into());
        let result = trace(self);
        self.scope.pop();
        result
    }

    pub(crate) fn add(&mut self, name: &str, shape: &[usize], dtype: DType, role: Role) -> Id {
        let needs_gradient = matches!(role, Role::Weight(_));
        let mut full = self.scope.join(".");
        if !full.is_empty() {
            full.push('.');
        }
        full.push_str(name);
        self.insert(Tensor { name: full, shape: shape.to_vec(), dtype, role, kept: false, needs_gradient })
    }

    fn insert(&mut self, tensor: Tensor) -> Id {
        self.tensors.push(tensor);
        self.gradients.push(Vec::new());
        Id((self.tensors.len() - 1) as u32)
    }

    /// A tensor that the caller fills before each run.
    pub fn input(&mut self, name: &str, shape: &[usize], dtype: DType) -> Id {
        self.add(name, shape, dtype, Role::Input)
    }

    /// A parameter: `offset` elements into the flat weights.
    pub fn weight(&mut self, name: &str, shape: &[usize], offset: usize) -> Id {
        self.add(name, shape, DType::F32, Role::Weight(offset))
    }

    /// A constant that stands among the weights, behind those that are trained.
    pub fn constant(&mut self, name: &str, shape: &[usize], offset: usize) -> Id {
        let id = self.add(name, shape, DType::F32, Role::Weight(offset));
        self.tensors[id.index()].needs_gradient = false;
        id
    }

    /// Treats an input as if it were trained, so that its gradient is computed (for checks).
    pub fn require_gradient(&mut self, id: Id) {
        self.tensors[id.index()].needs_gradient = true;
    }

    pub fn needs_gradient(&self, id: Id) -> bool {
        self.tensors[id.index()].needs_gradient
    }

    /// Keeps a tensor's memory until the end of the run, so that the caller can read it.
    pub fn keep(&mut self, id: Id) {
        let root = self.root(id);
        self.tensors[root.index()].kept = true;
    }

    /// The tensor that owns the memory of `id`.
    pub(crate) fn root(&self, id: Id) -> Id {
        root(&self.tensors, id)
    }

    /// The tensor that owns the memory of `id`, the first element in it, and elements from one row to the next.
    pub(crate) fn place(&self, id: Id) -> (Id, usize, usize) {
        let (mut id, mut first, mut stride) = (id, 0, self.tensor(id).columns());
        loop {
            match self.tensor(id).role {
                Role::View { base, column } => {
                    first += column;
                    stride = self.tensor(base).columns();
                    id = base;
                }
                Role::Reshaped { base } => id = base,
                _ => return (id, first, stride),
            }
        }
    }

    /// Columns `first..first + count` of the rows of `base`, without a copy.
    pub fn columns(&mut self, base: Id, first: usize, count: usize) -> Id {
        let (rows, columns) = self.matrix(base);
        assert!(first + count <= columns, "columns {first}+{count} of {columns}");
        let name = format!("{}[{first}..{}]", self.tensor(base).name, first + count);
        let dtype = self.tensor(base).dtype;
        self.insert(Tensor {
            name,
            shape: vec![rows, count],
            dtype,
            role: Role::View { base, column: first },
            kept: false,
            needs_gradient: self.needs_gradient(base),
        })
    }

    /// The elements of `base` under another shape, without a copy. `base` is no columns of a wider tensor.
    pub fn reshape(&mut self, base: Id, shape: &[usize]) -> Id {
        assert_eq!(shape.iter().product::<usize>(), self.tensor(base).len(), "as many elements as before");
        assert!(!matches!(self.tensor(base).role, Role::View { .. }), "whole rows");
        let mut tensor = self.tensor(base).clone();
        (tensor.shape, tensor.role, tensor.kept) = (shape.to_vec(), Role::Reshaped { base }, false);
        self.insert(tensor)
    }

    /// A new activation, to be the output of the node that is pushed next, in the device's storage type.
    pub fn activation(&mut self, name: &str, shape: &[usize]) -> Id {
        self.add(name, shape, self.storage, Role::Activation)
    }

    /// As [`Graph::activation`]; where the device's products are a library's, its rows begin a whole number of [`LINE`] bytes
    /// apart. What lies between them belongs to no element: nobody writes it, and nobody may read it. The op that has
    /// it as its output must reckon with such rows, and so must all that read it; no [segment](Graph::recompute) may.
    pub fn activation_in_lines(&mut self, name: &str, shape: &[usize]) -> Id {
        let columns = shape.last().copied().unwrap_or(1);
        let line = LINE / self.storage.bytes();
        // The CPU's products take rows of any length.
        if self.storage == DType::F32 || columns.is_multiple_of(line) {
            return self.activation(name, shape);
        }
        let rows = shape[..shape.len() - 1].iter().product();
        let whole = self.activation(name, &[rows, columns.next_multiple_of(line)]);
        let id = self.columns(whole, 0, columns);
        self.tensors[id.index()].shape = shape.to_vec();
        id
    }

    /// As [`Graph::activation`], but f32 on every device: statistics, losses, what is read by people.
    pub fn activation_f32(&mut self, name: &str, shape: &[usize]) -> Id {
        self.add(name, shape, DType::F32, Role::Activation)
    }

    /// An activation that the caller fills before each run, in the device's storage type.
    pub fn input_activation(&mut self, name: &str, shape: &[usize]) -> Id {
        self.add(name, shape, self.storage, Role::Input)
    }

    /// An output that lies in the memory of `over`, which the op reads and overwrites in place.
    pub fn in_place(&mut self, over: Id) -> Id {
        let columns = self.tensor(over).columns();
        let id = self.columns(over, 0, columns);
        self.tensors[id.index()].shape = self.tensor(over).shape.clone();
        id
    }

    /// Appends an op. Outputs need a gradient where any input does.
    pub fn push(&mut self, op: impl Op + 'static, inputs: &[Id], outputs: &[Id]) {
        self.push_shared(Arc::new(op), inputs, outputs);
    }

    fn push_shared(&mut self, op: Arc<dyn Op>, inputs: &[Id], outputs: &[Id]) {
        // Where activations are 16-bit, kernels run.
        let kernels = self.storage != DType::F32;
        let workspace_bytes = if kernels { op.cuda_workspace() } else { op.workspace() };
        let workspace = (workspace_bytes > 0).then(|| {
            let name = format!("{} workspace", op.name());
            self.add(&name, &[workspace_bytes.div_ceil(4)], DType::F32, Role::Workspace)
        });
        if op.differentiable() && inputs.iter().any(|&id| self.needs_gradient(id)) {
            for &output in outputs {
                self.tensors[output.index()].needs_gradient = true;
            }
        }
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.to_vec(), workspace });
    }
}
