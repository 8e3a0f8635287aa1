//! Inputs on their way to the GPU: two halves of pinned memory, filled in turn.
//!
//! A write goes into the half of the coming run, travels on a stream of its own while the last run still computes, and is
//! copied to its tensor, within the GPU, when that run is done. So nothing waits but who fills a half that the run
//! before the last has not read yet.

use cudarc::driver::sys::CUdeviceptr;

use super::driver::{Context, Stream};
use super::owned::{DeviceBytes, Event, Pinned};
use crate::Result;

/// Where a piece starts: the alignment of device allocations.
const ALIGNMENT: usize = 256;
/// The first size of a half: small programs never need more.
const FIRST: usize = 1 << 20;

#[derive(Debug)]
struct Half {
    pinned: Pinned,
    device: DeviceBytes,
    used: usize,
    /// On the copy stream: all pieces are on the GPU.
    uploaded: Event,
    /// On the stream of the kernels: all pieces are in their tensors, the half may be filled again.
    consumed: Event,
}

impl Half {
    fn new(context: Context, bytes: usize) -> Result<Half> {
        Ok(Half {
            pinned: Pinned::new(context, bytes)?,
            device: DeviceBytes::new(context, bytes)?,
            used: 0,
            uploaded: Event::new(context, false)?,
            consumed: Event::new(context, false)?,
        })
    }
}

#[derive(Debug)]
pub struct Staging {
    context: Context,
    copies: Stream,
    halves: [Half; 2],
    current: usize,
}

impl Staging {
    pub fn new(context: Context) -> Result<Staging> {
        let halves = [Half::new(context, FIRST)?, Half::new(context, FIRST)?];
        Ok(Staging { context, copies: Stream::new(context)?, halves, current: 0 })
    }

    /// Brings what `fill` writes to device memory, behind what `stream` was given until now.
    ///
    /// # Safety
    /// `bytes` can be written at `to`.
    pub unsafe fn write(
        &mut self,
        stream: &Stream,
        to: CUdeviceptr,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let half = &mut self.halves[self.current];
        let start = half.used.next_multiple_of(ALIGNMENT);
        let start = if start + bytes > half.device.len() {
            // The pieces that are in it are still needed: they are waited for, and a larger half takes over.
            self.copies.finish()?;
            stream.finish()?;
            *half = Half::new(self.context, (start + bytes).next_power_of_two())?;
            0
        } else {
            start
        };
        if half.used == 0 {
            half.consumed.wait()?;
        }
        half.used = start + bytes;
        let pinned = &mut half.pinned.bytes_mut()[start..start + bytes];
        fill(pinned);
        let way = half.device.at(start, bytes);
        // SAFETY: `way` has room (checked by `at`); the pinned bytes stay until `consumed` was waited for.
        unsafe { self.copies.upload(way, pinned.as_ptr(), bytes) }?;
        half.uploaded.record(&self.copies)?;
        stream.after(&half.uploaded)?;
        // SAFETY: `way` holds the bytes once the event is reached; `to` is the caller's promise.
        unsafe { stream.copy(to, way, bytes) }
    }

    /// What is written from now on belongs to the next run.
    pub fn turn(&mut self, stream: &Stream) -> Result<()> {
        self.halves[self.current].consumed.record(stream)?;
        self.current = 1 - self.current;
        self.halves[self.current].used = 0;
        Ok(())
    }

    /// Waits for the copies.
    pub fn finish(&self) -> Result<()> {
        self.copies.finish()
    }
}
