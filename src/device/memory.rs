//! The memory of a model on a device: flat parameter buffers, and one arena that all programs share in turn.

use crate::device::Device;
use crate::device::cpu::Buffer;
use crate::graph::Id;
use crate::graph::plan::{Program, Region};

/// What changes from step to step without a new plan. On a GPU this lives in device memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepState {
    /// Seed of everything that is random in a step.
    pub seed: u64,
    /// Counts passes (micro-steps) from the start of the run, so that each draws other dropout masks.
    pub pass: u64,
    /// Optimizer steps that the weights have seen, this one included: 1 at the first.
    pub step: u64,
    pub learning_rate: f32,
}

/// Buffers on one device.
#[derive(Debug)]
pub struct Memory {
    device: Device,
    weights: Buffer,
    gradients: Buffer,
    first_moment: Buffer,
    second_moment: Buffer,
    average: Buffer,
    work: Buffer,
    decode: Buffer,
}

/// Elements of each flat buffer; moments and the average exist in training alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Parameters that are trained.
    pub trained: usize,
    /// Constants (sinusoids) that stand behind them in the weights.
    pub constant: usize,
    pub training: bool,
    pub average: bool,
}

impl Memory {
    pub fn new(device: Device, sizes: Sizes) -> Memory {
        let trained = |wanted: bool| Buffer::new(if wanted { sizes.trained * 4 } else { 0 });
        Memory {
            device,
            weights: Buffer::new((sizes.trained + sizes.constant) * 4),
            gradients: trained(sizes.training),
            first_moment: trained(sizes.training),
            second_moment: trained(sizes.training),
            average: trained(sizes.training && sizes.average),
            work: Buffer::new(0),
            decode: Buffer::new(0),
        }
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Makes the program's arena large enough for it. The arena's contents are lost when it grows.
    pub fn reserve(&mut self, program: &Program) {
        let arena = self.region_mut(program.region);
        if arena.len() < program.arena {
            *arena = Buffer::new(0); // the old memory goes back before the new is taken
            *arena = Buffer::new(program.arena);
        }
    }

    /// Copies a tensor of one program into an equally long tensor of a program that runs in another arena.
    ///
    /// # Panics
    /// If the tensors differ in length, or share an arena.
    pub fn copy(&mut self, (from, source): (&Program, Id), (to, target): (&Program, Id)) {
        assert_ne!(from.region, to.region, "programs of one arena");
        let bytes = from.tensor(source).len() * from.tensor(source).dtype.bytes();
        assert_eq!(
            bytes,
            to.tensor(target).len() * to.tensor(target).dtype.bytes(),
            "tensors of other lengths"
        );
        let (start, end) = (from.place(source).offset, to.place(target).offset);
        // The target's arena is taken out for a moment, so that both can be borrowed.
        let mut arena = std::mem::replace(self.region_mut(to.region), Buffer::new(0));
        arena.bytes_mut()[end..end + bytes]
            .copy_from_slice(&self.region(from.region).bytes()[start..start + bytes]);
        *self.region_mut(to.region) = arena;
    }

    pub(crate) fn region(&self, region: Region) -> &Buffer {
        match region {
            Region::Weights => &self.weights,
            Region::Gradients => &self.gradients,
            Region::FirstMoment => &self.first_moment,
            Region::SecondMoment => &self.second_moment,
            Region::Average => &self.average,
            Region::Work => &self.work,
            Region::Decode => &self.decode,
        }
    }

    pub(crate) fn region_mut(&mut self, region: Region) -> &mut Buffer {
        match region {
            Region::Weights => &mut self.weights,
            Region::Gradients => &mut self.gradients,
            Region::FirstMoment => &mut self.first_moment,
            Region::SecondMoment => &mut self.second_moment,
            Region::Average => &mut self.average,
            Region::Work => &mut self.work,
            Region::Decode => &mut self.decode,
        }
    }

    /// Copies `values` into a tensor of the program.
    ///
    /// # Panics
    /// If the number of values or their type is not the tensor's.
    pub fn write<T: bytemuck::Pod>(&mut self, program: &Program, id: Id, values: &[T]) {
        self.view_mut(program, id).copy_from_slice(values);
    }

    /// The elements of a contiguous tensor of the program, to be filled by the caller.
    pub fn view_mut<T: bytemuck::Pod>(&mut self, program: &Program, id: Id) -> &mut [T] {
        let (place, tensor) = (program.place(id), program.tensor(id));
        assert_eq!(size_of::<T>(), tensor.dtype.bytes(), "{}: another element type", tensor.name);
        let bytes = tensor.len() * tensor.dtype.bytes();
        let region = self.region_mut(place.region).bytes_mut();
        bytemuck::cast_slice_mut(&mut region[place.offset..place.offset + bytes])
    }

    /// The elements of a contiguous tensor after a run.
    pub fn view<T: bytemuck::Pod>(&self, program: &Program, id: Id) -> &[T] {
        let (place, tensor) = (program.place(id), program.tensor(id));
        assert_eq!(size_of::<T>(), tensor.dtype.bytes(), "{}: another element type", tensor.name);
        let bytes = tensor.len() * tensor.dtype.bytes();
        bytemuck::cast_slice(&self.region(place.region).bytes()[place.offset..place.offset + bytes])
    }

    /// Exchanges as many bytes of two regions as the shorter one has.
    pub fn swap(&mut self, a: Region, b: Region) {
        let mut taken = std::mem::replace(self.region_mut(a), Buffer::new(0));
        let other = self.region_mut(b).bytes_mut();
        let len = taken.len().min(other.len());
        taken.bytes_mut()[..len].swap_with_slice(&mut other[..len]);
        *self.region_mut(a) = taken;
    }

    /// A whole flat buffer as f32.
    pub fn flat(&self, region: Region) -> &[f32] {
        bytemuck::cast_slice(self.region(region).bytes())
    }

    pub fn flat_mut(&mut self, region: Region) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.region_mut(region).bytes_mut())
    }
}
