//! Finds nvcc.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler, and what it says of itself.
#[derive(Debug, Clone)]
pub struct Nvcc {
    pub path: PathBuf,
    /// The whole of `nvcc --version`: part of every cache key.
    pub version: String,
}

impl Nvcc {
    /// `13.0`, or the whole text where it is told in another form.
    pub fn release(&self) -> String {
        let after = self.version.split("release ").nth(1);
        after.and_then(|text| text.split(',').next()).unwrap_or(&self.version).trim().to_string()
    }
}

/// Looks in NVCC, CUDA_HOME, CUDA_PATH, PATH, /usr/local/cuda and where scripts/cuda-toolchain.sh puts it.
///
/// A place that the user names and that holds no nvcc is an error; otherwise `None` where there is none.
pub fn find(root: &Path) -> Result<Option<Nvcc>, String> {
    if let Some(path) = std::env::var_os("NVCC").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        return asked(&path)
            .map(Some)
            .ok_or(format!("NVCC is {}, which does not run; correct it or unset it", path.display()));
    }
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = std::env::var_os(name).filter(|v| !v.is_empty()) {
            let path = Path::new(&home).join("bin/nvcc");
            return asked(&path).map(Some).ok_or(format!(
                "{name} is {}, but {} does not run; correct it or unset it",
                Path::new(&home).display(),
                path.display()
            ));
        }
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> =
        std::env::split_paths(&on_path).map(|folder| folder.join("nvcc")).collect();
    places.push("/usr/local/cuda/bin/nvcc".into());
    places.push(root.join(".tools/cuda/bin/nvcc"));
    Ok(places.iter().filter(|path| path.is_file()).find_map(|path| asked(path)))
}

/// The compiler at `path`, if it runs.
fn asked(path: &Path) -> Option<Nvcc> {
    let told = Command::new(path).arg("--version").output().ok().filter(|out| out.status.success())?;
    Some(Nvcc { path: path.into(), version: String::from_utf8_lossy(&told.stdout).into_owned() })
}
