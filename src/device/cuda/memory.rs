//! The regions of a model on a GPU, and the streams that work on them.

use std::sync::{Arc, Mutex};

use super::context::Gpu;
use super::driver::Stream;
use super::gemm::WORKSPACE;
use super::graph::Graphs;
use super::outbox::Outbox;
use super::owned::DeviceBytes;
use super::staging::Staging;
use crate::graph::plan::Region;
use crate::ops::guard::Words;
use crate::{Error, Result};

/// Where pieces that wait start: the alignment of device allocations.
const ALIGNMENT: usize = 256;

/// Bytes that wait in the inbox for the pass that reads them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    region: Region,
    offset: usize,
    bytes: usize,
    /// Place in the inbox.
    from: usize,
}

impl Move {
    /// What a recording of it depends on.
    pub fn words(&self) -> [u64; 4] {
        [self.region as u64, self.offset as u64, self.bytes as u64, self.from as u64]
    }
}

/// Names of launches that are kept for error messages.
const RECENT: usize = 6;

/// One device allocation for each region.
#[derive(Debug)]
pub struct Memory {
    pub(super) gpu: Arc<Gpu>,
    pub(super) graphs: Graphs,
    pub(super) stream: Stream,
    staging: Staging,
    outbox: Outbox,
    /// Inputs of a step's later passes, whose places the first ones still use. Its address is in recordings.
    inbox: DeviceBytes,
    inbox_used: usize,
    /// Of each pass of the step that is being made ready; the first one's list stays empty.
    moves: Vec<Vec<Move>>,
    /// Scratch of products, and of exchanges.
    pub(super) workspace: DeviceBytes,
    regions: [DeviceBytes; Region::COUNT],
    /// What [`Memory::flush`] fills.
    flushed: DeviceBytes,
    /// What was launched since the GPU was last known to be well, the last one last.
    recent: Mutex<Vec<String>>,
}

impl Memory {
    /// Takes `bytes` for each region, zeroed.
    pub fn new(number: u32, bytes: [usize; Region::COUNT]) -> Result<Memory> {
        let gpu = Gpu::open(number)?;
        let context = gpu.context;
        context.enter()?;
        let mut regions = Vec::new();
        for bytes in bytes {
            regions.push(DeviceBytes::new(context, bytes)?);
        }
        let memory = Memory {
            graphs: Graphs::new(),
            stream: Stream::new(context)?,
            staging: Staging::new(context)?,
            outbox: Outbox::new(context)?,
            inbox: DeviceBytes::new(context, 0)?,
            inbox_used: 0,
            moves: Vec::new(),
            workspace: DeviceBytes::new(context, WORKSPACE)?,
            flushed: DeviceBytes::new(context, 0)?,
            regions: regions.try_into().expect("one for each region"),
            recent: Mutex::default(),
            gpu,
        };
        for region in crate::device::memory::REGIONS {
            memory.fill(region, 0)?;
        }
        Ok(memory)
    }

    /// Bytes of a region.
    pub fn bytes(&self, region: Region) -> usize {
        self.regions[region as usize].len()
    }

    /// The GPU's address of a part of a region.
    ///
    /// # Panics
    /// If it does not lie within the region.
    pub(super) fn at(&self, region: Region, offset: usize, bytes: usize) -> u64 {
        self.regions[region as usize].at(offset, bytes)
    }

    /// Makes a region larger; its contents become zero.
    pub fn grow(&mut self, region: Region, bytes: usize) -> Result<()> {
        self.gpu.context.enter()?;
        self.finish()?;
        // Graphs know the old addresses.
        self.graphs.forget();
        self.regions[region as usize] = DeviceBytes::new(self.gpu.context, 0)?;
        self.regions[region as usize] = DeviceBytes::new(self.gpu.context, bytes)?;
        self.fill(region, 0)
    }

