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

/// Whether code for `archs` runs on a GPU of that compute capability: machine code within its generation from its own
/// number on (`90a` on 9.0 alone), `compute_80` on whatever came later (CUDA C++ Programming Guide, "Application
/// Compatibility").
pub fn run_on(archs: &[&str], (major, minor): (i32, i32)) -> bool {
    let card = 10 * major + minor;
    archs.iter().any(|arch| {
        let number = |text: &str| text.parse::<i32>().ok();
        if let Some(portable) = arch.strip_prefix("compute_") {
            number(portable).is_some_and(|from| card >= from)
        } else if let Some(alone) = arch.strip_suffix('a') {
            number(alone) == Some(card)
        } else {
            number(arch).is_some_and(|from| from / 10 == major && from <= card)
        }
    })
}

/// Why there are no kernels, and what to do.
pub const NONE: &str = "this build has no CUDA kernels; run scripts/cuda-toolchain.sh and build again";

#[cfg(test)]
mod tests {
    use super::run_on;

    #[test]
    fn code_runs_within_its_generation_and_portable_code_later() {
        assert!(run_on(&["80"], (8, 0)) && run_on(&["80"], (8, 9)) && run_on(&["100"], (10, 3)));
        assert!(!run_on(&["86"], (8, 0)) && !run_on(&["80"], (9, 0)) && !run_on(&[], (8, 0)));
        assert!(run_on(&["80", "90a"], (9, 0)) && !run_on(&["90a"], (10, 0)) && !run_on(&["100"], (12, 0)));
        assert!(run_on(&["90a", "compute_80"], (12, 1)) && !run_on(&["compute_90"], (8, 9)));
    }
}
