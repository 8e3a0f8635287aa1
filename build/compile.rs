//! Runs nvcc over the kernel files, side by side, unless the result of the very same content is there already.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::archs::Arch;
use crate::sources::Sources;
use crate::toolchain::Nvcc;

/// A compiled file.
#[derive(Debug)]
pub struct Module {
    /// `attention/forward`.
    pub name: String,
    pub fatbin: PathBuf,
    /// What ptxas said of its kernels.
    pub log: String,
}

/// Products and sums may fuse, which is the more exact; nothing else about floats is loosened (no `--use_fast_math`).
/// Lines of the sources are kept for profilers; ptxas says what each kernel takes.
const FLAGS: [&str; 7] = [
    "-std=c++17",
    "--fmad=true",
    "-lineinfo",
    "-Xptxas=-v",
    "-fatbin",
    "--compress-mode=size",
    "-Werror=all-warnings",
];

/// Compiles all files for all targets. The largest go first, so that no core waits long for the last one.
pub fn all(nvcc: &Nvcc, archs: &[Arch], sources: &Sources, cache: &Path) -> Result<Vec<Module>, String> {
    let mut flags: Vec<String> = archs.iter().map(Arch::option).collect();
    flags.extend(FLAGS.map(String::from));
    flags.push(format!("-I{}", sources.folder.display()));
    let size = |file: &Path| std::fs::metadata(file).map_or(0, |m| m.len());
    let mut order: Vec<usize> = (0..sources.kernels.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(size(&sources.kernels[i])));
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(order.len()) {
            scope.spawn(|| {
                while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = one(nvcc, &flags, &sources.kernels[i], sources, cache);
                    results.lock().expect("no worker panics").push((i, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker panics");
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

fn one(
    nvcc: &Nvcc,
    flags: &[String],
    file: &Path,
    sources: &Sources,
    cache: &Path,
) -> Result<Module, String> {
    let name = file.strip_prefix(&sources.folder).unwrap_or(file).with_extension("");
    let name = name.to_string_lossy().replace('\\', "/");
    // The compiler's version is part of the key, and the folder of the sources is not.
    let mut keyed: Vec<String> = flags.iter().filter(|f| !f.starts_with("-I")).cloned().collect();
    keyed.push(nvcc.version.clone());
    let key = sources.key(file, &keyed)?;
    let stem = cache.join(format!("{}-{key:016x}", name.replace('/', "-")));
    let (fatbin, log) = (stem.with_extension("fatbin"), stem.with_extension("log"));
    // The log is written last, so that its presence means complete.
    if let Ok(log) = std::fs::read_to_string(&log)
        && fatbin.is_file()
    {
        return Ok(Module { name, fatbin, log });
    }
    // Two builds (of two profiles) may be at it at once.
    let partial = stem.with_extension(format!("{}.partial", std::process::id()));
    let ran = Command::new(&nvcc.path)
        .args(flags)
        .arg("-o")
        .arg(&partial)
        .arg(file)
        .output()
        .map_err(|e| format!("{}: cannot run: {e}", nvcc.path.display()))?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if !ran.status.success() {
        let _ = std::fs::remove_file(&partial);
        return Err(format!(
            "{said}\n{}: nvcc {} ({}) cannot compile it, see above{}; EVOKE_CUDA_ARCHS=none builds without CUDA kernels",
            file.display(),
            nvcc.release(),
            nvcc.path.display(),
            hint(&said, nvcc)
        ));
    }
    std::fs::rename(&partial, &fatbin).map_err(|e| format!("{}: {e}", fatbin.display()))?;
    std::fs::write(&log, &said).map_err(|e| format!("{}: {e}", log.display()))?;
    Ok(Module { name, fatbin, log: said })
}

/// What the way out is, where nvcc's own words do not say it.
fn hint(said: &str, nvcc: &Nvcc) -> String {
    let old =
        |release: &str| release.split('.').next().and_then(|n| n.parse().ok()).is_some_and(|n: u32| n < 13);
    if said.contains("No such file or directory") && said.contains("host compiler") {
        "; it needs a C++ compiler (Debian: g++)".into()
    } else if said.contains("Unsupported gpu architecture") {
        "; EVOKE_CUDA_ARCHS names an architecture that it does not know".into()
    } else if old(&nvcc.release()) {
        "; the kernels are written for nvcc 13.0, which scripts/cuda-toolchain.sh brings: set NVCC=.tools/cuda/bin/nvcc"
            .into()
    } else {
        String::new()
    }
}

/// Writes the Rust source that `src/device/kernels.rs` includes.
pub fn embed(to: &Path, modules: &[Module], archs: &[Arch], nvcc: Option<&Nvcc>) -> Result<(), String> {
    let mut text = String::from("/// The compiled kernel files.\npub const MODULES: &[Module] = &[\n");
    for module in modules {
        let kernels = crate::report::kernels(&module.log);
        let _ = writeln!(
            text,
            "    Module {{ name: {:?}, fatbin: include_bytes!({:?}), kernels: &{kernels:?} }},",
            module.name, module.fatbin
        );
    }
    let names: Vec<&str> =
        if modules.is_empty() { Vec::new() } else { archs.iter().map(Arch::name).collect() };
    let _ = writeln!(
        text,
        "];\n/// What they are compiled for: `90a`; `compute_80` is what later GPUs compile for themselves.\npub const ARCHS: &[&str] = &{names:?};"
    );
    let _ = writeln!(
        text,
        "/// The release of the nvcc that compiled them.\npub const NVCC: Option<&str> = {:?};",
        nvcc.map(Nvcc::release)
    );
    std::fs::write(to, text).map_err(|e| format!("{}: {e}", to.display()))
}
