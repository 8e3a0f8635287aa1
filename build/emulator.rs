//! Compiles the kernels and the emulator for this machine.

use std::path::Path;

use crate::sources::Sources;

const LIBRARY: &str = "evoke_emulator";

/// Builds the library, unless that of the very same content is there, and tells cargo to link it.
pub fn build(sources: &Sources, cache: &Path) -> Result<(), String> {
    let files: Vec<&Path> = sources.kernels.iter().chain(&sources.emulator).map(|p| p.as_path()).collect();
    let mut keys = String::new();
    for file in &files {
        keys.push_str(&format!("{:x}", sources.key(file, &[])?));
    }
    let key = sources.key(&sources.headers[0], &[keys])?;
    let folder = cache.join(format!("emulator-{key:016x}"));
    if !folder.join("complete").is_file() {
        let mut build = cc::Build::new();
        // The kernels' files have CUDA's ending, and are C++.
        build.cpp(true).std("c++17").flag("-x").flag("c++").opt_level(2).debug(false).warnings(true);
        build.define("EVOKE_EMULATED", None).include(&sources.folder).out_dir(&folder).cargo_metadata(false);
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        build.files(files).try_compile(LIBRARY).map_err(|e| {
            format!("the emulator needs a C++17 compiler (Debian: g++); build without --features emulator, or see: {e}")
        })?;
        std::fs::write(folder.join("complete"), "").map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    // A test builds a driver without a GPU around it.
    println!("cargo:rustc-env=EVOKE_EMULATOR={}", folder.join(format!("lib{LIBRARY}.a")).display());
    println!("cargo:rustc-link-search=native={}", folder.display());
    // Kernels register themselves when the program starts, so nothing of the library may be left out.
    println!("cargo:rustc-link-lib=static:+whole-archive={LIBRARY}");
    println!("cargo:rustc-link-lib=stdc++");
    Ok(())
}
