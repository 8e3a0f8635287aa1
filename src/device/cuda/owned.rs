//! What is allocated: device memory, pinned memory of this machine, events.

use std::ffi::c_void;

use cudarc::driver::sys::{self, CUdeviceptr, CUevent};

use super::driver::{Context, Stream, check};
use crate::Result;

/// A mark in a stream.
#[derive(Debug)]
pub struct Event {
    pub(super) raw: CUevent,
    context: Context,
}

// SAFETY: events may be used from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// `timed`: [`Event::milliseconds_since`] may be asked.
    pub fn new(context: Context, timed: bool) -> Result<Event> {
        context.enter()?;
        let flags = if timed {
            sys::CUevent_flags::CU_EVENT_DEFAULT
        } else {
            sys::CUevent_flags::CU_EVENT_DISABLE_TIMING
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: a place to write to, in the current context.
        check(unsafe { sys::cuEventCreate(&mut raw, flags as u32) }, "make an event")?;
        Ok(Event { raw, context })
    }

    /// Marks the end of what `stream` was given until now.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both are alive.
        check(unsafe { sys::cuEventRecord(self.raw, stream.raw) }, "mark an event")
    }

    /// Waits until the mark is reached; returns at once where it was never set.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the event is alive.
        check(unsafe { sys::cuEventSynchronize(self.raw) }, "reach an event")
    }

    /// Both marks must have been reached.
    pub fn milliseconds_since(&self, start: &Event) -> Result<f32> {
        let mut passed = 0.0;
        // SAFETY: both events are alive, and there is a place to write to.
        check(unsafe { sys::cuEventElapsedTime_v2(&mut passed, start.raw, self.raw) }, "tell the time")?;
        Ok(passed)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ = self.context.enter();
        // SAFETY: made in `new`, and nobody uses it any more. An error has nobody to go to.
        unsafe { sys::cuEventDestroy_v2(self.raw) };
    }
}

/// Memory of the GPU, aligned to 256 bytes at least. Its contents are what was there.
#[derive(Debug)]
pub struct DeviceBytes {
    pub(super) start: CUdeviceptr,
    bytes: usize,
    context: Context,
}

impl DeviceBytes {
    pub fn new(context: Context, bytes: usize) -> Result<DeviceBytes> {
        let mut start = 0;
        if bytes > 0 {
            context.enter()?;
            let wanted = crate::train::budget::bytes(bytes);
            // SAFETY: a place to write to, in the current context.
            check(unsafe { sys::cuMemAlloc_v2(&mut start, bytes) }, &format!("give {wanted} of memory"))?;
        }
        Ok(DeviceBytes { start, bytes, context })
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    /// The address of byte `offset`, from which `bytes` follow.
    ///
    /// # Panics
    /// If they do not lie within.
    pub fn at(&self, offset: usize, bytes: usize) -> CUdeviceptr {
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= self.bytes),
            "{bytes} bytes from {offset} on lie outside {} bytes of device memory",
            self.bytes
        );
        self.start + offset as CUdeviceptr
    }
}

impl Drop for DeviceBytes {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let _ = self.context.enter();
            // SAFETY: allocated in `new`; the driver waits for what still uses it. An error has nobody to go to.
            unsafe { sys::cuMemFree_v2(self.start) };
        }
    }
}

/// Memory of this machine that the GPU copies from and to without the CPU. Not write-combined: it may be read.
#[derive(Debug)]
pub struct Pinned {
    start: *mut u8,
    bytes: usize,
    context: Context,
}

// SAFETY: it owns its memory alone, like a Vec<u8>.
unsafe impl Send for Pinned {}
// SAFETY: shared references only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub fn new(context: Context, bytes: usize) -> Result<Pinned> {
        context.enter()?;
        let mut start: *mut c_void = std::ptr::null_mut();
        // SAFETY: a place to write to, in the current context.
        check(unsafe { sys::cuMemHostAlloc(&mut start, bytes.max(1), 0) }, "pin memory of this machine")?;
        // SAFETY: so many bytes are there; zeroes make them initialised.
        unsafe { start.cast::<u8>().write_bytes(0, bytes.max(1)) };
        Ok(Pinned { start: start.cast(), bytes, context })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as in `bytes_mut`; who lets the GPU write here waits for it before he reads.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: initialised in `new`, alive as long as `self`, which is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.context.enter();
        // SAFETY: allocated in `new`; copies from it were waited for by its owner. An error has nobody to go to.
        unsafe { sys::cuMemFreeHost(self.start.cast()) };
    }
}
