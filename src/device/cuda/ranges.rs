//! NVTX ranges: Nsight Systems shows a name for each op above the kernels that it launches.
//!
//! A replayed graph launches nothing by name, so the ranges say most with `EVOKE_CUDA_GRAPH=0`. NVIDIA's library
//! (`libnvToolsExt`) is loaded when it is there; without it, and without `EVOKE_NVTX=1`, nothing happens.

use std::sync::OnceLock;

use cudarc::nvtx;

/// Opens a range that ends when it is dropped; `None` where nobody would see it.
pub fn range(name: &str) -> Option<nvtx::Range> {
    static WANTED: OnceLock<bool> = OnceLock::new();
    let wanted = *WANTED.get_or_init(|| {
        // SAFETY: looks for the library and opens it; what it holds is not called.
        std::env::var("EVOKE_NVTX").as_deref() == Ok("1") && unsafe { nvtx::sys::is_culib_present() }
    });
    wanted.then(|| nvtx::scoped_range(name))
}