    /// Writes `bytes` bytes from `offset` on: an input of the next run, which nothing waits for.
    pub fn write(
        &mut self,
        region: Region,
        offset: usize,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.gpu.context.enter()?;
        let mut to = self.at(region, offset, bytes);
        if self.moves.len() > 1 {
            let from = self.room(bytes)?;
            to = self.inbox.at(from, bytes);
            self.moves.last_mut().expect("counted above").push(Move { region, offset, bytes, from });
        }
        // SAFETY: `at` checked that the bytes lie within the region, or within the inbox.
        let result = unsafe { self.staging.write(&self.stream, to, bytes, fill) };
        result.map_err(|error| self.explain(error))
    }

    /// What is written from now on is for this pass of the coming step, `words` its state first.
    pub fn begin_pass(&mut self, number: usize, words: &[u32]) -> Result<()> {
        self.moves.truncate(number);
        self.moves.push(Vec::new());
        if number == 0 {
            self.inbox_used = 0;
        }
        self.write(Region::State, 0, size_of_val(words), |to| to.copy_from_slice(bytemuck::cast_slice(words)))
    }

    /// The moves of the passes that were begun; what is written from now on goes to its place again.
    pub(super) fn take_moves(&mut self) -> Vec<Vec<Move>> {
        std::mem::take(&mut self.moves)
    }

    /// Queues the copy of what waited to its place.
    pub(super) fn bring(&self, one: &Move) -> Result<()> {
        let Move { region, offset, bytes, from } = *one;
        // SAFETY: `at` checks both bounds, and the inbox is no region.
        unsafe { self.stream.copy(self.at(region, offset, bytes), self.inbox.at(from, bytes), bytes) }
    }

    /// Room for `bytes` more in the inbox, which grows where there is too little.
    fn room(&mut self, bytes: usize) -> Result<usize> {
        let start = self.inbox_used.next_multiple_of(ALIGNMENT);
        if start + bytes > self.inbox.len() {
            let larger = DeviceBytes::new(self.gpu.context, (start + bytes).next_power_of_two())?;
            let used = self.inbox_used;
            // SAFETY: both have so many bytes, and they are two allocations.
            unsafe { self.stream.copy(larger.at(0, used), self.inbox.at(0, used), used) }?;
            self.finish()?;
            self.graphs.forget();
            self.inbox = larger;
        }
        self.inbox_used = start + bytes;
        Ok(start)
    }

    /// Queues the reading of the guard's words.
    pub fn post(&mut self) -> Result<()> {
        let from = self.at(Region::Guard, 0, size_of::<Words>());
        let result = self.outbox.post(&self.stream, from);
        result.map_err(|error| self.explain(error))
    }

    /// The guard's words of the first reading that was not asked for yet.
    pub fn collect(&mut self) -> Result<Words> {
        self.gpu.context.enter()?;
        let result = self.outbox.collect();
        result.map_err(|error| self.explain(error))
    }

    /// Writes a large part of a region, and waits for it.
    pub fn upload(&self, region: Region, offset: usize, bytes: &[u8]) -> Result<()> {
        self.gpu.context.enter()?;
        let to = self.at(region, offset, bytes.len());
        // SAFETY: `at` checked the bounds; `bytes` is borrowed until `finish` returns.
        unsafe { self.stream.upload(to, bytes.as_ptr(), bytes.len()) }?;
        self.finish()
    }

    /// Reads what is there when all that was launched is done.
    pub fn read(&self, region: Region, offset: usize, to: &mut [u8]) -> Result<()> {
        self.gpu.context.enter()?;
        let from = self.at(region, offset, to.len());
        // SAFETY: `at` checked the bounds.
        let result = unsafe { self.stream.download(to, from) };
        self.known_well(result)
    }

    /// Sets all bytes of a region.
    pub fn fill(&self, region: Region, value: u8) -> Result<()> {
        self.gpu.context.enter()?;
        let bytes = self.bytes(region);
        // SAFETY: the whole region and no more.
        unsafe { self.stream.fill(self.at(region, 0, bytes), value, bytes) }
    }

