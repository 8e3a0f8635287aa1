//! The kernels that `build.rs` compiled into this program.

/// A compiled file of kernels: machine code for every target, compressed.
#[derive(Debug, Clone, Copy)]
pub struct Module {
    /// The file's path under `kernels/`, without its ending.
    pub name: &'static str,
    pub fatbin: &'static [u8],
    /// The names of its kernels.
    pub kernels: &'static [&'static str],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Where the build left its report of registers, shared memory and spills. It stays with the build folder, so a program
/// that was moved may find none there.
pub const REPORT: &str = env!("EVOKE_KERNELS_REPORT");

/// Why there are no kernels, and what to do.
pub const NONE: &str = "this build has no CUDA kernels; run scripts/cuda-toolchain.sh and build again";
