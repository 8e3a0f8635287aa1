//! The kernel sources: what is compiled, and what it includes.

use std::path::{Path, PathBuf};

/// Files under `kernels/`, in a fixed order.
#[derive(Debug)]
pub struct Sources {
    pub folder: PathBuf,
    /// Compiled both by nvcc and for the emulator.
    pub kernels: Vec<PathBuf>,
    /// The emulator itself: its sources, and kernels that are wrong on purpose.
    #[cfg_attr(not(feature = "emulator"), allow(dead_code))]
    pub emulator: Vec<PathBuf>,
    /// Everything that any of them may include.
    pub headers: Vec<PathBuf>,
}

impl Sources {
    pub fn find(folder: &Path) -> Result<Sources, String> {
        let mut sources =
            Sources { folder: folder.into(), kernels: Vec::new(), emulator: Vec::new(), headers: Vec::new() };
        let mut files = Vec::new();
        walk(folder, &mut files).map_err(|e| format!("{}: {e}", folder.display()))?;
        files.sort();
        for file in files {
            let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
            let emulator = file.starts_with(folder.join("emulator"));
            match extension {
                "cu" if !emulator => sources.kernels.push(file),
                "cu" | "cpp" => sources.emulator.push(file),
                "cuh" | "hpp" => sources.headers.push(file),
                _ => {}
            }
        }
        Ok(sources)
    }

    /// A number that changes with the content of `file`, of any header, or of `flags`.
    pub fn key(&self, file: &Path, flags: &[String]) -> Result<u64, String> {
        let mut key = Fnv::new();
        for flag in flags {
            key.add(flag.as_bytes());
        }
        for path in std::iter::once(file).chain(self.headers.iter().map(PathBuf::as_path)) {
            key.add(path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy().as_bytes());
            key.add(&std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?);
        }
        Ok(key.0)
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a, 64 bits: the same on every machine and for every version of the standard library.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// The length goes in too, so that two parts cannot be mistaken for one.
    fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