    /// Fills memory of twice the second-level cache's size, taken at the first call.
    pub fn flush(&mut self) -> Result<()> {
        self.gpu.context.enter()?;
        if self.flushed.len() == 0 {
            /// Above any GPU's cache of today.
            const ASSUMED: usize = 128 << 20;
            let cache = if self.gpu.cache == 0 { ASSUMED } else { self.gpu.cache };
            self.flushed = DeviceBytes::new(self.gpu.context, 2 * cache)?;
        }
        let bytes = self.flushed.len();
        // SAFETY: all of it and no more.
        unsafe { self.stream.fill(self.flushed.at(0, bytes), 0, bytes) }
    }

    /// Copies between two regions.
    ///
    /// # Panics
    /// If they are one region.
    pub fn copy(
        &self,
        (from, start): (Region, usize),
        (to, end): (Region, usize),
        bytes: usize,
    ) -> Result<()> {
        assert_ne!(from, to, "a copy within one region");
        self.gpu.context.enter()?;
        // SAFETY: `at` checked the bounds, and regions do not overlap.
        unsafe { self.stream.copy(self.at(to, end, bytes), self.at(from, start, bytes), bytes) }
    }

    /// Exchanges the first bytes of two regions, as many as the shorter one has.
    ///
    /// # Panics
    /// If they are one region.
    pub fn swap(&self, a: Region, b: Region) -> Result<()> {
        assert_ne!(a, b, "an exchange within one region");
        self.gpu.context.enter()?;
        let bytes = self.bytes(a).min(self.bytes(b));
        let aside = |bytes| self.workspace.at(0, bytes);
        for start in (0..bytes).step_by(WORKSPACE) {
            let piece = WORKSPACE.min(bytes - start);
            let (left, right) = (self.at(a, start, piece), self.at(b, start, piece));
            // SAFETY: `at` checked the bounds; the three do not overlap, and one stream does one copy after the other.
            unsafe {
                self.stream.copy(aside(piece), left, piece)?;
                self.stream.copy(left, right, piece)?;
                self.stream.copy(right, aside(piece), piece)?;
            }
        }
        Ok(())
    }

    /// Waits until all that was launched is done.
    pub fn finish(&self) -> Result<()> {
        self.known_well(self.staging.finish().and_then(|()| self.stream.finish()))
    }

    /// The algorithms of products chosen so far, as JSON.
    pub fn plans(&self) -> String {
        self.gpu.products.chosen()
    }

    /// Takes over algorithms that [`Memory::plans`] told; returns how many are good here.
    pub fn prefer_plans(&mut self, text: &str) -> usize {
        self.graphs.forget();
        self.gpu.products.prefer(text)
    }

    /// What is written from now on is for the next run.
    pub(super) fn turn(&mut self) -> Result<()> {
        self.staging.turn(&self.stream)
    }

    /// Remembers a launch for error messages.
    pub(super) fn launched(&self, what: &str) {
        let mut recent = self.recent.lock().expect("no thread panics with it");
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push(what.into());
    }

    fn known_well(&self, result: Result<()>) -> Result<()> {
        if result.is_ok() {
            self.recent.lock().expect("no thread panics with it").clear();
        }
        result.map_err(|error| self.explain(error))
    }

    /// The error, with what may have caused it: kernels report when they are waited for.
    fn explain(&self, error: Error) -> Error {
        let recent = self.recent.lock().expect("no thread panics with it");
        if recent.is_empty() {
            return error;
        }
        Error::failed(format!(
            "{error}; launched last: {} (EVOKE_CUDA_SYNC=1 waits for each and names the one that failed)",
            recent.join(", ")
        ))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The pinned halves must not go before the copies from them are done. An error has nobody to go to.
        let _ = self.gpu.context.enter();
        let _ = self.finish();
    }
}
