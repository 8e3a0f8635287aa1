//! The driver's objects, each owned by one value: contexts, streams, events, memory.
//!
//! A missing library makes cudarc panic at the first call, so nothing here runs before [`super::survey`] found it.

use std::ffi::{CStr, c_char};

use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUresult, CUstream};

use super::owned::Event;

use crate::{Error, Result};

/// What the driver answered, as an error that says what was tried.
pub(super) fn check(status: CUresult, what: &str) -> Result<()> {
    if status == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let text = |found: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: the driver writes a pointer to a string of its own, or leaves the null.
        unsafe { found(status, &mut text) };
        if text.is_null() {
            return format!("{status:?}");
        }
        // SAFETY: a string of the driver's, which ends with a zero byte and is never freed.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    let way_out = match status {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            "; use a smaller batch (evoke plan prints what is needed), or end what else runs on the GPU"
        }
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION | CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            "; the driver is too old for the kernels, or they were built for other GPUs: update the driver, or build \
             with EVOKE_CUDA_ARCHS=all"
        }
        CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE | CUresult::CUDA_ERROR_INVALID_DEVICE => {
            "; another program may hold the GPU (see nvidia-smi)"
        }
        _ => "",
    };
    let (name, means) = (text(sys::cuGetErrorName), text(sys::cuGetErrorString));
    Err(Error::failed(format!("the GPU cannot {what}: {means} ({name}){way_out}")))
}

/// A GPU's primary context. It is kept until the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context(CUcontext);

// SAFETY: a context may be made current by any thread, and the driver guards what is in it.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub fn of(device: sys::CUdevice) -> Result<Context> {
        let mut context = std::ptr::null_mut();
        // SAFETY: the driver is there and was initialised, since it gave out the device.
        check(unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) }, "be opened")?;
        Ok(Context(context))
    }

    /// Makes it the calling thread's.
    pub fn enter(self) -> Result<()> {
        // SAFETY: the context lives as long as the program.
        check(unsafe { sys::cuCtxSetCurrent(self.0) }, "be used by this thread")
    }

    /// Free and all bytes of the GPU's memory.
    pub fn memory(self) -> Result<(usize, usize)> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: two places to write to.
        check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }, "tell its free memory")?;
        Ok((free, total))
    }
}

/// A queue of work.
#[derive(Debug)]
pub struct Stream {
    pub(super) raw: CUstream,
    context: Context,
}

// SAFETY: streams may be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver guards its queues.
unsafe impl Sync for Stream {}

impl Stream {
    pub fn new(context: Context) -> Result<Stream> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a place to write to, in the current context.
        check(unsafe { sys::cuStreamCreate(&mut raw, flags) }, "make a stream")?;
        Ok(Stream { raw, context })
    }

    /// Waits until all that was queued is done.
    pub fn finish(&self) -> Result<()> {
        // SAFETY: the stream is alive.
        check(unsafe { sys::cuStreamSynchronize(self.raw) }, "finish")
    }

    /// What is queued from now on runs after `event`.
    pub fn after(&self, event: &Event) -> Result<()> {
        // SAFETY: both are alive; an event that was never recorded holds nobody up.
        check(unsafe { sys::cuStreamWaitEvent(self.raw, event.raw, 0) }, "wait for an event")
    }

    /// Queues a copy from this machine's memory.
    ///
    /// # Safety
    /// `bytes` can be read there and written at `to`; pinned memory stays unchanged until the copy is done.
    pub unsafe fn upload(&self, to: CUdeviceptr, from: *const u8, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let status = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, self.raw) };
        check(status, "take data")
    }

    /// Copies into `to` and waits for it.
    ///
    /// # Safety
    /// As many bytes as `to` has can be read at `from`.
    pub unsafe fn download(&self, to: &mut [u8], from: CUdeviceptr) -> Result<()> {
        if !to.is_empty() {
            // SAFETY: the caller's promise for `from`; `to` is borrowed until the copy is done.
            let status =
                unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, to.len(), self.raw) };
            check(status, "give data")?;
        }
        self.finish()
    }

    /// Queues a copy to pinned memory of this machine.
    ///
    /// # Safety
    /// `bytes` can be read at `from` and written at `to`; nobody uses `to` until the copy is done.
    pub unsafe fn fetch(&self, to: *mut u8, from: CUdeviceptr, bytes: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        check(unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, self.raw) }, "give data")
    }

    /// Queues a copy within the GPU.
    ///
    /// # Safety
    /// `bytes` can be read at `from` and written at `to`, and the two do not overlap.
    pub unsafe fn copy(&self, to: CUdeviceptr, from: CUdeviceptr, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        check(unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, self.raw) }, "copy data")
    }

    /// Queues the writing of one byte value.
    ///
    /// # Safety
    /// `bytes` can be written at `to`.
    pub unsafe fn fill(&self, to: CUdeviceptr, value: u8, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        check(unsafe { sys::cuMemsetD8Async(to, value, bytes, self.raw) }, "fill memory")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.context.enter();
        // SAFETY: made in `new`; the driver finishes what is queued first. An error has nobody to go to.
        unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }
}
