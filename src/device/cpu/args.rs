//! What an op's CPU form is given: its tensors as slices, and the state of the step.

use super::{View, ViewMut};
use crate::device::{Memory, StepState};
use crate::graph::plan::Program;
use crate::graph::{Id, Node};

/// The tensors of one node during one run.
pub struct Args<'a> {
    program: &'a Program,
    node: &'a Node,
    memory: &'a Memory,
    pub state: StepState,
}

impl<'a> Args<'a> {
    /// `memory` is borrowed mutably by [`super::run`] for as long as the node runs; nobody else touches it.
    pub(super) fn new(
        program: &'a Program,
        node: &'a Node,
        memory: &'a mut Memory,
        state: StepState,
    ) -> Self {
        Args { program, node, memory, state }
    }

    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    pub fn outputs(&self) -> usize {
        self.node.outputs.len()
    }

    /// Input `i`, contiguous.
    pub fn input<T: bytemuck::Pod>(&self, i: usize) -> &'a [T] {
        self.slice(self.node.inputs[i])
    }

    /// Output `i`, contiguous. An op asks for each output once.
    pub fn output<T: bytemuck::Pod>(&self, i: usize) -> &'a mut [T] {
        self.slice_mut(self.node.outputs[i])
    }

    /// The op's scratch as f32.
    pub fn workspace(&self) -> &'a mut [f32] {
        self.node.workspace.map_or(&mut [], |id| self.slice_mut(id))
    }

    /// Input `i` as rows of a wider tensor.
    pub fn input_columns(&self, i: usize) -> View<'a> {
        let id = self.node.inputs[i];
        let (start, len) = self.addressable(id);
        // SAFETY: `addressable` lies inside the region; tensors that are alive together do not overlap, so no
        // output of this node lies here (see `slice_mut`).
        let data = unsafe { std::slice::from_raw_parts(start, len) };
        View { data, row_stride: self.program.place(id).row_stride }
    }

    /// Output `i` as rows of a wider tensor.
    pub fn output_columns(&self, i: usize) -> ViewMut<'a> {
        let id = self.node.outputs[i];
        let (start, len) = self.addressable(id);
        let (stride, columns) = (self.program.place(id).row_stride, self.program.tensor(id).columns());
        // SAFETY: `addressable` lies inside the region, and the columns are this tensor's alone: tensors that are
        // alive together do not overlap, and an op asks for each output once.
        unsafe { ViewMut::from_raw(start, len, stride, columns) }
    }

    /// From the first element to one past the last one that belongs to the tensor.
    fn addressable(&self, id: Id) -> (*mut f32, usize) {
        let (place, tensor) = (self.program.place(id), self.program.tensor(id));
        let rows = tensor.rows();
        let len = if rows == 0 { 0 } else { (rows - 1) * place.row_stride + tensor.columns() };
        (self.pointer::<f32>(id, len), len)
    }

    /// The tensor's start, after a check that `len` elements lie inside its region.
    fn pointer<T>(&self, id: Id, len: usize) -> *mut T {
        let (place, tensor) = (self.program.place(id), self.program.tensor(id));
        assert_eq!(size_of::<T>(), tensor.dtype.bytes(), "{}: another element type", tensor.name);
        let region = self.memory.region(place.region);
        assert!(
            place.offset + len * size_of::<T>() <= region.len(),
            "{} lies outside its region",
            tensor.name
        );
        region.start().wrapping_add(place.offset).cast()
    }

    fn slice<T: bytemuck::Pod>(&self, id: Id) -> &'a [T] {
        let len = self.contiguous(id);
        // SAFETY: `pointer` checked the bounds; regions are aligned and zeroed at birth, T is plain data.
        // The planner keeps apart what is alive together, and an op never asks for the same memory as input
        // and as output: ops that work in place take it as output alone.
        unsafe { std::slice::from_raw_parts(self.pointer(id, len), len) }
    }

    fn slice_mut<T: bytemuck::Pod>(&self, id: Id) -> &'a mut [T] {
        let len = self.contiguous(id);
        // SAFETY: as in `slice`; the run holds the only reference to the memory, nodes run one after another,
        // and an op asks for each output once.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(id, len), len) }
    }

    fn contiguous(&self, id: Id) -> usize {
        let (place, tensor) = (self.program.place(id), self.program.tensor(id));
        assert!(
            place.row_stride == tensor.columns() || tensor.rows() <= 1,
            "{} is columns of a wider tensor, and this op wants whole rows",
            tensor.name
        );
        tensor.len()
    }
}
