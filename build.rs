//! Compiles the kernels: by nvcc into one compressed fatbin a file, embedded in the program; and, with the feature
//! `emulator`, by the C++ compiler into a library that runs them on this machine's cores.
//!
//! Without nvcc everything but `--device cuda` works, and one warning says so.

#[path = "build/archs.rs"]
mod archs;
#[path = "build/compile.rs"]
mod compile;
#[cfg(feature = "emulator")]
#[path = "build/emulator.rs"]
mod emulator;
#[path = "build/report.rs"]
mod report;
#[path = "build/sources.rs"]
mod sources;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::path::PathBuf;

use archs::Wanted;

fn main() {
    if let Err(error) = run() {
        // One line, no backtrace: cargo shows what a build script that failed wrote.
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    // target/PROFILE/build/evoke-HASH/out -> target/evoke-kernels: it outlives changes of everything but the kernels.
    let cache = out.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?.join("evoke-kernels");
    std::fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", "EVOKE_CUDA_ARCHS"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=kernels");

    let sources = sources::Sources::find(&root.join("kernels"))?;
    #[cfg(feature = "emulator")]
    emulator::build(&sources, &cache)?;

    let wanted = archs::wanted()?;
    let nvcc = if let Wanted::None = wanted { None } else { toolchain::find(&root)? };
    let archs = match (wanted, &nvcc) {
        (Wanted::These(archs), Some(_)) => archs,
        (Wanted::Present, Some(nvcc)) => archs::present(nvcc),
        (Wanted::None, _) => Vec::new(),
        (_, None) => {
            println!(
                "cargo:warning=no nvcc found: this build has no CUDA kernels. To have them: scripts/cuda-toolchain.sh, \
                 then build again (EVOKE_CUDA_ARCHS=none silences this)"
            );
            Vec::new()
        }
    };
    let modules = match &nvcc {
        Some(nvcc) => compile::all(nvcc, &archs, &sources, &cache)?,
        None => Vec::new(),
    };
    let report = out.join("kernels-report.json");
    report::write(&report, &modules)?;
    println!("cargo:rustc-env=EVOKE_KERNELS_REPORT={}", report.display());
    compile::embed(&out.join("embedded.rs"), &modules, &archs, nvcc.as_ref())
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: build with cargo"))
}
