//! The memory of a model on a device: flat parameter buffers, and one arena that all programs share in turn.
//!
//! Whoever reads and writes it from above does so in f32 (or bytes and tokens); where the device stores 16-bit floats
//! they are converted here.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Mutex;

use super::{cuda, numbers};
use crate::device::Device;
use crate::device::cpu::Buffer;
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Id};
use crate::ops::guard::Words;
use crate::{Error, Result};

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

impl StepState {
    /// The words that kernels read: `kernels/philox.cuh` names their places.
    pub fn words(&self) -> [u32; 8] {
        let halves = |x: u64| (x as u32, (x >> 32) as u32);
        let ((s0, s1), (p0, p1), (t0, t1)) = (halves(self.seed), halves(self.pass), halves(self.step));
        [s0, s1, p0, p1, t0, t1, self.learning_rate.to_bits(), 0]
    }
}

/// An element type of what the caller writes.
pub trait Element: bytemuck::Pod {
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for u32 {
    const DTYPE: DType = DType::U32;
}

impl Element for u8 {
    const DTYPE: DType = DType::U8;
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

impl Sizes {
    /// Bytes of a region that has a fixed size; 0 for the arenas.
    fn bytes(&self, region: Region, storage: DType) -> usize {
        let weights = self.trained + self.constant;
        let of = |wanted: bool| if wanted { 4 * self.trained } else { 0 };
        match region {
            Region::Weights => 4 * weights,
            Region::Copy if storage == DType::F32 => 0,
            Region::Copy => storage.bytes() * weights,
            Region::Gradients | Region::FirstMoment | Region::SecondMoment => of(self.training),
            Region::Average => of(self.training && self.average),
            Region::Work | Region::Decode => 0,
            Region::State => size_of::<[u32; 8]>(),
            Region::Guard => size_of::<Words>(),
        }
    }
}

/// All regions, in the order of their numbers.
pub(crate) const REGIONS: [Region; Region::COUNT] = [
    Region::Weights,
    Region::Copy,
    Region::Gradients,
    Region::FirstMoment,
    Region::SecondMoment,
    Region::Average,
    Region::Work,
    Region::Decode,
    Region::State,
    Region::Guard,
];

/// A pass of a queued step that waits for those before it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub state: StepState,
    /// Region, offset and bytes of what is to be written first.
    pub writes: Vec<(Region, usize, Vec<u8>)>,
}

/// Where the regions are.
#[derive(Debug)]
enum Place {
    Host(Box<[Buffer; Region::COUNT]>),
    Cuda(Box<cuda::Memory>),
}

/// Buffers on one device.
///
/// Reading and writing do not fail: where a GPU does, what is read is NaN, and the error is kept for
/// [`Memory::check`] and the next run.
#[derive(Debug)]
pub struct Memory {
    device: Device,
    place: Place,
    /// The first error of a GPU since it was last told.
    failure: Mutex<Option<Error>>,
    /// The weights were written since their 16-bit copy was made.
    copy_is_old: bool,
    /// On the host: the passes of the step that is being made ready, and what steps left.
    waiting: Vec<Waiting>,
    left: VecDeque<Words>,
    /// Decides the order in which the emulator runs threads; nothing else.
    pub schedule: u64,
    /// In the emulator: products take their epilogues; on a GPU the faster way is found out.
    pub fuses: bool,
}

impl Memory {
    /// # Errors
    /// If the device cannot be used or has too little memory.
    pub fn new(device: Device, sizes: Sizes) -> Result<Memory> {
        let bytes = REGIONS.map(|region| sizes.bytes(region, device.storage()));
        let place = match device {
            Device::Cuda(number) => Place::Cuda(Box::new(cuda::Memory::new(number, bytes)?)),
            _ => Place::Host(Box::new(bytes.map(Buffer::new))),
        };
        Ok(Memory {
            device,
            place,
            failure: Mutex::default(),
            copy_is_old: true,
            waiting: Vec::new(),
            left: VecDeque::new(),
            schedule: 1,
            fuses: false,
        })
    }

    /// Whether all that was read and written so far is true. To be asked before what was read is kept.
    ///
    /// # Errors
    /// What went wrong on the GPU; it is told once.
    pub fn check(&self) -> Result<()> {
        self.failure.lock().expect("no thread panics with it").take().map_or(Ok(()), Err)
    }

    /// Waits until all that was asked of the device is done: for clocks.
    ///
    /// # Errors
    /// What went wrong on the GPU since it was last told.
    pub fn finish(&self) -> Result<()> {
        self.check()?;
        match &self.place {
            Place::Host(_) => Ok(()),
            Place::Cuda(cuda) => cuda.finish(),
        }
    }

    /// Drives what was worked on out of a GPU's second-level cache, before what is queued next; nothing waits for it, so
    /// that launches which follow are under way when it ends. Elsewhere nothing happens.
    ///
    /// # Errors
    /// If the device fails, or has no memory left.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Host(_) => Ok(()),
            Place::Cuda(cuda) => cuda.flush(),
        }
    }

    /// The algorithms that the device's library chose for products, as JSON; `None` where there is nothing to choose.
    pub fn plans(&self) -> Option<String> {
        match &self.place {
            Place::Host(_) => None,
            Place::Cuda(cuda) => Some(cuda.plans()),
        }
    }

    /// Takes over the algorithms that [`Memory::plans`] told, so that a resume goes on with the same arithmetic. Returns
    /// how many; none where they are of another device.
    pub fn prefer_plans(&mut self, text: &str) -> usize {
        match &mut self.place {
            Place::Host(_) => 0,
            Place::Cuda(cuda) => cuda.prefer_plans(text),
        }
    }

    /// Keeps an error for [`Memory::check`]; says whether all went well.
    fn kept(&self, result: Result<()>) -> bool {
        let Err(error) = result else { return true };
        self.failure.lock().expect("no thread panics with it").get_or_insert(error);
        false
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Makes the program's arena large enough for it. The arena's contents are lost when it grows.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn reserve(&mut self, program: &Program) -> Result<()> {
        if self.bytes(program.region) >= program.arena {
            return Ok(());
        }
        match &mut self.place {
            Place::Cuda(cuda) => cuda.grow(program.region, program.arena),
            Place::Host(regions) => {
                let arena = &mut regions[program.region as usize];
                *arena = Buffer::new(0); // the old memory goes back before the new is taken
                *arena = Buffer::new(program.arena);
                Ok(())
            }
        }
    }

    /// Bytes of a region.
    pub fn bytes(&self, region: Region) -> usize {
        match &self.place {
            Place::Host(regions) => regions[region as usize].len(),
            Place::Cuda(cuda) => cuda.bytes(region),
        }
    }

    /// What is written from now on is for pass `number` of the step that is being made ready; it runs with `state`. Pass 0
    /// is written to its place, the others wait aside for their turn. [`Device::queue`] ends it.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn begin_pass(&mut self, number: usize, state: &StepState) -> Result<()> {
        match &mut self.place {
            Place::Host(_) => {
                self.waiting.truncate(number);
                self.waiting.push(Waiting { state: *state, writes: Vec::new() });
                Ok(())
            }
            Place::Cuda(cuda) => cuda.begin_pass(number, &state.words()),
        }
    }

    /// The passes that were begun.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// Writes what waited for its pass.
    pub(super) fn write_waiting(&mut self, writes: &[(Region, usize, Vec<u8>)]) {
        for (region, offset, bytes) in writes {
            self.region_mut(*region).bytes_mut()[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Asks for what the guard says when all that was queued so far is done; nothing waits for it.
    pub(super) fn post(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Host(regions) => {
                self.left.push_back(bytemuck::pod_read_unaligned(regions[Region::Guard as usize].bytes()));
                Ok(())
            }
            Place::Cuda(cuda) => cuda.post(),
        }
    }

    /// What the guard said after the first queued step that was not asked for yet. Waits for it, and not for what was
    /// queued after it.
    ///
    /// # Errors
    /// What went wrong on the GPU.
    ///
    /// # Panics
    /// If no step was queued.
    pub fn collect(&mut self) -> Result<Words> {
        self.check()?;
        match &mut self.place {
            Place::Host(_) => Ok(self.left.pop_front().expect("a queued step")),
            Place::Cuda(cuda) => cuda.collect(),
        }
    }

    /// Copies a tensor of one program into an equally long tensor of a program that runs in another arena.
    ///
    /// # Panics
    /// If the tensors differ in length or type, or share an arena.
    pub fn copy(&mut self, (from, source): (&Program, Id), (to, target): (&Program, Id)) {
        assert_ne!(from.region, to.region, "programs of one arena");
        let bytes = from.tensor(source).len() * from.tensor(source).dtype.bytes();
        let same = from.tensor(source).dtype == to.tensor(target).dtype;
        assert!(same && from.tensor(source).len() == to.tensor(target).len(), "tensors of other lengths");
        let (start, end) = (from.place(source).offset, to.place(target).offset);
        if let Place::Cuda(cuda) = &self.place {
            self.kept(cuda.copy((from.region, start), (to.region, end), bytes));
            return;
        }
        // The target's arena is taken out for a moment, so that both can be borrowed.
        let mut arena = std::mem::replace(self.region_mut(to.region), Buffer::new(0));
        arena.bytes_mut()[end..end + bytes]
            .copy_from_slice(&self.region(from.region).bytes()[start..start + bytes]);
        *self.region_mut(to.region) = arena;
    }

    /// # Panics
    /// If the regions are not in this machine's memory.
    pub(crate) fn region(&self, region: Region) -> &Buffer {
        match &self.place {
            Place::Host(regions) => &regions[region as usize],
            Place::Cuda(_) => panic!("{region:?} is on a GPU"),
        }
    }

    /// # Panics
    /// As [`Memory::region`].
    pub(crate) fn region_mut(&mut self, region: Region) -> &mut Buffer {
        match &mut self.place {
            Place::Host(regions) => &mut regions[region as usize],
            Place::Cuda(_) => panic!("{region:?} is on a GPU"),
        }
    }

    /// The regions on a GPU, after a check that all went well, and whether the weights' copy is to be refreshed.
    ///
    /// # Panics
    /// If they are in this machine's memory.
    pub(super) fn cuda(&mut self) -> Result<(&mut cuda::Memory, bool)> {
        self.check()?;
        let Place::Cuda(cuda) = &mut self.place else { panic!("the regions are in this machine's memory") };
        Ok((cuda, std::mem::take(&mut self.copy_is_old)))
    }

    /// Bytes of a GPU's region.
    fn download(
        &self,
        cuda: &cuda::Memory,
        region: Region,
        offset: usize,
        dtype: DType,
        len: usize,
    ) -> Vec<f32> {
        // As words, so that they are aligned for every type.
        let mut words = vec![0u32; (len * dtype.bytes()).div_ceil(size_of::<u32>())];
        let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..len * dtype.bytes()];
        match self.kept(cuda.read(region, offset, bytes)) {
            true => numbers::widen(dtype, bytes).into_owned(),
            false => vec![f32::NAN; len],
        }
    }

    /// Copies `values` into a contiguous tensor of the program.
    ///
    /// # Panics
    /// If the number of values or their type is not the tensor's.
    pub fn write<T: Element>(&mut self, program: &Program, id: Id, values: &[T]) {
        let (place, tensor) = (program.place(id), program.tensor(id));
        assert_eq!(values.len(), tensor.len(), "{}: another number of elements", tensor.name);
        let float = T::DTYPE == DType::F32 && tensor.dtype.is_float();
        assert!(float || T::DTYPE == tensor.dtype, "{}: another element type", tensor.name);
        self.copy_is_old |= place.region == Region::Weights;
        let bytes = tensor.len() * tensor.dtype.bytes();
        let fill = |target: &mut [u8]| {
            if T::DTYPE == tensor.dtype {
                target.copy_from_slice(bytemuck::cast_slice(values));
            } else {
                numbers::round(tensor.dtype, bytemuck::cast_slice(values), target);
            }
        };
        match &mut self.place {
            Place::Host(regions) => match self.waiting.as_mut_slice() {
                [_, .., last] => {
                    let mut aside = vec![0; bytes];
                    fill(&mut aside);
                    last.writes.push((place.region, place.offset, aside));
                }
                _ => {
                    fill(&mut regions[place.region as usize].bytes_mut()[place.offset..place.offset + bytes])
                }
            },
            Place::Cuda(cuda) => {
                let result = cuda.write(place.region, place.offset, bytes, fill);
                self.kept(result);
            }
        }
    }

    /// The elements of a tensor of floating point numbers after a run, row after row.
    ///
    /// # Panics
    /// If the tensor holds no floating point numbers.
    pub fn read(&self, program: &Program, id: Id) -> Cow<'_, [f32]> {
        let (place, tensor) = (program.place(id), program.tensor(id));
        assert!(tensor.dtype.is_float(), "{}: another element type", tensor.name);
        let (rows, columns, stride) = (tensor.rows(), tensor.columns(), place.row_stride);
        // With what lies between rows, but for what is behind the last one: that may be another tensor's.
        let len = if tensor.is_empty() { 0 } else { (rows - 1) * stride + columns };
        let all = match &self.place {
            Place::Cuda(cuda) => {
                Cow::Owned(self.download(cuda, place.region, place.offset, tensor.dtype, len))
            }
            Place::Host(regions) => {
                let bytes = place.offset..place.offset + len * tensor.dtype.bytes();
                numbers::widen(tensor.dtype, &regions[place.region as usize].bytes()[bytes])
            }
        };
        if len == tensor.len() {
            return all;
        }
        Cow::Owned(all.chunks(stride).flat_map(|row| &row[..columns]).copied().collect())
    }

    /// Exchanges as many bytes of two regions as the shorter one has.
    pub fn swap(&mut self, a: Region, b: Region) {
        self.copy_is_old |= a == Region::Weights || b == Region::Weights;
        if let Place::Cuda(cuda) = &self.place {
            self.kept(cuda.swap(a, b));
            return;
        }
        let mut taken = std::mem::replace(self.region_mut(a), Buffer::new(0));
        let other = self.region_mut(b).bytes_mut();
        let len = taken.len().min(other.len());
        taken.bytes_mut()[..len].swap_with_slice(&mut other[..len]);
        *self.region_mut(a) = taken;
    }

    /// A whole flat f32 buffer.
    pub fn flat(&self, region: Region) -> Cow<'_, [f32]> {
        match &self.place {
            Place::Host(regions) => numbers::widen(DType::F32, regions[region as usize].bytes()),
            Place::Cuda(cuda) => {
                let len = cuda.bytes(region) / DType::F32.bytes();
                Cow::Owned(self.download(cuda, region, 0, DType::F32, len))
            }
        }
    }

    /// Writes `values` into a flat f32 buffer, from element `start` on.
    pub fn set_flat(&mut self, region: Region, start: usize, values: &[f32]) {
        self.copy_is_old |= region == Region::Weights;
        if let Place::Cuda(cuda) = &self.place {
            self.kept(cuda.upload(region, start * DType::F32.bytes(), bytemuck::cast_slice(values)));
            return;
        }
        let flat: &mut [f32] = bytemuck::cast_slice_mut(self.region_mut(region).bytes_mut());
        flat[start..start + values.len()].copy_from_slice(values);
    }

    /// Tells the device what the guard of steps knows.
    pub fn set_guard(&mut self, words: &Words) {
        match &mut self.place {
            Place::Host(regions) => {
                regions[Region::Guard as usize].bytes_mut().copy_from_slice(bytemuck::bytes_of(words));
            }
            Place::Cuda(cuda) => {
                let result = cuda.upload(Region::Guard, 0, bytemuck::bytes_of(words));
                self.kept(result);
            }
        }
    }

    /// Sets a whole flat buffer to zero.
    pub fn clear(&mut self, region: Region) {
        self.fill(region, 0);
    }

    fn fill(&mut self, region: Region, value: u8) {
        match &mut self.place {
            Place::Host(regions) => regions[region as usize].bytes_mut().fill(value),
            Place::Cuda(cuda) => {
                let result = cuda.fill(region, value);
                self.kept(result);
            }
        }
    }

    /// Fills a region with NaNs (of every floating point type), so that what a program does not write is seen.
    pub fn poison(&mut self, region: Region) {
        self.fill(region, 0xff);
    }

    /// Brings the 16-bit copy of the weights up to date, where the device has one and they were written.
    #[cfg(feature = "emulator")]
    pub(crate) fn refresh_copy(&mut self) {
        if !std::mem::take(&mut self.copy_is_old) || self.region(Region::Copy).is_empty() {
            return;
        }
        let mut copy = std::mem::replace(self.region_mut(Region::Copy), Buffer::new(0));
        numbers::round(self.device.storage(), &self.flat(Region::Weights), copy.bytes_mut());
        *self.region_mut(Region::Copy) = copy;
    }
}
